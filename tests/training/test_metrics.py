"""Metrics against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fedistill.training.metrics import METRICS, score, tally


def some(n, k, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(k, size=n)
    probabilities = generator.dirichlet(np.ones(k), size=n).round(2)  # rounded: ties occur
    return labels, probabilities


def test_auc_is_medmnists():
    labels, p = some(200, 4)
    by_class = [roc_auc_score(labels == k, p[:, k]) for k in range(4)]
    assert score(labels, p)["auc"] == pytest.approx(np.mean(by_class), abs=1e-12)
    labels, p = some(200, 2)
    assert score(labels, p)["auc"] == pytest.approx(roc_auc_score(labels, p[:, 1]), abs=1e-12)


def test_multilabel_is_the_mean_over_labels():
    generator = np.random.default_rng(1)
    labels, p = generator.integers(2, size=(50, 3)), generator.random((50, 3))
    found = score(labels, p)
    assert found["accuracy"] == pytest.approx(((p > 0.5) == labels).mean())
    assert found["auc"] == pytest.approx(np.mean([roc_auc_score(labels[:, k], p[:, k]) for k in range(3)]))


def test_a_class_without_test_images_is_left_out():
    labels, p = np.array([0, 0, 1, 1]), np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    found = score(labels, p)
    # Class 0 is told apart fully; of class 1 one pair in four is the wrong way round.
    assert found["auc"] == pytest.approx((1.0 + 0.5) / 2)
    assert found["balanced_accuracy"] == pytest.approx((1.0 + 0.5) / 2)
    assert all(np.isfinite(found[m]) for m in METRICS)


def test_one_class_alone_has_no_auc():
    assert np.isnan(score(np.zeros(3, int), np.array([[0.6, 0.4]] * 3))["auc"])


@pytest.mark.parametrize("k", [2, 5])
def test_a_tally_of_one_site_is_the_score(k):
    labels, p = some(120, k)
    assert tally(labels, p).auc == pytest.approx(
        np.mean([roc_auc_score(labels == c, p[:, c]) for c in range(k)]), abs=1e-12
    )
    assert tally(labels, p).balanced_accuracy == pytest.approx(score(labels, p)["balanced_accuracy"])


def test_tallies_add_up_to_pairs_within_sites():
    one, other = (tally(*some(60, 3, seed)) for seed in (0, 1))
    both = one + other
    assert both.auc == pytest.approx(((one.concordant + other.concordant) / (one.pairs + other.pairs)).mean())
    nothing = tally(np.zeros(0, np.int64), np.zeros((0, 3)))
    assert (one + nothing).auc == one.auc and np.isnan(nothing.auc)
