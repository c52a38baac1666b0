"""The pool in every format: read back as it was, by FeDistill and by others."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import fedistill as fd
from fedistill.errors import DataError, RunFolderError, SettingError
from fedistill.export.pool.select import select_pool
from fedistill.export.pool.write import FORMATS, SUFFIXES, to_levels, write_pool
from fedistill.release.release import Release, unpack


@pytest.fixture(scope="module")
def pool(home):
    return select_pool(home / "run", scheme="dc", ipc=2)


def written(pool, folder, kind):
    out = folder / f"pool-{kind}{SUFFIXES.get(kind, '')}"
    write_pool(pool, out, kind)
    return out


def test_the_pool_is_what_the_sites_released(home, pool):
    parts = []
    for site in ("north", "south"):
        path = home / "run" / "releases" / site / "dc-seed0.safetensors"
        parts.append(unpack(Release.from_bytes(path.read_bytes()).sets[2], 2))
        alone, file = select_pool(home / "run", scheme="dc", ipc=2, site=site), select_pool(path, ipc=2)
        assert (alone.images == file.images).all() and (alone.images == parts[-1].images).all()
    assert (pool.images == torch.cat([part.images for part in parts])).all()
    assert pool.sites == ("north",) * len(parts[0].images) + ("south",) * len(parts[1].images)
    assert pool.card["made by"] == ["north", "south"] and "without a differential-privacy" in pool.card["guarantee"]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_back(pool, tmp_path, kind):
    out = written(pool, tmp_path, kind)
    if kind == "torch":
        content = torch.load(out, weights_only=True)
        assert (content["images"] == pool.images).all() and content["class_names"] == list(pool.class_names)
        with pytest.raises(DataError, match="weights_only"):
            fd.load_release(out)
        return
    read = fd.load_release(out)
    assert (read.labels == pool.labels).all() and read.class_names == pool.class_names
    assert read.card["made by"] == ["north", "south"]
    exact = pool.images if kind in ("parquet", "safetensors") else pool.images.clamp(-1, 1)
    assert (read.images - exact).abs().max() <= (0 if kind in ("parquet", "safetensors") else 1 / 255 + 1e-6)
    image, label = read.dataset[0]
    assert (image == read.images[0]).all() and label == read.labels[0] and len(read.dataset) == len(read)


def test_a_release_file_is_loaded_as_it_is(home):
    read = fd.load_release(home / "run" / "releases" / "north" / "dc-seed0.safetensors", ipc=1)
    assert len(read) == 2 and read.class_names and read.card["scheme"] == "dc"
    with pytest.raises(DataError, match="several budgets"):
        fd.load_release(home / "run" / "releases" / "north" / "dc-seed0.safetensors")


def test_the_npz_is_a_data_set_and_the_pngs_can_be_imported(typed, pool, tmp_path):
    train = fd.load_dataset(written(pool, tmp_path, "npz"))
    assert (train.images == to_levels(pool.images)).all() and train.class_names == pool.class_names
    folder = written(pool, tmp_path, "png")
    code, _ = typed("import", folder / "labels.csv", "--out", "x.npz", "--split", "50/0/50")
    assert code == 0
    seen = {image.tobytes() for split in ("train", "test") for image in fd.load_dataset("x.npz", split).images}
    assert seen == {image.tobytes() for image in train.images}


def test_hugging_face_loads_the_parquet_folder(pool, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = written(pool, tmp_path, "parquet")
    read = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert read.features["label"].names == list(pool.class_names) and read["label"] == pool.labels.tolist()
    assert (np.asarray(read[0]["image"]) == to_levels(pool.images)[0, ..., 0]).all()


def test_the_card_says_what_it_is_who_made_it_and_what_protects_whom(pool, tmp_path):
    written(pool, tmp_path, "npz")
    text = (tmp_path / "pool-npz.card.md").read_text()
    for words in (
        "made by: north, south",
        "by: `dc`, 2 images per class",
        "iterations 2,",
        "not attacked",
        "eight bits",
    ):
        assert words in text


@pytest.mark.parametrize("kind", ["npz", "png", "parquet"])
def test_the_card_says_how_many_pixels_eight_bits_cut_off(pool, tmp_path, kind):
    """A pixel is cut off where it is beyond black or white by more than rounding to eight bits moves any pixel."""
    images = pool.images.clamp(-1, 1)
    images[:, :, ::2, ::2] = 1.2
    images[:, :, 1::2, 1::2] = -1 - 0.9 / 255
    out = written(replace(pool, images=images), tmp_path, kind)
    text = (out.with_suffix(".card.md") if kind == "npz" else out / "README.md").read_text()
    assert "25 % of the synthetic pixels lay beyond and were cut off" in text
    text = written(pool, tmp_path, "torch").with_suffix(".card.md").read_text()
    assert "every pixel as it is" in text and "cut off" not in text


def test_what_an_attacker_found_is_on_the_card(home, tmp_path):
    import shutil

    shutil.copytree(home / "run", tmp_path / "run", ignore=shutil.ignore_patterns("work"))
    (tmp_path / "run" / "privacy.csv").write_text(
        "scheme,ipc,rounds,site,attack,auc,auc_low,auc_high\ndc,2,,north,lira,0.613,0.55,0.67\ndc,1,,north,lira,0.7,,\n"
    )
    card = select_pool(tmp_path / "run", scheme="dc", ipc=2).card
    assert card["attackers"] == [
        "lira, is an image of north in it: AUC 61.3 (95 % interval 55.0 to 67.0); a coin has 50."
    ]


def test_export_by_the_command_line(typed, home, tmp_path):
    words = ["export", home / "run", "--scheme", "dc", "--ipc", 1, "--seed", 1, "--site", "north", "--to", "npz"]
    code, text = typed(*words, "--out", "p.npz")
    assert code == 0 and "made by north" in text and len(fd.load_release("p.npz")) == 2
    code, text = typed(*words, "--out", "p.npz")
    assert code == 2 and "never overwritten" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scheme", "dcc"], "did you mean 'dc'"),
        ([], "Name a scheme"),
        (["--scheme", "dc"], "several budgets"),
        (["--scheme", "dc", "--ipc", "9"], "no budget of 9"),
        (["--scheme", "dc", "--ipc", "1", "--seed", "9"], "has no Release"),
        (["--scheme", "dc", "--ipc", "1", "--site", "nroth"], "did you mean 'north'"),
        (["--scheme", "random", "--ipc", "1"], "hashes alone"),
        (["--scheme", "dc", "--ipc", "1", "--to", "pgn"], "did you mean 'png'"),
    ],
)
def test_a_pool_that_is_not_there(typed, home, tmp_path, words, message):
    out = "p" if "pgn" in words else "p.npz"
    code, text = typed("export", home / "run", "--to", "npz", "--out", out, *words)
    assert code == 2 and message in text and not list(tmp_path.glob("p*"))


def test_damage_is_told(pool, tmp_path):
    for kind in ("npz", "safetensors"):
        path = written(pool, tmp_path, kind)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(DataError, match="damaged"):
            fd.load_release(path)
    folder = written(pool, tmp_path, "png")
    about = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**about, "class_names": ["other"]}))
    with pytest.raises(DataError, match="damaged"):
        fd.load_release(folder)
    with pytest.raises(DataError, match="no exported pool"):
        fd.load_release(tmp_path)
    with pytest.raises(SettingError, match="does not end in"):
        write_pool(pool, tmp_path / "x.png", "npz")
    with pytest.raises(RunFolderError, match="no run"):
        select_pool(tmp_path)
