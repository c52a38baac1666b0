"""AUC that is not defined is said before any work and shown as such; networks that diverged are another matter."""

import json

import numpy as np
import pytest

from fedistill.config import Holdings, Share, load_plan
from fedistill.data import ImageSet
from fedistill.report.format import metric
from fedistill.report.html.page import rebuild
from fedistill.study import run
from fedistill.study.preflight import PointData
from fedistill.training.metrics import score, without_auc

PLAN = """
ipc = [1]
networks = 1
width = 4
recipe = { steps = 2, max_steps = 2, lr = [0.01], pilots = 1, batch = 16 }
federation = { dataset = "one.npz", sites = ["a", "b"], policy = { allow_real_images = true, min_class_size = 1 } }
[scheme.random]
"""


def images(labels, classes=2):
    labels = np.asarray(labels, np.int64)
    return ImageSet(np.zeros((len(labels), 8, 8, 1), np.uint8), labels, tuple("abcdefgh"[:classes]))


def notes(test, *trains):
    empty = images([], test.n_classes)
    shares = tuple(Share(train, empty, empty) for train in trains)
    return PointData(test, [Holdings(shares, (0, 0))], ()).notes()


@pytest.mark.parametrize("labels", [[1, 1, 1], [0]], ids=str)
def test_a_test_split_of_one_class_is_told(labels):
    [note] = notes(images(labels), images([0, 1]))
    assert note.startswith(f"AUC is not defined on these {len(labels)} test images")


def test_labels_that_nobody_or_everybody_has_are_told():
    two = np.array([[0, 1, 1], [0, 1, 0]])
    [note] = notes(images(two, 3), images([[1, 1, 1], [0, 0, 0]], 3))
    assert "are of 'a', 'b'." in note and without_auc(two, 3) == [0, 1]
    assert "not defined" in notes(images(two[:1], 3), images([[1, 1, 1], [0, 0, 0]], 3))[0]


def test_a_class_that_no_split_has_is_told():
    found = notes(images([0, 1], 3), images([0, 0, 1], 3))
    assert found[-1] == "No split has an image of 'c': is the label mistyped?"
    assert not any("No split" in note for note in notes(images([0, 1], 3), images([0, 0], 3), images([2, 2], 3)))


def test_nothing_is_told_of_a_plain_set_or_of_sites_whose_data_nobody_knows():
    assert notes(images([0, 1]), images([0, 1])) == [] and notes(images([0, 1])) == []


def test_undefined_and_diverged_are_told_apart():
    certain, nothing = np.array([[0.2, 0.8]] * 3), np.full((3, 2), np.nan)
    assert metric(score(np.array([1, 1, 1]), certain), "auc") == "undefined"
    assert metric(score(np.array([1, 1, 1]), certain), "accuracy") == "100.0"
    assert metric(score(np.array([0, 1, 1]), nothing), "auc") == "diverged"
    assert metric(score(np.array([0, 1, 1]), nothing), "accuracy") == "diverged"


def test_a_run_whose_auc_is_not_defined_says_so_everywhere(tmp_path):
    random, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 40), ("val", 10), ("test", 10)):
        labels = np.arange(count) % 2 if split != "test" else np.ones(count, int)
        made = random.integers(0, 120, (count, 28, 28)) + 100 * labels[:, None, None]
        arrays |= {f"{split}_images": made.astype(np.uint8), f"{split}_labels": labels}
    np.savez(tmp_path / "one.npz", **arrays)
    (tmp_path / "one.toml").write_text(PLAN)
    done = run(load_plan(str(tmp_path / "one.toml")), out=tmp_path / "out", engine="inline")
    stages = [json.loads(line)["kind"] for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert stages.index("note") < stages.index("planned") and stages.count("note") == 1
    assert done.rows["auc"].isna().all() and done.rows["accuracy"].notna().all()
    page = rebuild(done.root).read_text()
    assert "AUC is not defined on these 10 test images" in page and "undefined" in page and "diverged" not in page
