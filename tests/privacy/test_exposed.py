"""The most exposed record: found where there is one, a coin where there is none, with an interval that is exact."""

import numpy as np
import pytest
from oracles.audit import clopper_pearson as plain

from fedistill.privacy.attacks.exposed import clopper_pearson, most_exposed
from fedistill.privacy.attacks.shadow_design import halves


def test_one_record_among_many_is_found():
    design, random = halves(200, 32, seed=0), np.random.default_rng(0)
    scores = random.standard_normal(design.membership.shape)
    scores[:, 17] += 4 * design.membership[:, 17]
    share, low, high = most_exposed(scores, design)
    assert share > 0.9 and low > 0.65 and high <= 1


def test_where_nobody_is_exposed_a_coin_is_told():
    """The luckiest of 200 records on half of the shadows is nobody on the others."""
    shares = []
    for seed in range(30):
        design = halves(200, 32, seed=seed)
        share, low, high = most_exposed(np.random.default_rng(seed).standard_normal(design.membership.shape), design)
        shares.append(share)
        assert low <= share <= high
    assert np.mean(shares) == pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(30 * 16))


def test_infinite_scores_count_as_told_and_ties_as_half():
    design = halves(4, 8, seed=0)
    assert most_exposed(np.where(design.membership, 0.0, -np.inf), design)[0] == 1
    assert most_exposed(np.zeros((8, 4)), design)[0] == 0.5


def test_its_interval_is_the_exact_one():
    for wins, trials in ((0, 8), (5, 8), (16, 16)):
        assert clopper_pearson(wins, trials) == pytest.approx(plain(wins, trials, 0.05), abs=1e-6)
