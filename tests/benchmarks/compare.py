"""Is ours as good, and when was plain as good? A paired bootstrap, and first crossings of a quality."""

from collections.abc import Sequence
from typing import Any

import numpy as np

REPLICATES = 10_000
MARGIN = 0.02  # of AUC: what non-inferiority allows


def difference(ours: np.ndarray, plain: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """Mean of ours less plain's, and its 95 % interval.

    Seeds are drawn with replacement, and within each its networks, the same ones on both sides. With one seed the
    interval knows only the spread over networks.

    Args:
        ours, plain: AUC (seeds, networks), paired.

    >>> found = difference(np.full((3, 4), 0.9), np.full((3, 4), 0.875))
    >>> [round(found[name], 6) for name in ("mean", "low", "high")]
    [0.025, 0.025, 0.025]
    """
    away, generator = ours - plain, np.random.default_rng(seed)
    n_seeds, n_networks = away.shape
    seeds = generator.integers(n_seeds, size=(REPLICATES, n_seeds, 1))
    networks = generator.integers(n_networks, size=(REPLICATES, n_seeds, n_networks))
    low, high = np.quantile(away[seeds, networks].mean((1, 2)), [0.025, 0.975])
    return {"mean": float(away.mean()), "low": float(low), "high": float(high)}


def crossing(iterations: Sequence[int], auc: Sequence[float], quality: float) -> int | None:
    """Index of the first mark whose AUC is at least this; None where no mark's is.

    >>> crossing([1, 10, 100], [0.5, 0.8, 0.79], 0.75), crossing([1, 10, 100], [0.5, 0.8, 0.79], 0.9)
    (1, None)
    """
    return next((k for k, (_, value) in enumerate(zip(iterations, auc, strict=True)) if value >= quality), None)


def crossings(marks: Sequence[dict[str, Any]], ours: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """When plain's mean AUC first reached a quality, and how many times ours' seconds that took.

    Three readings of "that quality": ours' own; ours less the margin; plain's end less the margin. Plain was only
    looked at at its marks, so it crossed between the mark before and the one that is named: the ratio is given for
    both. Where it never crossed, the ratio at its end is a lower bound, and there is no other.

    Args:
        marks: of plain, each with ``iteration, auc, wall, cpu``, means over seeds and networks.
        ours: likewise ``auc, wall, cpu``.
    """
    readings = {
        "FeDistill's quality": ours["auc"],
        "FeDistill's less 2 points": ours["auc"] - MARGIN,
        "plain's end less 2 points": marks[-1]["auc"] - MARGIN,
    }
    found = {}
    for name, quality in readings.items():
        k = crossing([m["iteration"] for m in marks], [m["auc"] for m in marks], quality)
        after = None if k is None else marks[k]
        before = marks[-1] if k is None else marks[k - 1] if k else None
        found[name] = {
            "auc": quality,
            "after": after,
            "before": before,
            "wall": [_ratio(before, ours, "wall"), _ratio(after, ours, "wall")],
            "cpu": [_ratio(before, ours, "cpu"), _ratio(after, ours, "cpu")],
        }
    return found


def _ratio(mark: dict[str, Any] | None, ours: dict[str, Any], clock: str) -> float | None:
    return None if mark is None else mark[clock] / ours[clock]
