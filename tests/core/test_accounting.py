"""Epsilon and delta against published tables, and against the papers' formulas written down a second time."""

import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from fedistill.core.accounting import (
    ORDERS,
    PRECISE,
    Mechanism,
    _least,
    _least_smooth,
    epsilon_of,
    sigma_for,
)
from fedistill.errors import SettingError

sys.path.insert(0, str(Path(__file__).parents[1]))  # the textbook versions, as `oracles.rdp`

from oracles.rdp import delta_of_gaussian, epsilon_by_moments, epsilon_by_rdp, rdp

MNIST = 256 / 60_000

PUBLISHED = [
    # rate, sigma, steps, epsilon at delta 1e-5 by the conversion of their time
    (0.01, 4.0, 10_000, 1.26),  # Abadi et al., CCS 2016, section 3.2
    (MNIST, 1.12, 14_063, 2.92),  # TensorFlow Privacy, README of the tutorials
    (MNIST, 1.1, 14_063, 3.01),  # the same, table
    (MNIST, 1.3, 3_516, 1.19),
]


@pytest.mark.parametrize(("rate", "sigma", "steps", "published"), PUBLISHED)
def test_published_epsilons(rate, sigma, steps, published):
    """The tables are met by the formula of their time; today's conversion, and PLD after it, find less was spent."""
    assert round(epsilon_by_moments(rate, sigma, steps, 1e-5), 2) == published
    ours = epsilon_of(Mechanism(sigma, steps, rate), delta=1e-5, accountant="rdp")
    assert ours == pytest.approx(epsilon_by_rdp(rate, sigma, steps, 1e-5, ORDERS), rel=1e-6)
    assert 0.7 * published < epsilon_of(Mechanism(sigma, steps, rate), delta=1e-5) < ours < published


@pytest.mark.parametrize(
    ("images", "steps", "sigmas"),
    [(60_000, 100_000, (5.5, 0.97)), (4_708, 1_000, (7.1, 1.2)), (1_000, 1_000, (33, 4.4)), (1_000, 200, (15, 2.1))],
)
def test_what_batches_of_256_take_for_epsilon_1_and_10(images, steps, sigmas):
    """Noise in two digits, for a hospital's number of images: so is epsilon known to 5 %; PLD finds less was spent."""
    for sigma, epsilon in zip(sigmas, (1.0, 10.0), strict=True):
        noise = Mechanism(sigma, steps, 256 / images)
        ours = epsilon_of(noise, delta=1e-5, accountant="rdp")
        assert ours == pytest.approx(epsilon, rel=0.05)
        assert ours == pytest.approx(epsilon_by_rdp(256 / images, sigma, steps, 1e-5, ORDERS), rel=1e-6)
    assert 0.85 * ours < epsilon_of(noise, delta=1e-5) < ours


def test_opacus_s_own_figures():
    """opacus/tests/accountants_test.py; it has orders between whole numbers too, so its epsilon is a hair smaller."""
    ours = epsilon_of(Mechanism(1.5, 2250, 0.04), delta=1e-5, accountant="rdp")
    assert 7.32911117143 <= ours < 7.34
    sigma = sigma_for(epsilon=8.0, delta=1e-5, steps=2250, rate=0.04, accountant="rdp")
    assert sigma == pytest.approx(1.425307617, rel=5e-3)  # its search is coarser


