"""`fedistill check`: every fault that it is for, and a file that has none."""

import json

import numpy as np
import pytest
from importing.folders import by_table, picture

from fedistill.errors import DataError
from fedistill.importing.check import check_file
from fedistill.importing.run_import import import_images


@pytest.fixture
def file(tmp_path):
    """Write a file of noise, with arrays of one's own in place of its; return its path."""

    def write(**changed):
        arrays = {}
        for number, (split, n) in enumerate((("train", 40), ("val", 6), ("test", 10))):
            arrays[f"{split}_images"] = np.stack([picture(100 * number + k, size=(28, 28)) for k in range(n)])
            arrays[f"{split}_labels"] = np.arange(n) % 2
            arrays[f"{split}_groups"] = 1000 * number + np.arange(n)
        arrays |= changed
        path = tmp_path / "x.npz"
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
        return path

    return write


def test_a_file_without_fault(file):
    check = check_file(file())
    assert not check.problems and not check.warnings
    assert check.counts["class 0"] == {"train": 20, "val": 3, "test": 5} and check.patients["train"] == 40


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"class_names": np.array(["no", "yes", "nobody"])}, "no split has an image of nobody"),
        ({"test_groups": np.arange(10)}, "the group 0 is in train and in test"),
        ({"test_labels": np.zeros(10, int)}, "all test images are of 'class 0': AUC is not defined"),
        ({f"{s}_labels": np.arange(n) % 2 + 1 for s, n in (("train", 40), ("val", 6), ("test", 10))}, "start at 1"),
        ({"train_labels": np.arange(40) % 3}, "'class 2' is in train alone (13 images)"),
        ({"test_labels": np.arange(10) % 3, "val_labels": np.arange(6) % 3}, "'class 2' has no training image"),
        ({"train_images": np.zeros((40, 28, 28), np.uint8)}, "all train images are black"),
        ({"train_labels": np.arange(40) / 2}, "train_labels are no integers"),
        ({"train_images": np.zeros((40, 28, 30), np.uint8)}, "train_images cannot be used"),
        ({"test_images": np.stack([picture(k, size=(28, 28)) for k in range(10)])}, "exact copies"),
    ],
)
def test_a_fault_that_spoils_a_run(file, changed, problem):
    assert any(problem in each for each in check_file(file(**changed)).problems)


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        ({"train_labels": (np.arange(40) < 5).astype(int)}, "fewer than 10 training images of class 1 (5)"),
        ({f"{s}_groups": None for s in ("train", "val", "test")}, "no patients are known"),
        ({"val_images": None, "val_labels": None, "val_groups": None}, "no validation images"),
    ],
)
def test_something_to_look_at(file, changed, warning):
    check = check_file(file(**changed))
    assert not check.problems and any(warning in each for each in check.warnings)


def test_what_is_imported_is_found_without_fault_and_says_how_it_was_made(typed, tmp_path):
    import_images(by_table(tmp_path), tmp_path / "x.npz")
    code, text = typed("check", "x.npz", "--json")
    found = json.loads(text)
    assert code == 0 and found["problems"] == [] and "brought to 28 x 28 pixels, grey" in found["preprocessing"]
    code, text = typed("check", "x.npz")
    assert code == 0 and "nothing is wrong with it" in text and len(text.splitlines()) < 25


def test_a_fault_ends_with_two(typed, file):
    code, text = typed("check", file(test_labels=np.zeros(10, int)))
    assert code == 2 and "wrong: all test images are of 'class 0'" in text


def test_no_data_set(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"none")
    with pytest.raises(DataError, match="not an"):
        check_file(tmp_path / "x.npz")
