"""Scores with noise: what one image changes is what the noise is calibrated to, and enough is left to choose by."""

import numpy as np
import pytest

from fedistill.core.accounting import epsilon_of
from fedistill.data import load_dataset
from fedistill.privacy.policy.noisy_scores import (
    BINS,
    DELTA,
    ScoreNoise,
    histograms,
    noisy_tallies,
    one_each,
    sensitivity,
)
from fedistill.training.metrics import tally
from fedistill.training.noise import Seeded


def answers(rng, n, skill, classes=2):
    """Labels, and a network's probabilities that are right as often as its skill has it."""
    labels = rng.integers(0, classes, n)
    scores = rng.normal(size=(n, classes))
    scores[np.arange(n), labels] += skill
    odds = np.exp(scores)
    return labels, odds / odds.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 5])
def test_one_image_changes_no_more_than_the_sensitivity(classes):
    rng = np.random.default_rng(0)
    labels, _ = answers(rng, 50, 1.0, classes)
    networks = [answers(rng, 50, skill, classes)[1] for skill in (0.0, 1.0, 3.0)]
    whole, without = (np.stack([histograms(labels[start:], each[start:]) for each in networks]) for start in (0, 1))
    assert np.linalg.norm(whole - without) == pytest.approx(sensitivity(3, classes))
    assert whole.sum() == 50 * len(networks) * (1 if classes == 2 else classes)


def test_all_questions_together_spend_the_epsilon_of_the_study():
    noise = ScoreNoise(4.0, 6)
    spent = epsilon_of([noise.cost.mechanism] * 6, delta=DELTA)
    assert spent == pytest.approx(4.0, rel=1e-4) and noise.cost.epsilon < 4.0


@pytest.mark.parametrize("classes", [2, 4])
def test_with_hardly_any_noise_the_auc_is_the_exact_one_but_for_bins(classes):
    rng = np.random.default_rng(1)
    labels, probabilities = answers(rng, 4000, 1.0, classes)
    [told] = noisy_tallies(labels, [probabilities], ScoreNoise(1000.0, 1), Seeded(0))
    assert told.auc == pytest.approx(tally(labels, probabilities).auc, abs=0.02) and BINS == 10
    assert not told.count.any() and np.isnan(told.accuracy), "right guesses are not told"


def chosen(epsilon, repeats=60):
    """Share of repeats in which three hospitals of 175 images find the better of three step sizes, two pilots each."""
    rng, right = np.random.default_rng(2), 0
    for repeat in range(repeats):
        totals = np.zeros(6)
        for hospital in range(3):
            labels = rng.integers(0, 2, 175)
            networks = []
            for skill in (0.6, 0.6, 1.6, 1.6, 1.0, 1.0):  # AUC about 0.66, 0.87 and 0.76
                scores = rng.normal(size=175) + skill * labels
                own = 1 / (1 + np.exp(-(scores - skill / 2)))
                networks.append(np.stack([1 - own, own], 1))
            told = noisy_tallies(labels, networks, ScoreNoise(epsilon, 1), Seeded(repeat, hospital))
            totals += [each.auc for each in told]
        right += int(totals.reshape(3, 2).mean(1).argmax() == 1)
    return right / repeats


def test_a_budget_of_eight_is_enough_to_choose_by_and_a_tenth_is_not():
    assert chosen(8.0) > 0.95
    assert chosen(0.1) < 0.7


@pytest.mark.parametrize(("images", "spread", "pull"), [(40, 0.080, 0.169), (400, 0.015, 0.008)])
def test_forty_images_tell_next_to_nothing_of_six_conditions_and_four_hundred_do(images, spread, pull):
    """The figures of simulations/README.md: epsilon 4, three networks a condition, their mean AUC against the exact."""
    rng, noise, off = np.random.default_rng(0), ScoreNoise(4.0, 6, 3), []
    assert noise.sigma * sensitivity(3, 2) == pytest.approx(4.59, abs=0.01)
    for repeat in range(100):
        labels = rng.integers(0, 2, images)
        own = [1 / (1 + np.exp(1.5 - 2 * (rng.normal(size=images) + 1.5 * labels))) for _ in range(3)]
        networks = [np.stack([1 - each, each], 1) for each in own]
        told = noisy_tallies(labels, networks, noise, Seeded(repeat, images))
        off.append(np.mean([each.auc for each in told]) - np.mean([tally(labels, each).auc for each in networks]))
    assert np.std(off) == pytest.approx(spread, rel=0.3) and -np.mean(off) == pytest.approx(pull, rel=0.3)


def test_a_patient_counts_once():
    images = load_dataset("phantom:breast", images=20)
    assert one_each(images) is images
    grouped = type(images)(**{**images.__dict__, "groups": np.repeat(np.arange(5), 4)})
    assert len(one_each(grouped)) == 5


def test_what_is_no_number_counts_as_the_least():
    counts = histograms(np.array([0, 1]), np.array([[np.nan, np.nan], [0.5, 0.5]]))
    assert counts.sum() == 2 and counts[0, 0, 0] == 1
