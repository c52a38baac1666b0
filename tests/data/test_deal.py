"""Validation data after the training data, and held-out data: class by class, patients whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedistill.data import ImageSet, Partition, follow, hold_out
from fedistill.data.apportion import apportion
from fedistill.errors import DataError


def images(labels, groups=None) -> ImageSet:
    labels = np.asarray(labels, np.int64)
    classes = labels.shape[1] if labels.ndim == 2 else 3
    groups = None if groups is None else np.asarray(groups, np.int64)
    return ImageSet(np.zeros((len(labels), 2, 2, 1), np.uint8), labels, tuple("abcde"[:classes]), groups=groups)


TRAIN = images(np.repeat([0, 1, 2], [60, 30, 10]))
# North holds all of class 0 but 20 images, half of class 1; south holds the rest; nobody holds class 2.
HELD = Partition((np.r_[0:40, 60:75], np.r_[40:60, 75:90]), np.arange(90, 100))


def test_every_site_gets_its_own_mix():
    other = images(np.repeat([0, 1, 2], [30, 20, 5]))
    share = follow(HELD, TRAIN, other, seed=0)
    assert [other.take(part).counts().tolist() for part in share.parts] == [[20, 10, 0], [10, 10, 0]]
    assert other.take(share.unheld).counts().tolist() == [0, 0, 5]
    assert sorted(np.concatenate([*share.parts, share.unheld]).tolist()) == list(range(55))


def test_the_seed_chooses_which_images():
    other = images(np.repeat([0, 1, 2], [30, 20, 5]))
    a, b, c = (follow(HELD, TRAIN, other, seed=seed).parts[0] for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_a_class_that_train_lacks_is_nobodys():
    train = images([0, 0, 1, 1])
    share = follow(Partition((np.arange(4),), np.arange(0)), train, images([0, 1, 2, 2]), seed=0)
    assert share.parts[0].tolist() == [0, 1] and share.unheld.tolist() == [2, 3]


def test_several_labels_go_by_overall_fractions():
    train, other = images(np.ones((20, 4))), images(np.ones((10, 4)))
    share = follow(Partition((np.arange(15), np.arange(15, 20)), np.arange(0)), train, other, seed=0)
    assert [len(part) for part in share.parts] in ([8, 2], [7, 3]) and len(share.unheld) == 0


def test_an_empty_split_gives_empty_shares():
    share = follow(HELD, TRAIN, images([]), seed=0)
    assert [len(part) for part in share.parts] == [0, 0] and len(share.unheld) == 0


def test_following_cuts_no_patient_and_comes_near_the_fractions():
    other = images(np.repeat([0, 1, 2], [60, 40, 10]), np.arange(110) // 3)
    share = follow(HELD, TRAIN, other, seed=0)
    patients = [set(other.groups[part].tolist()) for part in (*share.parts, share.unheld)]
    assert sum(map(len, patients)) == len(set.union(*patients))
    counts = np.array([other.take(part).counts() for part in share.parts])
    assert np.abs(counts - [[40, 20, 0], [20, 20, 0]]).max() <= 3


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 2), max_size=60),
    fraction=st.floats(0, 0.9),
    seed=st.integers(0, 2**40),
    patients=st.one_of(st.none(), st.integers(1, 20)),
)
def test_holding_out(labels, fraction, seed, patients):
    groups = None if patients is None else np.random.default_rng(seed).integers(0, patients, len(labels))
    x = images(labels, groups)
    kept, held = hold_out(x, fraction, seed=seed)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(len(x)))
    if patients is None:
        assert (np.abs(x.take(held).counts() - fraction * x.counts()) < 1).all()
    else:
        assert not set(x.groups[kept].tolist()) & set(x.groups[held].tolist())


def test_nothing_held_out_by_default_and_never_everything():
    assert len(hold_out(TRAIN, 0.0, seed=0)[1]) == 0
    for fraction in (1.0, -0.1, float("nan")):
        with pytest.raises(DataError, match="cannot be held out"):
            hold_out(TRAIN, fraction, seed=0)


def test_the_only_image_of_a_class_is_kept():
    kept, held = hold_out(images([0, 0, 0, 0, 1]), 0.5, seed=0)
    assert 4 in kept.tolist() and len(held) == 2


@given(total=st.integers(0, 1000), weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=10))
def test_apportioned_numbers_add_up(total, weights):
    w = np.array(weights)
    shares = apportion(total, w)
    assert shares.sum() == (total if w.sum() > 0 else 0) and (shares >= 0).all()
    if w.sum() > 0:
        assert (np.abs(shares - w * total / w.sum()) < 1 + 1e-6).all()
