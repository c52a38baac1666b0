"""From folders and tables to a data set: what is read, how it is split, and what is said about it."""

import json
import stat

import numpy as np
import pytest
from importing.folders import CLASSES, by_class, by_table, picture, save

from fedistill.data import load_dataset
from fedistill.data.sources.npz import read_text
from fedistill.errors import DataError, SettingError
from fedistill.importing.listing.tables import Columns
from fedistill.importing.preprocessing import ARRAY, Preprocessing
from fedistill.importing.run_import import import_images
from fedistill.importing.salt import default_salt, read_salt
from fedistill.importing.settings import ImportSettings
from fedistill.importing.splitting import Shares


def splits_of(path):
    return {split: load_dataset(path, split) for split in ("train", "val", "test")}


def test_folders_by_class_become_a_data_set_with_a_card_and_a_sheet(tmp_path):
    [card] = import_images(by_class(tmp_path / "in"), tmp_path / "x.npz")
    sets = splits_of(tmp_path / "x.npz")
    assert [len(of) for of in sets.values()] == [28, 4, 8] and sets["train"].class_names == CLASSES
    assert all((of.counts() == len(of) / 2).all() for of in sets.values()), "stratified"
    assert sets["train"].images.shape == (28, 28, 28, 1)
    bright = [of.images.mean((1, 2, 3)) > 110 for of in sets.values()]
    assert all((b == (of.labels == 1)).all() for b, of in zip(bright, sets.values(), strict=True))
    assert card.counts["benign"] == {"train": 14, "val": 2, "test": 4}
    text = (tmp_path / "x.card.md").read_text()
    assert "| benign | 14 | 2 | 4 |" in text and stat.S_IMODE((tmp_path / "x.card.md").stat().st_mode) == 0o600
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"
    assert read_text(tmp_path / "x.npz", ARRAY) == Preprocessing(taken=(32, 32), channels=1).to_json()


def test_the_same_import_gives_the_same_bytes_and_another_seed_other_splits(tmp_path):
    source = by_class(tmp_path / "in")
    for name, seed, threads in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        import_images(source, tmp_path / f"{name}.npz", ImportSettings(seed=seed, threads=threads))
    a, b, c = (
        (tmp_path / f"{name}.npz").read_bytes() + (tmp_path / f"{name}.png").read_bytes() for name in ("a", "b", "c")
    )
    assert a == b != c