@pytest.mark.parametrize(
    ("rate", "sigma", "steps", "order", "published"),
    [(0.1, 2, 10, 5, 0.07737), (0.01, 2.5, 50, 5, 0.00218075), (0.01, 2.5, 50, 50, 0.023846)],
)
def test_the_oracle_against_published_divergences(rate, sigma, steps, order, published):
    """TensorFlow Privacy's rdp_accountant_test.py, which Opacus's analysis was taken from."""
    assert steps * rdp(rate, sigma, order) == pytest.approx(published, abs=1e-5)


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("sigma", [0.7, 5.0])
def test_rdp_is_the_oracle_s(rate, sigma):
    for steps in (1, 100):
        ours = epsilon_of(Mechanism(sigma, steps, rate), delta=1e-6, accountant="rdp")
        assert ours == pytest.approx(epsilon_by_rdp(rate, sigma, steps, 1e-6, ORDERS), rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("steps", [1, 16])
def test_full_batches_are_exact(epsilon, steps):
    sigma = sigma_for(epsilon=epsilon, delta=1e-5, steps=steps)
    assert delta_of_gaussian(epsilon, sigma / math.sqrt(steps)) == pytest.approx(1e-5, rel=1e-3)


def test_a_sample_of_everybody_is_no_sample():
    """PLD on its grid, without the short cut, against the exact formula."""
    almost = epsilon_of(Mechanism(1.0, 4, 1 - 1e-12), delta=1e-5)
    assert almost == pytest.approx(epsilon_of(Mechanism(1.0, 4), delta=1e-5), rel=1e-3)


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
@pytest.mark.parametrize("rate", [1.0, 0.25])
@pytest.mark.parametrize("epsilon", [1.0, 10.0])
def test_the_noise_found_is_enough_and_hardly_more(accountant, rate, epsilon):
    sigma = sigma_for(epsilon=epsilon, delta=1e-5, steps=20, rate=rate, accountant=accountant)
    spent = [epsilon_of(Mechanism(s, 20, rate), delta=1e-5, accountant=accountant) for s in (sigma, sigma * 0.995)]
    assert spent[0] <= epsilon * (1 + 1e-9) and spent[1] > epsilon


@pytest.mark.parametrize("precise", [PRECISE, 0.05])
def test_the_bracketed_search_finds_what_the_plain_one_finds_and_asks_for_less(precise):
    """On curves like those of epsilon: steep where there is little noise, flat where there is much."""
    for epsilon in (0.05, 0.7, 1.0, 2.0, 9.0, 300.0):
        for scale in (0.1, 1.0, 8.0):
            asked = []

            def spends(sigma, scale=scale, asked=asked):
                asked.append(sigma)
                return scale / sigma + scale**2 / (2 * sigma**2)

            wanted = _least(lambda sigma, e=epsilon, f=spends: f(sigma) <= e, 1.0, precise)
            plain = len(asked)
            asked.clear()
            assert _least_smooth(spends, epsilon, precise) == wanted
            assert len(asked) <= min(9, plain)
    assert _least_smooth(lambda sigma: 0.0 if sigma > 0.5 else math.inf, 1.0) == _least(lambda s: s > 0.5, 1.0)


def test_what_costs_more_noise():
    base = dict(epsilon=2.0, delta=1e-5, steps=10, rate=0.2, accountant="rdp")
    sigmas = [sigma_for(**base | more) for more in ({"epsilon": 4.0}, {}, {"rate": 0.4}, {"rate": 0.4, "steps": 40})]
    assert all(a < b for a, b in pairwise(sigmas))
    assert sigma_for(**base | {"delta": 1e-6}) > sigmas[1]
    assert sigma_for(**base | {"accountant": "pld"}) < sigmas[1]


def test_composition_of_different_mechanisms():
    full, sampled = Mechanism(2.0, 2), Mechanism(1.5, 20, 0.1)
    alone = [epsilon_of(each, delta=1e-5) for each in (full, sampled)]
    both = epsilon_of([full, sampled], delta=1e-5)
    assert max(alone) < both < sum(alone)
    assert epsilon_of([], delta=1e-5) == 0


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": math.inf}, "epsilon"),
        ({"delta": 0.0}, "delta"),
        ({"delta": 1.0}, "delta"),
        ({"steps": 0}, "steps"),
        ({"rate": 0.0}, "rate"),
        ({"rate": 1.5}, "rate"),
        ({"accountant": "prv"}, "accountant"),
    ],
)
def test_numbers_that_cannot_be(wrong, name):
    with pytest.raises(SettingError, match=f"{name} cannot be"):
        sigma_for(**{"epsilon": 1.0, "delta": 1e-5} | wrong)


def test_noise_that_cannot_be():
    with pytest.raises(SettingError, match="sigma cannot be"):
        Mechanism(0.0)
