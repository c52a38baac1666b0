"""LiRA and RMIA: the same scores as plain loops, and what shrinking a shift buys."""

import numpy as np
import pytest
import torch
from oracles import lira as plain
from oracles.rmia import rmia as plain_rmia

from fedistill.errors import SettingError
from fedistill.privacy.attacks.likelihood import log_ratio
from fedistill.privacy.attacks.lira import lira, logit_confidence
from fedistill.privacy.attacks.rmia import rmia, true_probability
from fedistill.privacy.attacks.roc import curve
from fedistill.privacy.attacks.shadow_design import halves


def simulated(shadows, records, *, leak=1.0, scatter=0.0, seed=0, queries=None):
    """Values as confidences behave: records differ, members are shifted by `leak`, give or take `scatter`."""
    random, design = np.random.default_rng(seed), halves(records, shadows, seed=seed)
    shift = leak + scatter * random.normal(size=records)
    values = random.normal(size=(shadows, records)) + 3 * random.normal(size=records) + design.membership * shift
    if queries:
        values = values[:, :, None] + 0.3 * random.normal(size=(shadows, records, queries))
    return values, design


@pytest.mark.parametrize("queries", [None, 3])
@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("variance", ["fixed", "own"])
def test_lira_equals_plain_loops(queries, online, variance):
    values, design = simulated(8, 12, queries=queries)
    stacked = values.reshape(8, 12, -1)
    wanted = plain.lira(stacked, design.membership, online=online, own_variance=variance == "own")
    np.testing.assert_allclose(lira(values, design, online=online, variance=variance), wanted, rtol=1e-9)


@pytest.mark.parametrize("scatter", [0.0, 2.0])
def test_a_shrunk_shift_is_the_models_posterior(scatter):
    values, design = simulated(10, 25, scatter=scatter)
    found = lira(values, design, shift="shrunk")
    np.testing.assert_allclose(found, plain.shrunk(values, design.membership), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize(("a", "gamma"), [(0.3, 1.0), (1.0, 1.2)])
def test_rmia_equals_plain_loops(online, a, gamma):
    values, design = simulated(8, 15)
    p = 1 / (1 + np.exp(-values))
    population = 1 / (1 + np.exp(-np.random.default_rng(1).normal(size=(8, 40))))
    wanted = plain_rmia(p, population, design.membership, online=online, a=a, gamma=gamma)
    np.testing.assert_allclose(rmia(p, population, design, online=online, a=a, gamma=gamma), wanted, atol=1e-12)
    twice = rmia(np.stack([p, p], 2), np.stack([population] * 2, 2), design, online=online, a=a, gamma=gamma)
    np.testing.assert_allclose(twice, wanted, atol=1e-12)


def test_a_small_leak_of_all_records_needs_a_shrunk_shift():
    own, shrunk = [], []
    for seed in range(5):
        values, design = simulated(16, 300, leak=0.3, scatter=0.1, seed=seed)
        own.append(curve(log_ratio(values, design), design.membership).auc)
        shrunk.append(curve(log_ratio(values, design, shift="shrunk"), design.membership).auc)
    assert 0.52 < np.mean(own) < 0.56 < 0.57 < np.mean(shrunk) < 0.60  # the best there is: 0.585


def test_a_leak_of_either_sign_is_learned():
    values, design = simulated(16, 300, leak=0.0, scatter=2.0)
    for shift in ("own", "shrunk"):
        assert curve(log_ratio(values, design, shift=shift), design.membership).auc > 0.75


def test_values_that_are_all_alike_tell_nothing():
    design = halves(20, 8, seed=0)
    for scores in (log_ratio(np.ones((8, 20)), design), rmia(np.ones((8, 20)), np.ones((8, 5)), design)):
        assert curve(scores, design.membership).auc == 0.5


def test_confidence_does_not_round_to_certainty():
    logits, labels = torch.tensor([[60.0, 0.0, 1.0], [0.0, 1.0, 2.0]]), torch.tensor([0, 1])
    p = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64).softmax(1)[0, 1]
    wanted = [60 - np.log(1 + np.e), float((p / (1 - p)).log())]
    np.testing.assert_allclose(logit_confidence(logits, labels), wanted, rtol=1e-12)
    np.testing.assert_allclose(true_probability(logits, labels)[1], float(p), rtol=1e-12)
    findings = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0]])
    np.testing.assert_allclose(logit_confidence(*findings), [[2.0, 1.0]])
    np.testing.assert_allclose(true_probability(*findings), [1 / (1 + np.exp(-2)) / (1 + np.exp(-1))])


def test_what_cannot_be_is_refused():
    values, design = simulated(8, 12)
    p = 1 / (1 + np.exp(-values))
    with pytest.raises(SettingError, match="variance 'mine'"):
        lira(values, design, variance="mine")
    with pytest.raises(SettingError, match="0 to 1"):
        rmia(values, p, design)
    with pytest.raises(SettingError, match="population does not fit"):
        rmia(p, p[:6], design)
    with pytest.raises(SettingError, match="a 1"):
        rmia(p, p, design, a=1.5)
