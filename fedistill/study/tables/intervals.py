"""Confidence intervals by a paired bootstrap over seeds, networks and test images at once.

Two schemes are compared seed by seed on the same test images. Every replicate draws seeds (the same for both), networks
within a seed, and test images (the same for both), each with replacement; the middle 95 % of the replicates' mean
differences are the interval. With 156 test images, their draw alone moves an AUC by points: an interval without it
would be too narrow.
"""

from collections.abc import Mapping, Sequence

import numpy as np

REPLICATES = 1000
_BLOCK = 500_000  # numbers in one intermediate array: about what stays in a cache


def image_weights(n: int, generator: np.random.Generator, replicates: int = REPLICATES) -> np.ndarray:
    """Draw how often each of n test images is in each replicate, float32 (replicates, n)."""
    return generator.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float32)


def auc_replicates(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return one network's AUC (as `training.metrics.score` defines it) in each replicate, float64 (replicates,).

    Args:
        labels: int64 (N,), or (N, L) of 0 and 1.
        probabilities: (N, K).
        weights: of `image_weights`.

    >>> w = np.ones((1, 3), np.float32)
    >>> auc_replicates(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), w).tolist()
    [1.0]
    """
    if not np.isfinite(probabilities).all():
        return np.full(len(weights), np.nan)
    k = probabilities.shape[1]
    truth = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(k)
    classes = [1] if labels.ndim == 1 and k == 2 else range(k)
    columns = []
    for c in classes:
        order = np.argsort(probabilities[:, c], kind="stable")
        values, positive = probabilities[order, c], truth[order, c]
        if positive.all() or not positive.any():
            continue
        # Images of equal score form one step: a pair within it counts one half.
        starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
        rows = max(1, _BLOCK // len(order))
        parts = [_ranked(weights[at : at + rows], order, positive, starts) for at in range(0, len(weights), rows)]
        columns.append(np.concatenate(parts))
    if not columns:
        return np.full(len(weights), np.nan)
    with np.errstate(invalid="ignore"):
        return _nanmean(np.stack(columns), 0)


def _ranked(weights: np.ndarray, order: np.ndarray, positive: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the share of (positive, negative) pairs in order, for each replicate of a block.

    Images are the rows, so that sums over them run over all replicates at once. Counts are integers below 2^24, which
    float32 holds exactly.
    """
    w = np.ascontiguousarray(weights.T)[order]
    yes, no = w * positive[:, None], w * ~positive[:, None]
    if len(starts) < len(order):
        yes, no = (np.add.reduceat(side, starts, axis=0) for side in (yes, no))
    below = np.cumsum(no, axis=0) - no / 2
    pairs = yes.sum(0, dtype=np.float64) * no.sum(0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (yes * below).sum(0, dtype=np.float64) / pairs


def accuracy_replicates(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return one network's accuracy in each replicate, float64 (replicates,)."""
    if not np.isfinite(probabilities).all():
        return np.full(len(weights), np.nan)
    if labels.ndim == 2:
        right = ((probabilities > 0.5) == labels.astype(bool)).mean(1)
    else:
        right = (probabilities.argmax(1) == labels).astype(np.float64)
    return (weights @ right) / weights.sum(1)


def balanced_accuracy_replicates(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return one network's balanced accuracy in each replicate, float64 (replicates,).

    It is defined as in `training.metrics.score`, over the classes that the replicate has images of.

    >>> w = np.ones((1, 3), np.float32)
    >>> p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> balanced_accuracy_replicates(np.array([0, 1, 1]), p, w).tolist()
    [0.75]
    """
    if not np.isfinite(probabilities).all():
        return np.full(len(weights), np.nan)
    if labels.ndim == 2:
        truth, named = labels.astype(bool), probabilities > 0.5
        sides = [_share(truth & named, truth, weights), _share(~truth & ~named, ~truth, weights)]
        return _nanmean(_nanmean(np.stack(sides), 0), 1)
    truth = labels[:, None] == np.arange(probabilities.shape[1])
    right = probabilities.argmax(1) == labels
    return _nanmean(_share(truth & right[:, None], truth, weights), 1)


def _share(part: np.ndarray, whole: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the share of the images in each column of ``whole`` that are in ``part``, by replicate: float64 (B, K)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights @ part.astype(np.float64)) / (weights @ whole.astype(np.float64))


def interval(one: Mapping[int, np.ndarray], generator: np.random.Generator) -> tuple[float, float]:
    """Return the 95 % interval of the mean, over seeds, networks and test images.

    ``one`` has by seed each network's metric in every replicate, float64 (networks, replicates), of equally many
    networks for each seed.
    """
    [means] = _redrawn([one], sorted(one), generator)
    return _middle(means)


def difference(
    one: Mapping[int, np.ndarray], other: Mapping[int, np.ndarray], generator: np.random.Generator
) -> tuple[float, float]:
    """Return the 95 % interval (low, high) of the mean difference; NaN if it is undefined.

    ``one`` and ``other`` have by seed each network's metric in every replicate, float64 (networks, replicates), of
    equally many networks for each seed. A scheme with a single seed is compared with every seed of the other.
    """
    several = [set(side) for side in (one, other) if len(side) > 1]
    seeds = sorted(set.intersection(*several)) if several else [0]
    if not seeds:
        return float("nan"), float("nan")
    means, against = _redrawn([one, other], seeds, generator)
    return _middle(means - against)


def _middle(means: np.ndarray) -> tuple[float, float]:
    """Return the middle 95 % of the defined values."""
    known = means[~np.isnan(means)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _redrawn(
    sides: Sequence[Mapping[int, np.ndarray]], seeds: Sequence[int], generator: np.random.Generator
) -> list[np.ndarray]:
    """Return the mean of each side in every replicate, float64 (replicates,), over redrawn seeds and networks.

    All sides have the same seeds redrawn, and each has its own networks redrawn within each of them. A side with a
    single seed has its networks drawn once: comparing the same networks with every seed of the other adds no evidence.
    """
    values = [np.stack([side[seed] for seed in (seeds if len(side) > 1 else list(side))]) for side in sides]
    replicates = values[0].shape[2]
    shapes = [(len(seeds) if len(each) > 1 else 1, each.shape[1]) for each in values]
    # One call draws everything: first the seeds of a replicate, then each side's networks, then the next replicate.
    below = [len(seeds)] * len(seeds) + [networks for times, networks in shapes for _ in range(times * networks)]
    drawn = generator.integers(np.broadcast_to(below, (replicates, len(below))))
    seed_at, at = drawn[:, : len(seeds)], len(seeds)
    means: list[np.ndarray] = []
    for each, (times, networks) in zip(values, shapes, strict=True):
        network_at = drawn[:, at : at + times * networks].reshape(replicates, times, networks)
        at += times * networks
        side_at: np.ndarray | int = seed_at[:, :, None] if len(each) > 1 else 0
        means.append(each[side_at, network_at, np.arange(replicates)[:, None, None]].mean(2).mean(1))
    return means


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    count = (~np.isnan(values)).sum(axis)
    total = np.nansum(values, axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
