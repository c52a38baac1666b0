"""What is told of how many images there are, and classes too small to be told of."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedistill.data.imageset import ImageSet
from fedistill.privacy.policy.disclosure import disclosed_count, disclosed_tally, per_class, too_small, unit, without
from fedistill.training.metrics import Tally, tally

NEAR = 0.005 + 1e-12  # scores are told in whole percents


def images(labels, groups=None):
    labels = np.array(labels, np.int64)
    k = labels.shape[1] if labels.ndim == 2 else 4
    task = "multi-label, binary-class" if labels.ndim == 2 else "multi-class"
    pixels = np.zeros((len(labels), 8, 8, 1), np.uint8)
    groups = None if groups is None else np.array(groups, np.int64)
    return ImageSet(pixels, labels, tuple(f"class {i}" for i in range(k)), task=task, groups=groups)


@given(st.integers(0, 10**6))
def test_a_rounded_count_is_a_ten_as_near_as_can_be_and_never_hides_that_there_are_any(n):
    rounded = disclosed_count(n, "rounded")
    assert rounded % 10 == 0 and (rounded == 0) == (n == 0) and abs(rounded - max(n, 10 * (n > 0))) <= 5
    assert disclosed_count(n, "none") == (n > 0) and disclosed_count(n, "exact") == n
    assert disclosed_count(n + 1, "rounded") >= rounded


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
@example(2097153, 6)  # half a percent exactly, but for the last digit of a float
def test_scores_keep_their_meaning(seed, n):
    random = np.random.default_rng(seed)
    labels, probabilities = random.integers(0, 3, n), random.random((n, 3))
    exact = tally(labels, probabilities)
    for how in ("rounded", "none"):
        said = disclosed_tally(exact, how)
        assert np.isnan(exact.auc) == np.isnan(said.auc) and (np.isnan(exact.auc) or abs(said.auc - exact.auc) <= NEAR)
        assert abs(said.balanced_accuracy - exact.balanced_accuracy) <= NEAR
        assert (said.correct <= said.count + 1e-9).all() and (said.concordant <= said.pairs + 1e-9).all()
        assert not (said.count % (10 if how == "rounded" else 1)).any()
        if how == "none":
            assert set(said.count) <= {0.0, 1.0} and set(said.pairs) <= {0.0, 1.0}
    assert disclosed_tally(exact, "exact") is exact


def test_no_image_is_no_count():
    nothing = Tally(*[np.zeros(2)] * 4)
    for how in ("rounded", "none"):
        assert not disclosed_tally(nothing, how).count.any() and np.isnan(disclosed_tally(nothing, how).auc)


def test_patients_are_counted_where_images_say_whose_they_are():
    x = images([0, 0, 0, 1, 1, 1, 2], groups=[7, 7, 7, 7, 8, 9, 9])
    assert unit(x) == "patient" and per_class(x).tolist() == [1, 3, 1, 0]
    assert too_small(x, 2) == {0, 2, 3} and too_small(x, 1) == too_small(x, 0) == frozenset()
    assert unit(images([0])) == "image" and per_class(images([0, 0, 3])).tolist() == [2, 0, 0, 1]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(0, 6))
def test_what_is_left_has_classes_of_enough_images_alone(labels, least):
    x = images(labels)
    left = without(x, too_small(x, least))
    counts, before = left.counts(), x.counts()
    assert all(c == 0 or c >= least for c in counts)
    assert all(c == b for c, b in zip(counts, before, strict=True) if b >= least)


@given(st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=25), st.integers(2, 5))
def test_no_rare_label_is_left_by_what_goes_with_another(rows, least):
    x = images(np.array(rows, np.int64).reshape(-1, 4))
    small = too_small(x, least)
    left = without(x, small)
    assert not left.labels[:, sorted(small)].any()
    assert all(c >= least for k, c in enumerate(left.counts()) if k not in small)


@pytest.mark.parametrize("least", [0, 1])
def test_off_it_is_the_same_object(least):
    x = images([0, 1])
    assert without(x, too_small(x, least)) is x
