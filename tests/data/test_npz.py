"""The one reader of .npz files: what it takes, and what it refuses before giving memory to it."""

import io
import zipfile

import numpy as np
import pytest

from fedistill.data import load_dataset
from fedistill.data.sources import npz
from fedistill.data.sources.npz import read_npz
from fedistill.errors import DataError

SIZES = (("train", 6), ("val", 2), ("test", 3))


def test_column_labels_and_grey_images_are_brought_into_shape(save):
    train = read_npz(save())
    assert train.images.shape == (6, 8, 8, 1) and train.images.dtype == np.uint8
    assert train.labels.shape == (6,) and train.labels.dtype == np.int64
    assert train.class_names == ("class 0", "class 1") and train.task == "binary-class"
    assert train.groups is None and train.source == "own.npz"


@pytest.mark.parametrize("labels", [np.arange(6) % 2, (np.arange(6) % 2).reshape(-1, 1), (np.arange(6) % 2) == 1])
def test_flat_column_and_boolean_labels_mean_the_same(save, labels):
    assert read_npz(save(train_labels=labels)).labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_colour_images_keep_their_channels(save):
    colour = {f"{s}_images": np.full((n, 8, 8, 3), 7, np.uint8) for s, n in (("train", 6), ("val", 2), ("test", 3))}
    assert read_npz(save(**colour), "test").images.shape == (3, 8, 8, 3)


def test_classes_are_counted_over_all_splits(save):
    train = read_npz(save(test_labels=np.array([0, 1, 4])))
    assert train.n_classes == 5 and train.task == "multi-class"
    assert train.counts().tolist() == [3, 3, 0, 0, 0]


def test_a_named_class_may_lack_images(save):
    names = np.array(["no", "yes", "perhaps"])
    assert read_npz(save(class_names=names)).class_names == ("no", "yes", "perhaps")
    with pytest.raises(DataError, match=r"expected: 3 names\n  found: 2"):
        read_npz(save(class_names=names[:2], test_labels=np.array([0, 1, 2])))


def test_label_columns_stay_columns(save):
    columns = {f"{s}_labels": np.eye(14, dtype=np.uint8)[:n] for s, n in (("train", 6), ("val", 2), ("test", 3))}
    train = read_npz(save(**columns))
    assert train.multilabel and train.labels.shape == (6, 14) and train.task == "multi-label, binary-class"
    columns["test_labels"] = columns["test_labels"] * 2
    with pytest.raises(DataError, match=r"test_labels lie outside[\s\S]*0 or 1"):
        read_npz(save(**columns))


def test_val_may_be_absent_or_empty(save):
    absent = read_npz(save(val_images=None, val_labels=None), "val")
    empty = read_npz(save(val_images=np.zeros((0, 8, 8), np.uint8), val_labels=np.zeros((0, 1), np.uint8)), "val")
    for val in (absent, empty):
        assert val.images.shape == (0, 8, 8, 1) and val.labels.shape == (0,) and val.n_classes == 2


def test_groups_of_strings_become_numbers_across_splits(save):
    path = save(train_groups=np.array(list("aabbcc")), test_groups=np.array(["e", "d", "d"]))
    assert read_npz(path).groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert read_npz(path, "test").groups.tolist() == [3, 4, 4]
    renamed = save(train_groups=np.array(list("zzxxyy")), test_groups=np.array(["b", "a", "a"]))
    assert read_npz(renamed).groups.tolist() == [0, 0, 1, 1, 2, 2] and read_npz(renamed, "test").groups[0] == 3
    assert read_npz(path, "val").groups is None


