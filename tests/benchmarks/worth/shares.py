"""The share of the gap closed, (method - random) / (full - random), with intervals.

Every replicate draws images to score on (the same for all schemes), networks by their number (the same for all: equal
numbers begin from equal weights) and each scheme's repeats, with replacement; the middle 95 % of the replicates are the
interval. Three networks are few: their part of an interval is too narrow rather than too wide. For the mean over sets,
sets are drawn as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fedistill.core.seeds import rng
from fedistill.study.tables.intervals import REPLICATES, auc_replicates, image_weights
from fedistill.training.metrics import score


@dataclass(frozen=True, eq=False)
class Quality:
    """A scheme's AUC on one set.

    Args:
        auc: float64 (repeats, networks), in 0..1.
        replicates: float64 (R,), the mean in each replicate.
    """

    auc: np.ndarray
    replicates: np.ndarray

    @property
    def mean(self) -> float:
        """Return the mean over repeats and networks; NaN if a network diverged."""
        return float(self.auc.mean())


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure, its value in every replicate (R,), and the interval that they give."""

    value: float
    replicates: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """Return the middle 95 % of the replicates that are defined; NaN without any."""
        known = self.replicates[np.isfinite(self.replicates)]
        if not len(known):
            return float("nan"), float("nan")
        low, high = np.quantile(known, [0.025, 0.975])
        return float(low), float(high)


def qualities(
    labels: np.ndarray, scored: Mapping[str, Sequence[np.ndarray]], *, seed: int, replicates: int = REPLICATES
) -> dict[str, Quality]:
    """Return the quality of every scheme on one set.

    Args:
        labels: of the images scored on, int64 (N,) or (N, L).
        scored: each scheme's repeats, float32 (networks, N, K).
        seed: of the bootstrap.
        replicates: how many.
    """
    generator = rng(seed, "worth")
    weights = image_weights(len(labels), generator, replicates)
    networks = min(len(each) for repeats in scored.values() for each in repeats)
    drawn = generator.integers(networks, size=(replicates, networks))
    found = {}
    for scheme, repeats in scored.items():
        auc = np.array([[score(labels, p)["auc"] for p in each] for each in repeats])
        by_weight = np.array([[auc_replicates(labels, p, weights) for p in each[:networks]] for each in repeats])
        own = generator.integers(len(repeats), size=(replicates, len(repeats)))
        at = np.arange(replicates)
        means = by_weight[own[:, :, None], drawn[:, None, :], at[:, None, None]].mean((1, 2))
        found[scheme] = Quality(auc, means)
    return found


def above(one: Quality, other: Quality) -> Estimate:
    """Return the difference of two schemes' AUC on one set."""
    return Estimate(one.mean - other.mean, one.replicates - other.replicates)


def gap_share(one: Quality, low: Quality, high: Quality) -> Estimate:
    """Return the share of the gap from ``low`` to ``high`` that a scheme closes; NaN where there is no gap.

    >>> a, b, c = (Quality(np.full((1, 2), v), np.full(3, v)) for v in (0.7, 0.6, 0.8))
    >>> round(gap_share(a, b, c).value, 9), gap_share(a, c, b).value
    (0.5, nan)
    """
    gap, gaps = high.mean - low.mean, high.replicates - low.replicates
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(gaps > 0, (one.replicates - low.replicates) / gaps, np.nan)
    return Estimate((one.mean - low.mean) / gap if gap > 0 else float("nan"), shares)


def over_sets(estimates: Sequence[Estimate], *, seed: int) -> Estimate:
    """Return the mean over sets, with sets drawn in every replicate; sets where it is not defined are left out."""
    known = [each for each in estimates if np.isfinite(each.value)]
    if not known:
        return Estimate(float("nan"), np.full(1, np.nan))
    values = np.stack([each.replicates for each in known])
    drawn = rng(seed, "worth", "sets").integers(len(known), size=(values.shape[1], len(known)))
    picked = values[drawn, np.arange(values.shape[1])[:, None]]
    with np.errstate(invalid="ignore"):
        count = np.isfinite(picked).sum(1)
        means = np.where(count > 0, np.nansum(picked, 1) / np.maximum(count, 1), np.nan)
    return Estimate(float(np.mean([each.value for each in known])), means)
