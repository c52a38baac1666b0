"""Likelihood ratios of one number per shadow and record: how much likelier is it if the record was in?

The core of LiRA (Carlini et al., S&P 2022, arXiv 2112.03570): the number has one normal distribution over the shadows
that hold the record and another over those that do not, both estimated without the attacked shadow and its partner.

With few shadows two things are estimated badly for one record alone, and both can borrow from the others. Its variance:
``fixed`` takes one for all records (as the paper advises below 64 shadows). Its shift, mean inside minus mean outside:
``shrunk`` draws it towards the mean shift of all records, as far as its scatter over records is explained by chance
(empirical Bayes). Where every record leaks a little, a shift estimated alone from seven shadows on either side is
mostly noise, and the attack as published sees next to nothing of such a leak.
"""

from typing import Literal

import numpy as np

from fedistill.errors import SettingError
from fedistill.privacy.attacks.shadow_design import Design

Variance = Literal["fixed", "own"]
Shift = Literal["own", "shrunk"]

_TINY = 1e-12  # variance of numbers that are all alike


def log_ratio(values: np.ndarray, design: Design, *, variance: Variance = "fixed", shift: Shift = "own") -> np.ndarray:
    """Log of the density if the record was in over that if it was not; float64 (S, N), high: a member.

    Args:
        values: float (S, N), or (S, N, A) for several numbers of a record (queries, labels), whose log ratios are
            averaged. Larger or smaller for members: either is learned.
        design: who was in which shadow.
        variance: ``fixed``: one inside and one outside for all records; ``own``: each record's.
        shift: ``own``: each record's; ``shrunk``: drawn towards that of all.

    Raises:
        SettingError: values that do not fit or are not finite, or an unknown choice.
    """
    v = _stacked(values, design)
    if variance not in ("fixed", "own") or shift not in ("own", "shrunk"):
        raise SettingError(
            "The likelihood cannot be estimated with these options.",
            expected='variance "fixed" or "own", shift "own" or "shrunk"',
            found=f"variance {variance!r}, shift {shift!r}",
        )
    scores = np.empty(v.shape[:2])
    for first in range(0, design.shadows, 2):
        refs = design.references(first)
        inside, n = design.membership[refs], design.shadows // 2 - 1
        mean_in, var_in = _moments(v[refs], inside, n, variance)
        mean_out, var_out = _moments(v[refs], ~inside, n, variance)
        if shift == "shrunk":
            mean_in, mean_out = _shrink(mean_in, mean_out, var_in / n, var_out / n)
        for target in (first, first + 1):
            ratio = _log_normal(v[target], mean_in, var_in) - _log_normal(v[target], mean_out, var_out)
            scores[target] = ratio.mean(-1)
    return scores


def deviation(values: np.ndarray, design: Design, *, variance: Variance = "fixed") -> np.ndarray:
    """Compute how far each value lies above its mean as a non-member, in standard deviations, float64 (S, N).

    It needs no shadow that held the record.

    The offline attack: the paper's one-sided probability rises with it, but rounds to 1 for the clearest members.
    Arguments and errors as for `log_ratio`; larger values must mean a member.
    """
    v = _stacked(values, design)
    scores = np.empty(v.shape[:2])
    for first in range(0, design.shadows, 2):
        refs = design.references(first)
        mean, var = _moments(v[refs], ~design.membership[refs], design.shadows // 2 - 1, variance)
        for target in (first, first + 1):
            scores[target] = ((v[target] - mean) / np.sqrt(var)).mean(-1)
    return scores


def _stacked(values: np.ndarray, design: Design) -> np.ndarray:
    """Check the values and return them as float64 (S, N, A)."""
    values = np.asarray(values, np.float64)
    design.check(values, "signals")
    return values if values.ndim == 3 else values[:, :, None]


def _moments(v: np.ndarray, chosen: np.ndarray, n: int, variance: Variance) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean (N, A) and variance (N, A) or (A,) of each record over its n chosen references."""
    chosen = chosen[:, :, None]
    mean = np.where(chosen, v, 0.0).sum(0) / n
    squares = np.where(chosen, (v - mean) ** 2, 0.0).sum(0)
    if variance == "fixed":  # around each record's own mean: that records differ is no noise
        squares = squares.mean(0)
    return mean, np.maximum(squares / (n - 1), _TINY)


def _shrink(
    mean_in: np.ndarray, mean_out: np.ndarray, error_in: np.ndarray, error_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink both means (N, A) towards a normal prior on the shift over all records.

    Args:
        mean_in: means as a member.
        mean_out: means as a non-member.
        error_in: squared standard error of `mean_in`, (N, A) or (A,).
        error_out: squared standard error of `mean_out`, likewise.
    """
    shift = mean_in - mean_out
    common = shift.mean(0)
    # What the scatter of the shifts is beyond their errors. None: all records share one shift.
    scatter = np.maximum(((shift - common) ** 2).mean(0) - np.mean(error_in + error_out, axis=0), 0.0)
    surprise = (shift - common) / (scatter + error_in + error_out)
    out = mean_out + error_out * surprise
    return out + common + scatter * surprise, out


def _log_normal(x: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log density up to a constant that both sides share."""
    return -0.5 * ((x - mean) ** 2 / variance + np.log(variance))