def test_a_patient_in_two_splits_is_named(save):
    path = save(train_groups=np.arange(6) + 100, test_groups=np.array([7, 103, 8]))
    with pytest.raises(DataError, match="the group 103 is in train and in test"):
        read_npz(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_images": None}, "lacks test_images"),
        ({"val_labels": None}, "lacks val_labels"),
        ({"train_labels": np.zeros(5, int)}, "train_images and train_labels differ in length"),
        ({"train_labels": np.array(1)}, "differ in length"),
        ({"train_images": np.zeros((6, 8, 8), np.float32)}, "uint8"),
        ({"train_images": np.zeros((6, 8, 9), np.uint8)}, "square"),
        ({"train_images": np.zeros((6, 8, 8, 2), np.uint8)}, "C = 1 or 3"),
        ({"train_images": np.zeros((6, 8, 8, 4), np.uint8)}, r"leave out the last channel[\s\S]*:-1"),
        ({f"{s}_images": np.zeros((n, 1, 1), np.uint8) for s, n in SIZES}, "at least 8 by 8 pixels"),
        ({"train_labels": np.array(["cat", "dog"] * 3)}, r"are text[\s\S]*return_inverse"),
        ({"train_labels": np.array([0, 1, 200, 0, 1, 0])}, r"3 of 201 labels have images; 2, 3, 4, 5, 6 have none"),
        ({"class_names": np.array(["no", "y\x1b[2Jes"])}, r"name of class 1[\s\S]*one line of printable"),
        ({"class_names": np.array(["a\nb", "yes"])}, "name of class 0"),
        ({"class_names": np.array(["no", ""])}, "name of class 1"),
        ({"class_names": np.array(["no", "n" * 301])}, "name of class 1"),
        ({"class_names": np.array(["no", "no"])}, "several classes are called 'no'"),
        ({"class_names": np.array(["\u00e9", "e\u0301"])}, "several classes are called"),
        ({"class_names": np.array([b"\xff", b"yes"])}, "bytes in UTF-8"),
        ({"val_images": np.zeros((2, 9, 9), np.uint8)}, "differ in shape"),
        ({"train_images": np.zeros((0, 8, 8), np.uint8), "train_labels": np.zeros(0, int)}, "no training images"),
        ({"train_labels": np.array([0, 1, np.nan, 0, 1, 0])}, "no integers"),
        ({"train_labels": np.array([0, 1, -1, 0, 1, 0])}, "-1..1"),
        ({"train_labels": np.array([0, 1, 10**12, 0, 1, 0])}, "outside their range"),
        ({"train_labels": np.zeros((6, 2), int)}, "same L in every split"),
        ({"train_labels": np.zeros(6, int), "val_labels": np.zeros(2, int), "test_labels": np.zeros(3, int)}, "single"),
        ({"train_groups": np.arange(5)}, "train_groups cannot be used"),
        ({"train_groups": np.linspace(0, 1, 6)}, "integers or strings"),
        ({"train_groups": np.arange(6), "test_groups": np.array(["a", "b", "c"])}, "some are strings"),
        ({"train_labels": np.array([0, 1, None, 0, 1, 0])}, "Python objects"),
        ({"class_names": np.array(["no", None])}, "Python objects"),
    ],
)
def test_what_cannot_be_used_is_explained(save, changes, message):
    with pytest.raises(DataError, match=message):
        read_npz(save(**changes))


def test_class_names_as_bytes_are_text(save):
    names = np.array(["nö", "=yes"])
    assert read_npz(save(class_names=np.char.encode(names, "utf-8"))).class_names == ("nö", "=yes")


def test_a_gap_among_the_labels_is_a_class_without_images(save):
    from_one = {f"{s}_labels": np.arange(n) % 2 + 1 for s, n in SIZES}
    assert read_npz(save(**from_one)).class_names == ("class 0", "class 1", "class 2")
    stray = {"train_labels": np.array([0, 1, 7, 0, 1, 0]), "class_names": np.array(list("abcdefgh"))}
    assert read_npz(save(**stray)).n_classes == 8, "classes that are named may lack images"


def test_a_folder_and_another_ending_are_called_so(save, tmp_path):
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(DataError, match=r"x\.npz is a folder"):
        read_npz(tmp_path / "x.npz")
    with pytest.raises(DataError, match="is a folder"):
        load_dataset(tmp_path)
    save("OWN.NPZ")
    with pytest.raises(DataError, match=r"OWN\.NPZ does not end in \.npz[\s\S]*rename it to .*OWN\.npz"):
        load_dataset(tmp_path / "OWN.NPZ")


def test_an_unknown_split_gets_a_hint(save):
    with pytest.raises(DataError, match="did you mean 'val'"):
        read_npz(save(), "valid")


def test_missing_cut_and_foreign_files(save, tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        read_npz(tmp_path / "nowhere.npz")
    path = save()
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"not an \.npz file, or is damaged"):
        read_npz(path)
    path.write_text("a page that says: not found")
    with pytest.raises(DataError, match=r"not an \.npz file"):
        read_npz(path)


def test_a_flipped_byte_is_noticed(save):
    path = save()
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("train_images.npy")
    whole = bytearray(path.read_bytes())
    whole[info.header_offset + 30 + len(info.filename) + info.compress_size // 2 + 20] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"array train_images (cannot be read|is not as long)"):
        read_npz(path)


def test_an_array_that_claims_more_than_it_has_is_refused(save):
    path = save()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 1000, 1000)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("extra.npy", header.getvalue())
    with pytest.raises(DataError, match="extra is not as long as its header says"):
        read_npz(path)


def test_a_bomb_is_refused_before_it_is_unpacked(save, monkeypatch):
    path = save()
    monkeypatch.setattr(npz, "LARGEST_ARRAY", 300)
    with pytest.raises(DataError, match="claims a size that cannot be right"):
        read_npz(path)


def test_other_splits_images_are_not_unpacked(save, monkeypatch):
    read: list[str] = []
    unpack = npz._array
    monkeypatch.setattr(npz, "_array", lambda path, archive, name: read.append(name) or unpack(path, archive, name))
    read_npz(save(), "val")
    assert "val_images" in read and not {"train_images", "test_images"} & set(read)
