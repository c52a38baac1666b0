"""Whole numbers in given proportions."""

import numpy as np


def apportion(total: int, weights: np.ndarray) -> np.ndarray:
    """Share ``total`` in proportion to the weights, by largest remainder; int64 of the weights' length.

    All-zero weights share nothing. On equal remainders the earlier one wins.

    >>> apportion(10, np.array([2, 1, 1]))
    array([5, 3, 2])
    >>> apportion(10, np.array([0, 0]))
    array([0, 0])
    """
    weights = np.asarray(weights, np.float64)
    whole = float(weights.sum())
    if whole <= 0:
        return np.zeros(len(weights), np.int64)
    if whole < np.finfo(np.float64).tiny * max(total, 1):  # so small that dividing by it leaves the range of floats
        weights = weights / weights.max()
        whole = float(weights.sum())
    exact = weights * (total / whole)
    # A share of 2.9999999999 is 3: without the nudge, rounding errors would decide who gets the last image.
    shares = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - shares).round(9), kind="stable")
    shares[order[: total - int(shares.sum())]] += 1
    return shares
