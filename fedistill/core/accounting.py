"""Privacy accounting of Gaussian noise by ``dp-accounting``: noise to (epsilon, delta), and back.

What is counted is one mechanism: a sum over units (images, or patients), each clipped to one norm, to which Gaussian
noise of `sigma` times that norm is added; taken `steps` times, each time over a fresh sample in which every unit is
with chance `rate` (Poisson sampling), or over all units. Neighbouring data are with and without one unit. The sum may
have any length, and anything may be done with the noisy sums afterwards.

- ``pld``: privacy loss distributions (Meiser & Mohammadi, CCS 2018; Koskela et al., AISTATS 2020), tight; without
  sampling the exact formula of Balle & Wang (ICML 2018, arXiv 1805.06530), for many Gaussians are one with less noise.
- ``rdp``: Renyi divergences (Mironov, CSF 2017; Mironov, Talwar & Zhang 2019, arXiv 1908.10530), an upper bound that
  more people have implemented; some percent more noise for the same epsilon.

This file stands on the ground: it imports nothing of the house but errors, so that methods may ask it for their noise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from fedistill.errors import SettingError

Accountant = Literal["pld", "rdp"]
ACCOUNTANTS = get_args(Accountant)

ORDERS = (*range(2, 65), *range(72, 129, 8), 160, 192, 256, 384, 512, 1024)
"""Orders of the Renyi divergences, of which the best is taken. Whole numbers have a finite sum for their divergence;
others an endless one, which for large rates does not settle."""

PRECISE = 1e-3
"""Relative precision of the search for sigma: the result is above the least sufficient value by at most this."""


@dataclass(frozen=True)
class Mechanism:
    """Noisy sums over clipped units.

    Args:
        sigma: standard deviation of the noise in each coordinate, as a multiple of the norm that units are clipped to.
        steps: how many such sums.
        rate: chance of each unit to take part in a sum; 1: all take part in all.

    Raises:
        SettingError: a number out of its range.
    """

    sigma: float
    steps: int = 1
    rate: float = 1.0

    def __post_init__(self) -> None:
        _require("sigma", self.sigma, "a number above 0", 0 < self.sigma < math.inf)
        _require("steps", self.steps, "at least 1", self.steps >= 1)
        _require("rate", self.rate, "above 0, at most 1", 0 < self.rate <= 1)


@dataclass(frozen=True)
class PrivacyCost:
    """The privacy cost of one set of noisy answers.

    Args:
        mechanism: how they were made noisy.
        epsilon, delta: what they were promised to spend at most.
        accountant: by whom the promise was counted.

    Raises:
        SettingError: a number out of its range, or no such accountant.
    """

    mechanism: Mechanism
    epsilon: float
    delta: float
    accountant: str = "pld"

    def __post_init__(self) -> None:
        _require("epsilon", self.epsilon, "a number above 0", 0 < self.epsilon < math.inf)
        _require("delta", self.delta, "between 0 and 1", 0 < self.delta < 1)
        _require("accountant", self.accountant, " or ".join(ACCOUNTANTS), self.accountant in ACCOUNTANTS)


def epsilon_of(mechanisms: Mechanism | Sequence[Mechanism], *, delta: float, accountant: str = "pld") -> float:
    """Compute the epsilon that these mechanisms spend together on the same data.

    Raises:
        SettingError: a delta outside 0..1, or no such accountant.

    >>> round(epsilon_of(Mechanism(sigma=1.0), delta=1e-5), 3)
    4.377
    >>> epsilon_of([Mechanism(sigma=2.0)] * 4, delta=1e-5) == epsilon_of(Mechanism(sigma=1.0), delta=1e-5)
    True
    """
    _require("delta", delta, "between 0 and 1", 0 < delta < 1)
    _require("accountant", accountant, " or ".join(ACCOUNTANTS), accountant in ACCOUNTANTS)
    several = (mechanisms,) if isinstance(mechanisms, Mechanism) else tuple(mechanisms)
    if not several:
        return 0.0
    if accountant == "pld" and all(each.rate == 1 for each in several):
        from dp_accounting import get_epsilon_gaussian

        return float(get_epsilon_gaussian(sum(each.steps / each.sigma**2 for each in several) ** -0.5, delta))
    return _counted(several, delta, accountant)


@cache
def sigma_for(*, epsilon: float, delta: float, steps: int = 1, rate: float = 1.0, accountant: str = "pld") -> float:
    """Compute the least noise, as `Mechanism.sigma`, with which `steps` sums spend at most this epsilon.

    Raises:
        SettingError: a number out of its range, or no such accountant.

    >>> round(sigma_for(epsilon=10.0, delta=1e-5), 3), round(sigma_for(epsilon=10.0, delta=1e-5, steps=4), 3)
    (0.5, 1.0)
    """
    _require("epsilon", epsilon, "a number above 0", 0 < epsilon < math.inf)
    _require("delta", delta, "between 0 and 1", 0 < delta < 1)
    Mechanism(1.0, steps, rate)  # their ranges, before any search

    def spends(sigma: float, by: str) -> float:
        return epsilon_of(Mechanism(sigma, steps, rate), delta=delta, accountant=by)

    if rate == 1 and accountant == "pld":
        from dp_accounting import get_sigma_gaussian

        return math.sqrt(steps) * float(get_sigma_gaussian(epsilon, delta)) * (1 + 1e-9)  # never below, by rounding
    if accountant == "rdp":
        return _least_smooth(lambda sigma: spends(sigma, "rdp"), epsilon)
    # Quick, and a little above what pld needs.
    near = _least_smooth(lambda sigma: spends(sigma, "rdp"), epsilon, precise=0.05)
    return _least(lambda sigma: spends(sigma, accountant) <= epsilon, near)


def _least_smooth(spends: Callable[[float], float], epsilon: float, precise: float = PRECISE) -> float:
    """Search as `_least` does from 1, and find the same number, where what is spent falls smoothly.

    What follows from a bracket of the number is not computed: some six values of ``spends`` in place of twenty to
    thirty, of fifty milliseconds each. (By ``pld`` epsilon is known on a grid alone, and does not fall so smoothly.)
    """
    below, above = _bracket(spends, epsilon)
    return _least(
        lambda sigma: sigma >= above or (sigma > below and spends(sigma) <= epsilon),
        1.0,
        precise,
    )


def _bracket(spends: Callable[[float], float], epsilon: float) -> tuple[float, float]:
    """Return noise that is too little and noise that is enough, closely together; 0 and infinity where none is found.

    By secants on logarithms, on which epsilon is nearly a line; each goes a little too far, so that both sides are met.
    """
    below, above = 0.0, math.inf
    at, away, step = 0.0, math.nan, 0.0
    for _ in range(8):
        found = spends(math.exp(at))
        below, above = (below, math.exp(at)) if found <= epsilon else (math.exp(at), above)
        if above <= below * (1 + PRECISE) or not 0 < found < math.inf:
            break
        before, away = away, math.log(found / epsilon)
        slope = -1.0 if math.isnan(before) else min(-0.1, (away - before) / step)
        step = max(-3.0, min(3.0, -away / slope))
        step += math.copysign(PRECISE / 5, step)
        at += step
    return below, above


def _least(enough: Callable[[float], bool], guess: float, precise: float = PRECISE) -> float:
    """Search the least number that is enough, to a relative precision, from a guess in growing strides."""
    high, stride = guess, 1 + precise
    while not enough(high):
        high, stride = high * stride, stride**2
    low, stride = high / (1 + precise), 1 + precise
    while enough(low):
        high, low, stride = low, low / stride, stride**2
    while high > low * (1 + precise):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _counted(mechanisms: Sequence[Mechanism], delta: float, accountant: str) -> float:
    """Compute epsilon by an accountant of ``dp-accounting``."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    counting: Any = RdpAccountant(orders=ORDERS)
    if accountant == "pld":
        # Losses are counted on a grid, rounded so that epsilon is never too small. Where its step is 3e-4 of the
        # epsilon in question, a finer one changes less than the thousandth that noise is searched to.
        about = _counted(mechanisms, delta, "rdp")
        counting = PLDAccountant(value_discretization_interval=3e-4 * about)
    for each in mechanisms:
        noise: Any = GaussianDpEvent(each.sigma)
        sampled = noise if each.rate == 1 else PoissonSampledDpEvent(each.rate, noise)
        counting.compose(SelfComposedDpEvent(sampled, each.steps))
    return float(counting.get_epsilon(delta))


def _require(name: str, value: Any, expected: str, holds: bool) -> None:
    if not holds:
        raise SettingError(f"{name} cannot be {value!r}.", expected=expected, found=f"{value!r}")
