"""The indicator of the feasibility study (Li et al., arXiv 2407.14429): random subsets as a predictor of distillation.

For each scheme and ipc, over data sets: the correlation of the two qualities, with intervals bootstrapped by set; the
regression line, its prediction band, and its leave-one-out error. Budgets and kinds of runs are never mixed: more
images raise both qualities, which alone would give a correlation. Sets count as independent, which views of the same
patients (OrganA, C and S) are not: intervals are then too narrow.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fedistill.core.seeds import rng
from fedistill.errors import SettingError

REPLICATES = 2000
FEWEST = 3
"""Fewest sets for a statistic: a line goes through any two points."""

KEYS = ["kind", "phantom", "scheme", "settings", "ipc", "metric"]

NORMALISED = "_normalised"


@dataclass(frozen=True)
class LinearFit:
    """A least-squares line through n points (x, y), and the statistics of its prediction band.

    Args:
        spread: standard deviation of the residuals, with n - 2 degrees of freedom; NaN with two points.
        x_mean, x_squares: mean of x, and sum of squared distances from it.
        bounds: of y, to which predictions are clipped.
    """

    slope: float
    intercept: float
    n: int
    spread: float
    x_mean: float
    x_squares: float
    bounds: tuple[float, float]

    def at(self, x: np.ndarray | float) -> np.ndarray:
        """Return the prediction, float64, shaped like x."""
        return np.clip(self.intercept + self.slope * np.asarray(x, np.float64), *self.bounds)

    def band(self, x: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return the 95 % prediction interval (low, high) of a new point: normal residuals; NaN below three points."""
        from scipy.special import stdtrit

        x = np.asarray(x, np.float64)
        if self.n < FEWEST:
            return np.full_like(x, np.nan), np.full_like(x, np.nan)
        error = self.spread * np.sqrt(1 + 1 / self.n + (x - self.x_mean) ** 2 / self.x_squares)
        half = stdtrit(self.n - 2, 0.975) * error
        middle = self.intercept + self.slope * x
        return np.clip(middle - half, *self.bounds), np.clip(middle + half, *self.bounds)


def fit_line(x: np.ndarray, y: np.ndarray, bounds: tuple[float, float] = (0.0, 1.0)) -> LinearFit | None:
    """Return the least-squares line; None with fewer than two points, or if all x are equal.

    >>> line = fit_line(np.array([0.5, 0.6, 0.8]), np.array([0.6, 0.7, 0.9]))
    >>> round(line.slope, 6), round(line.intercept, 6), line.at(0.95).item()
    (1.0, 0.1, 1.0)
    """
    if len(x) < 2 or x.max() == x.min():
        return None
    dx = x - x.mean()
    squares = float((dx**2).sum())
    slope = float((dx * (y - y.mean())).sum()) / squares
    intercept = float(y.mean() - slope * x.mean())
    residuals = y - intercept - slope * x
    spread = float(np.sqrt((residuals**2).sum() / (len(x) - 2))) if len(x) > 2 else float("nan")
    return LinearFit(slope, intercept, len(x), spread, float(x.mean()), squares, bounds)


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation along the last axis, float64 (...); NaN if a side is constant.

    >>> pearson(np.array([[1.0, 2, 3], [1, 1, 1]]), np.array([[2.0, 4, 6], [1, 2, 3]])).round(6).tolist()
    [1.0, nan]
    """
    dx, dy = (v - v.mean(-1, keepdims=True) for v in (x, y))
    # Compare values to detect constants: their distances from the mean may be rounding errors.
    varies = (x.max(-1) > x.min(-1)) & (y.max(-1) > y.min(-1))
    norm = np.sqrt((dx**2).sum(-1) * (dy**2).sum(-1))
    return np.where(varies, np.clip((dx * dy).sum(-1) / np.where(varies, norm, 1.0), -1, 1), np.nan)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation along the last axis, float64 (...); equal values share their mean rank.

    >>> spearman(np.array([1.0, 2, 3, 10]), np.array([1.0, 4, 9, 10])).round(6).item()
    1.0
    """
    return pearson(_ranks(x), _ranks(y))


def _ranks(values: np.ndarray) -> np.ndarray:
    below = values[..., None, :] < values[..., :, None]
    alike = values[..., None, :] == values[..., :, None]
    return below.sum(-1) + (alike.sum(-1) + 1) / 2


