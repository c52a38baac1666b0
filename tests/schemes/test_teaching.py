"""Releases weighed by what they teach: a poisoned one counts for nothing, equal ones count the same."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedistill.config import load_simulation
from fedistill.methods import SyntheticSet
from fedistill.models import build
from fedistill.schemes.images_shadow import ImageShadow, OtherReleases
from fedistill.schemes.server import teaching as module
from fedistill.schemes.server.cross_validation import split_folds
from fedistill.schemes.server.pool import join
from fedistill.schemes.server.teaching import Lesson, Teaching, levels
from fedistill.study import run
from fedistill.training.recipe import Recipe

CLASSES, EACH, SIZE = 3, 6, 8


@pytest.fixture
def teaching(monkeypatch):
    monkeypatch.setattr(module, "RECIPE", Recipe("teaching", lr=0.02, steps=40, batch=18, augment=False))
    monkeypatch.setattr(module, "NETWORKS", 2)
    return Teaching(build("convnet", channels=1, classes=CLASSES, size=SIZE, width=8), seed=0, mirror=False)


def lesson(site, *, classes=range(CLASSES), permuted=False):
    """Images of noise with a bright quarter, another for each class; ``permuted`` ones carry the next class's label."""
    chance = np.random.default_rng(ord(site))
    images, labels = [], []
    for label in classes:
        for _ in range(EACH):
            image = chance.normal(0, 0.3, (1, SIZE, SIZE))
            row, column = divmod(label, 2)
            image[:, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 1.5
            images.append(image)
            labels.append((label + 1) % CLASSES if permuted else label)
    return Lesson(torch.tensor(np.stack(images), dtype=torch.float32), torch.tensor(labels), site)


def aucs(teaching, lessons):
    return [teaching.auc(lessons, number, torch.device("cpu")) for number in range(len(lessons))]


def test_a_release_with_permuted_labels_weighs_next_to_nothing(teaching):
    lessons = [lesson("a"), lesson("b"), lesson("c", permuted=True), lesson("d")]
    found = levels(aucs(teaching, lessons))
    assert found[2] == 0 and min(found[0], found[1], found[3]) > 0
    x, _, _ = join([(each.images, each.labels) for each in lessons], by="taught", examples=found)
    copies = [int((x == each.images[0]).flatten(1).all(1).sum()) for each in lessons]
    assert copies == found


def test_equal_releases_weigh_nearly_the_same(teaching):
    found = aucs(teaching, [lesson(site) for site in "abcd"])
    assert min(found) > 0.9 and max(found) - min(found) < 0.05
    counts = levels(found)
    assert max(counts) - min(counts) <= 1


def test_a_hospital_is_not_marked_down_for_classes_that_it_lacks(teaching):
    lessons = [lesson("a"), lesson("b", classes=[0, 2]), lesson("c")]
    assert aucs(teaching, lessons)[1] > 0.9


def test_a_single_class_cannot_be_judged_and_weighs_as_the_others_do(teaching):
    lessons = [lesson("a"), lesson("b", classes=[1]), lesson("c")]
    found = aucs(teaching, lessons)
    assert math.isnan(found[1]) and levels(found)[1] >= 1
    assert math.isnan(aucs(teaching, [lesson("a")])[0])
    assert math.isnan(aucs(teaching, [lesson("a"), replace(lesson("b"), site="a")])[0])  # rounds of one site


def test_it_is_judged_on_its_soft_labels_where_these_are_trained_towards(teaching):
    wrong = torch.nn.functional.one_hot(lesson("c", permuted=True).labels, CLASSES).float()
    lessons = [lesson("a"), lesson("b"), replace(lesson("c"), soft=wrong)]
    assert levels(aucs(teaching, lessons))[2] == 0


def test_the_shadows_of_an_audit_judge_their_own_release_anew(teaching):
    def sent(site, **how):
        one = lesson(site, **how)
        return SyntheticSet(one.images, one.labels, EACH)

    others = OtherReleases([sent("a")], [sent("b"), sent("d")])
    recipe = Recipe("common", steps=1)
    shadow = ImageShadow("tdm", None, "uint8", "taught", (1, 1, 1, 1), teaching.network, recipe, (0,), False)
    shadow = replace(shadow, teaching=teaching)
    for permuted in (False, True):
        own = sent("c", permuted=permuted)
        x, y = shadow.join(own, others)
        there = bool((x == own.images[0]).flatten(1).all(1).any())
        assert there is not permuted and len(x) == len(y)


def test_copies_of_an_image_are_on_one_side_of_every_fold():
    origin = torch.arange(12).repeat_interleave(3)
    labels = (torch.arange(12) % 2).repeat_interleave(3)
    folds = split_folds(labels, seed=0, origin=origin)
    assert len(folds) == 5
    for fold in folds:
        assert not set(origin[fold.train].tolist()) & set(origin[fold.aside].tolist())
        assert len(fold.train) + len(fold.aside) == 36
    assert sorted(origin[torch.cat([fold.aside for fold in folds])].tolist()) == origin.tolist()


STUDY = """
networks = 2
width = 4
ipc = [2]
pooling = "taught"
[federation]
name = "three"
dataset = "phantom:breast"
images = 90
sites = ["a", "b", "c"]
policy = { allow_real_images = true }
[recipe]
steps = 4
max_steps = 4
lr = [0.01, 0.03]
pilots = 1
[scheme.random]
"""


def test_a_study_leaves_a_release_out_that_teaches_nothing_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RECIPE", Recipe("teaching", lr=0.02, steps=2, batch=4, augment=False))
    monkeypatch.setattr(Teaching, "auc", lambda self, lessons, number, device: (0.9, 0.4, 0.7)[number])
    path = tmp_path / "taught.toml"
    path.write_text(STUDY)
    notes = []
    whole = run(
        load_simulation(str(path)),
        out=tmp_path / "run",
        engine="inline",
        on_event=lambda event: notes.append(event.message) if event.kind == "note" else None,
    )
    [note] = [each for each in notes if "taught" in each]
    assert note.startswith("A Release of 'b' is in no pool of 'random'") and "AUC 40.0" in note
    plain = run(load_simulation(str(path), changes=["pooling='concat'"]), out=tmp_path / "plain", engine="inline")
    assert whole.rows["images_shared"].tolist() == plain.rows["images_shared"].tolist()
    assert whole.rows["auc"].tolist() != plain.rows["auc"].tolist()
    again = run(load_simulation(str(path)), out=tmp_path / "run", engine="inline")
    assert again.rows["auc"].tolist() == whole.rows["auc"].tolist()