def test_an_imported_image_of_the_wanted_size_keeps_every_pixel(tmp_path):
    import_images(by_class(tmp_path / "in", size=(28, 28), splits=("train", "validation", "test")), tmp_path / "x.npz")
    train = load_dataset(tmp_path / "x.npz")
    wanted = [picture(k, size=(28, 28), label=k // 20) for k in range(40)]
    assert (train.images[..., 0] == np.stack(wanted)).all() and train.labels.tolist() == [0] * 20 + [1] * 20


def test_patients_of_a_table_are_never_separated_and_only_the_salt_leads_back(tmp_path):
    import_images(by_table(tmp_path), tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        groups = {split: set(arrays[f"{split}_groups"].tolist()) for split in ("train", "val", "test")}
    assert sum(map(len, groups.values())) == 20 == len(set.union(*groups.values()))
    import_images(tmp_path / "labels.csv", tmp_path / "again.npz")
    import_images(tmp_path / "labels.csv", tmp_path / "y.npz", ImportSettings(salt=tmp_path / "other"))
    with np.load(tmp_path / "again.npz") as again, np.load(tmp_path / "y.npz") as other:
        assert set(again["train_groups"].tolist()) == groups["train"], "the same patient has the same number next year"
        assert not set(other["train_groups"].tolist()) & set.union(*groups.values())
    assert stat.S_IMODE(default_salt().stat().st_mode) == 0o600
    assert b"P00" not in (tmp_path / "x.npz").read_bytes()


def test_a_file_that_is_no_salt_is_not_used_as_one(tmp_path):
    (tmp_path / "salt").write_text("1234")
    with pytest.raises(DataError, match="holds no salt"):
        read_salt(tmp_path / "salt")


def test_excel_and_parquet_give_what_csv_gives(tmp_path):
    pytest.importorskip("openpyxl")
    import pandas as pd

    table = by_table(tmp_path)
    frame = pd.read_csv(table)
    frame.to_excel(tmp_path / "labels.xlsx", index=False)
    frame.to_parquet(tmp_path / "labels.parquet")
    frame.to_csv(tmp_path / "labels.tsv", sep=";", index=False)
    data = []
    for ending in ("csv", "xlsx", "parquet", "tsv"):
        import_images(tmp_path / f"labels.{ending}", tmp_path / f"{ending}.npz")
        data.append((tmp_path / f"{ending}.npz").read_bytes())
    assert len(set(data)) == 1


def test_several_label_columns_make_a_multi_label_set(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["file;edema;nodule"]
    for k in range(40):
        save(tmp_path / f"{k}.png", picture(k))
        lines.append(f"{k}.png;{rng.integers(2)};{'true' if k % 3 else 'false'}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    columns = Columns("file", ("edema", "nodule"))
    import_images(tmp_path / "t.csv", tmp_path / "x.npz", ImportSettings(columns=columns))
    train = load_dataset(tmp_path / "x.npz")
    assert train.multilabel and train.class_names == ("edema", "nodule") and train.labels.sum() > 0
    (tmp_path / "t.csv").write_text("\n".join(lines).replace("true", "2"))
    with pytest.raises(DataError, match="no column of 0 and 1"):
        import_images(tmp_path / "t.csv", tmp_path / "y.npz", ImportSettings(columns=columns))


def test_a_column_of_sites_gives_a_file_for_each_with_the_same_classes(tmp_path):
    table = by_table(tmp_path)
    lines = table.read_text().splitlines()
    sites = ["site", *("north" if k < 20 else "south" for k in range(40))]
    table.write_text("\n".join(f"{line},{site}" for line, site in zip(lines, sites, strict=True)))
    cards = import_images(table, tmp_path / "x.npz")
    north, south = load_dataset(tmp_path / "x-north.npz"), load_dataset(tmp_path / "x-south.npz")
    assert len(cards) == 2 and north.class_names == south.class_names == CLASSES
    assert sum(sum(of.values()) for card in cards for of in card.counts.values()) == 40
    table.write_text(table.read_text().replace(",north", ",../north"))
    with pytest.raises(DataError, match="site's name"):
        import_images(table, tmp_path / "y.npz")


def test_classes_are_numbered_as_asked_and_may_be_left_out(tmp_path):
    source = by_class(tmp_path / "in")
    for k in range(4):
        save(source / "artefact" / f"{k}.png", picture(900 + k))
    settings = ImportSettings(classes=("malignant", "benign", "normal"), leave_out=("artefact",))
    import_images(source, tmp_path / "x.npz", settings)
    assert load_dataset(tmp_path / "x.npz").class_names == ("malignant", "benign", "normal")
    assert load_dataset(tmp_path / "x.npz").counts().tolist() == [14, 14, 0]
    with pytest.raises(DataError, match="--classes"):
        import_images(source, tmp_path / "y.npz", ImportSettings(classes=("benign", "malignant")))


def test_copies_go_to_one_split_where_splits_are_drawn(tmp_path):
    source = by_class(tmp_path / "in", each=12)
    for k in range(12):
        save(source / "benign" / f"copy{k}.bmp", picture(k))
    [card] = import_images(source, tmp_path / "x.npz")
    sets = splits_of(tmp_path / "x.npz")
    seen = {split: {image.tobytes() for image in of.images} for split, of in sets.items()}
    assert not seen["train"] & (seen["test"] | seen["val"]) and not seen["val"] & seen["test"]
    assert any("12 images are exact copies" in warning for warning in card.warnings) and not card.dropped


def test_copies_across_given_splits_stay_in_test_alone_and_label_conflicts_are_told(tmp_path):
    source = by_class(tmp_path / "in", splits=("train", "test"))
    save(source / "train" / "malignant" / "copy.png", picture(40))  # benign, in test
    [card] = import_images(source, tmp_path / "x.npz")
    assert card.dropped == [("train/malignant/copy.png", "test/benign/040.png")]
    assert len(load_dataset(tmp_path / "x.npz")) == 40 and len(load_dataset(tmp_path / "x.npz", "test")) == 40
    assert any("another label" in warning for warning in card.warnings)


def test_an_image_that_was_saved_anew_is_warned_of_and_kept(tmp_path):
    source = by_class(tmp_path / "in", size=(64, 64), splits=("train", "test"))
    smooth = np.add.outer(np.arange(64), 2 * np.arange(64)).astype(np.uint8)
    save(source / "train" / "benign" / "scan.png", smooth)
    save(source / "test" / "benign" / "scan.jpg", smooth, quality=80)
    [card] = import_images(source, tmp_path / "x.npz")
    assert card.near == [("test/benign/scan.jpg", "train/benign/scan.png")] or card.near == [
        ("train/benign/scan.png", "test/benign/scan.jpg")
    ]
    assert len(load_dataset(tmp_path / "x.npz")) == 41


def test_a_class_of_two_patients_is_in_train_and_in_test(tmp_path):
    source = by_class(tmp_path / "in", each=30)
    for k in range(2):
        save(source / "rare" / f"{k}.png", picture(500 + k))
    import_images(source, tmp_path / "x.npz")
    sets = splits_of(tmp_path / "x.npz")
    assert sets["train"].counts()[2] == 1 == sets["test"].counts()[2]


def test_splits_are_drawn_anew_when_asked_and_in_the_parts_asked(tmp_path):
    source = by_class(tmp_path / "in", splits=("train", "test"))
    import_images(source, tmp_path / "x.npz", ImportSettings(new_splits=True, shares=Shares(0.5, 0, 0.5)))
    assert len(load_dataset(tmp_path / "x.npz")) == 40 and len(load_dataset(tmp_path / "x.npz", "val")) == 0
    with pytest.raises(DataError, match="70/10/20"):
        Shares(0.5, 0.5, 0.5)


def test_files_that_are_no_images_are_counted_and_named(tmp_path):
    source = by_class(tmp_path / "in")
    (source / "benign" / "notes.txt").write_text("x")
    (source / "benign" / ".DS_Store").write_text("x")
    [card] = import_images(source, tmp_path / "x.npz")
    assert card.other == ["benign/notes.txt"] and not card.skipped


def test_nothing_is_overwritten_and_nothing_is_left_after_a_mistake(tmp_path):
    source = by_class(tmp_path / "in")
    (tmp_path / "x.png").write_text("mine")
    with pytest.raises(SettingError, match="never overwritten"):
        import_images(source, tmp_path / "x.npz")
    (tmp_path / "new").mkdir()
    with pytest.raises(DataError):
        import_images(
            source,
            tmp_path / "new" / "x.npz",
            ImportSettings(preprocessing=Preprocessing(fit=None, taken=(1, 1)), leave_out=("none",)),
        )
    assert not list((tmp_path / "new").iterdir()) and (tmp_path / "x.png").read_text() == "mine"


def test_what_was_done_is_read_back_and_nothing_else_is_taken(tmp_path):
    how = Preprocessing(64, "crop", None, 3, "window", (40.0, 400.0), 2)
    assert Preprocessing.from_json(how.to_json()) == how
    for text in ("", "[]", "{}", how.to_json().replace("64", "65"), how.to_json().replace('"crop"', "7")):
        with pytest.raises(DataError, match="cannot be read"):
            Preprocessing.from_json(text)
    assert json.loads(how.to_json())["format"] == 1


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """120 images of 224 pixels, 18 MB in all, take little more than sixty do; a contact sheet is full at fewer."""
    import tracemalloc

    peaks = []
    how = ImportSettings(preprocessing=Preprocessing(224))
    for each in (30, 60):
        source = by_class(tmp_path / f"in{each}", each=each, size=(224, 224))
        rgb = save(source / "benign" / "rgb.png", np.dstack([picture(7, size=(224, 224))] * 3))
        assert rgb.exists()
        tracemalloc.start()
        import_images(source, tmp_path / f"{each}.npz", how)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2e6, peaks