def foretold_by_others(x: np.ndarray, y: np.ndarray, bounds: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Return at each point the prediction of the line through all others, float64 (n,); NaN without a line.

    >>> foretold_by_others(np.array([0.5, 0.6, 0.7]), np.array([0.5, 0.6, 0.8])).round(3).tolist()
    [0.4, 0.65, 0.7]
    """
    predicted = np.full(len(x), np.nan)
    for i in range(len(x)):
        line = fit_line(np.delete(x, i), np.delete(y, i), bounds)
        if line is not None:
            predicted[i] = line.at(x[i])
    return predicted


def leave_one_out(x: np.ndarray, y: np.ndarray, bounds: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Return at each point the absolute error of the line through all others, float64 (n,); NaN without a line.

    >>> leave_one_out(np.array([0.5, 0.6, 0.7]), np.array([0.5, 0.6, 0.8])).round(3).tolist()
    [0.1, 0.05, 0.1]
    """
    return np.abs(foretold_by_others(x, y, bounds) - y)


def normalised(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points normalised from chance to full data, (a - chance) / (full - chance).

    Metrics are then called ``auc_normalised`` and so on. They are blank if full data are no better than chance. Both
    sides have the same divisor, whose error moves them together: use them beside the plain metric, not instead of it.
    """
    room = (points["full"] - points["chance"]).where(lambda value: value > 0)
    shares = {side: (points[side] - points["chance"]) / room for side in ("random", "distilled", "full")}
    return points.assign(**shares, chance=0.0, metric=points["metric"] + NORMALISED)


def bounds_of(metric: str) -> tuple[float, float]:
    """Return the range of a metric, which is unbounded if it is normalised."""
    return (-np.inf, np.inf) if metric.endswith(NORMALISED) else (0.0, 1.0)


def indicator(points: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Return the indicator of each kind, scheme with its settings, ipc and metric, plain and normalised.

    Args:
        points: of `fedistill.study.feasibility.run_metrics.points`.
        seed: of the bootstrap.

    Returns:
        The keys; ``n_sets``; ``pearson, pearson_low, pearson_high`` and ``spearman`` likewise, with 95 % intervals over
        resampled sets, without the resamples in which a side is constant; ``slope, intercept, residual_sd`` of the
        line; ``loo_error``, its mean leave-one-out error, and ``loo_error_of_mean``, that of the other sets' mean,
        which uses no indicator. All are blank with fewer than three sets.

    Raises:
        SettingError: one kind has phantoms and real sets, or one set twice.
    """
    everything = pd.concat([points, normalised(points)], ignore_index=True)
    lines = []
    for values, group in everything.groupby([key for key in KEYS if key != "phantom"], sort=False):
        require_one_kind(group)
        known = group[group["random"].notna() & group["distilled"].notna()].sort_values("dataset")
        x, y = (known[side].to_numpy(np.float64) for side in ("random", "distilled"))
        kind, scheme, settings, ipc, metric = values
        keys = (kind, bool(group["phantom"].iloc[0]), scheme, settings, ipc, metric)
        generator = rng(seed, "indicator", str(scheme), str(ipc), str(metric))
        lines.append(dict(zip(KEYS, keys, strict=True)) | statistics(x, y, bounds_of(str(metric)), generator))
    return pd.DataFrame(lines, columns=None if lines else [*KEYS, "n_sets"])


def statistics(
    x: np.ndarray, y: np.ndarray, bounds: tuple[float, float], generator: np.random.Generator
) -> dict[str, Any]:
    """Return how well x (n,) foretells y (n,), a value a data set: the columns that `indicator` describes.

    Args:
        x: float64 (n,), what is known of each set.
        y: float64 (n,), what is foretold.
        bounds: of y, to which predictions are clipped.
        generator: of the bootstrap over sets.
    """
    n, blank = len(x), float("nan")
    values: dict[str, Any] = {"n_sets": n}
    drawn = generator.integers(n, size=(REPLICATES, n)) if n >= FEWEST else None
    for name, function in (("pearson", pearson), ("spearman", spearman)):
        value, low, high = blank, blank, blank
        if drawn is not None:
            value = float(function(x, y))
            replicates = function(x[drawn], y[drawn])
            replicates = replicates[~np.isnan(replicates)]
            if len(replicates):
                low, high = (float(v) for v in np.quantile(replicates, [0.025, 0.975]))
        values |= {name: value, f"{name}_low": low, f"{name}_high": high}
    line = fit_line(x, y, bounds) if n >= FEWEST else None
    parts = (blank, blank, blank) if line is None else (line.slope, line.intercept, line.spread)
    values |= dict(zip(("slope", "intercept", "residual_sd"), parts, strict=True))
    values["loo_error"] = float(leave_one_out(x, y, bounds).mean()) if line is not None else blank
    values["loo_error_of_mean"] = float(np.abs(y - y.mean()).mean() * n / (n - 1)) if line is not None else blank
    return values


def require_one_kind(points: pd.DataFrame) -> None:
    """Raise SettingError for points that must not share a line: phantoms with real sets, or a set twice."""
    if points["phantom"].nunique() > 1:
        names = {flag: sorted(set(points.loc[points["phantom"] == flag, "dataset"])) for flag in (True, False)}
        raise SettingError(
            "Phantoms and real data sets cannot share a regression line: phantoms say nothing about medicine.",
            expected="sets of one kind",
            found=f"phantoms {', '.join(names[True])}; real {', '.join(names[False])}",
            mend="use the runs on phantoms and those on real sets separately",
        )
    twice = points.loc[points["dataset"].duplicated(), "dataset"]
    if len(twice):
        raise SettingError(f"{twice.iloc[0]} occurs twice in one regression line, where each set counts once.")
