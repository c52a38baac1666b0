"""Intervals: the bootstrap's AUC is scikit-learn's with weights, and an interval covers what it should."""

import numpy as np
import pytest
from oracles.intervals import difference_means, interval_means
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from fedistill.study.tables.intervals import (
    accuracy_replicates,
    auc_replicates,
    balanced_accuracy_replicates,
    difference,
    image_weights,
    interval,
)
from fedistill.training.metrics import score


@pytest.mark.parametrize("k", [2, 4])
def test_auc_replicates_are_the_weighted_auc(k):
    generator = np.random.default_rng(0)
    labels, p = generator.integers(k, size=80), generator.dirichlet(np.ones(k), size=80).round(1)
    weights = image_weights(80, generator, replicates=7)
    found = auc_replicates(labels, p, weights)
    for r, w in enumerate(weights):
        classes = [1] if k == 2 else range(k)
        wanted = np.mean([roc_auc_score(labels == c, p[:, c], sample_weight=w) for c in classes])
        assert found[r] == pytest.approx(wanted, abs=1e-9)


def test_accuracy_replicates():
    labels, p = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    weights = np.array([[1, 1, 1], [0, 3, 0], [2, 0, 1]], np.float32)
    assert accuracy_replicates(labels, p, weights).tolist() == pytest.approx([2 / 3, 0.0, 1.0])


def test_balanced_accuracy_replicates_are_the_weighted_ones():
    generator = np.random.default_rng(0)
    labels, p = generator.integers(4, size=80), generator.dirichlet(np.ones(4), size=80)
    weights = image_weights(80, generator, replicates=7)
    found = balanced_accuracy_replicates(labels, p, weights)
    for r, w in enumerate(weights):
        assert found[r] == pytest.approx(balanced_accuracy_score(labels, p.argmax(1), sample_weight=w), abs=1e-6)


def test_balanced_accuracy_of_several_labels_is_that_of_the_rows():
    generator = np.random.default_rng(1)
    labels, p = generator.integers(2, size=(40, 3)), generator.random((40, 3))
    labels[:, 2] = 0  # a label that nobody has
    ones = np.ones((1, 40), np.float32)
    [found] = balanced_accuracy_replicates(labels, p, ones)
    assert found == pytest.approx(score(labels, p)["balanced_accuracy"])


def test_the_interval_of_a_mean_holds_it_and_knows_of_seeds():
    generator = np.random.default_rng(0)
    steady = {s: 0.8 + 0.01 * generator.standard_normal((5, 400)) for s in range(3)}
    low, high = interval(steady, generator)
    assert 0.78 < low < 0.8 < high < 0.82
    scattered = {s: values + 0.1 * (s - 1) for s, values in steady.items()}
    low, high = interval(scattered, generator)
    assert low < 0.75 and high > 0.85
    assert np.isnan(interval({0: np.full((2, 50), np.nan)}, generator)).all()


SIDES = {
    "one seed": ({0: 3}, {0: 3}),
    "one network": ({0: 1, 1: 1, 2: 1}, {0: 2, 1: 2, 2: 2}),
    "several of both": ({0: 5, 1: 5, 2: 5}, {0: 5, 1: 5, 2: 5}),
    "some seeds in common": ({0: 4, 1: 4, 2: 4, 5: 4}, {1: 2, 2: 2, 3: 2, 5: 2}),
    "one seed in common": ({0: 4, 1: 4}, {1: 2, 2: 2}),
    "asked once, against many": ({0: 9}, {s: 9 for s in range(12)}),
    "many, against one asked once": ({s: 3 for s in range(12)}, {0: 1}),
}


@pytest.mark.parametrize(("one", "other"), SIDES.values(), ids=SIDES)
def test_intervals_are_those_of_a_loop_to_the_last_bit(one, other):
    """All draws of all replicates are made in one call: they are the same draws, and the means are summed alike."""
    generator = np.random.default_rng(3)
    one, other = ({s: generator.random((n, 60)) for s, n in side.items()} for side in (one, other))
    other[next(iter(other))][0, :5] = np.nan  # where AUC is undefined in a replicate

    def middle(means):
        return tuple(np.quantile(means[~np.isnan(means)], [0.025, 0.975]))

    def alike():
        return np.random.default_rng(7)

    assert interval(one, alike()) == middle(interval_means(one, alike()))
    assert difference(one, other, alike()) == middle(difference_means(one, other, alike()))
    assert difference(other, one, alike()) == middle(difference_means(other, one, alike()))


def test_weights_draw_as_many_images_as_there_are():
    weights = image_weights(50, np.random.default_rng(0), replicates=20)
    assert (weights.sum(1) == 50).all() and weights.std() > 0.5


def test_an_interval_holds_the_difference():
    generator = np.random.default_rng(0)
    one = {s: 0.8 + 0.01 * generator.standard_normal((5, 400)) for s in range(3)}
    other = {s: 0.7 + 0.01 * generator.standard_normal((5, 400)) for s in range(3)}
    low, high = difference(one, other, generator)
    assert 0.08 < low < 0.1 < high < 0.12
    assert difference(one, one, generator)[0] < 0 < difference(one, one, generator)[1]


def test_a_scheme_asked_once_is_held_against_every_seed():
    generator = np.random.default_rng(0)
    low, high = difference({0: np.full((1, 50), 0.9)}, {0: np.full((2, 50), 0.5), 1: np.full((2, 50), 0.7)}, generator)
    assert 0.2 <= low <= high <= 0.4 + 1e-12


def test_networks_asked_once_are_no_surer_for_meeting_more_seeds():
    networks, flat = np.linspace(0.5, 0.9, 5)[:, None].repeat(2000, 1), np.full((5, 2000), 0.5)
    widths = []
    for seeds in (1, 5):
        low, high = difference({0: networks}, {s: flat for s in range(seeds)}, np.random.default_rng(0))
        widths.append(high - low)
    assert widths[1] > 0.9 * widths[0]


def test_a_network_that_diverged_is_blank():
    labels, p = np.array([0, 1]), np.array([[np.nan, np.nan], [0.2, 0.8]])
    weights = np.ones((3, 2), np.float32)
    assert np.isnan(auc_replicates(labels, p, weights)).all()
    assert np.isnan(accuracy_replicates(labels, p, weights)).all()
    assert all(np.isnan(value) for value in score(labels, p).values())


def test_nothing_known_is_blank():
    nothing = {0: np.full((2, 10), np.nan)}
    assert np.isnan(difference(nothing, nothing, np.random.default_rng(0))).all()
