"""Which recipe, without a patient's image: repeated cross-validation within the pool of Releases.

What a server could be told about networks it sends to hospitals tells it of their images. So it asks nobody: it sets
parts of what it has been sent aside, trains on the rest, and takes the likelihood of the labels of what was set aside.
(Not AUC: of a handful of synthetic images every network tells the classes apart.) A pool is small and its verdict
noisy, so the first candidate is taken that is not surely worse than the best one, as with the one-standard-error rule of
Breiman et al. (*Classification and Regression Trees*, 1984); a grid's first step size is its least.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedistill.seeds import rng

VERSION = 1
"""Raised when equal pools are split otherwise; part of the key of what is kept."""

FOLDS = 5
SURE = 2.0
"""Standard errors of a difference beyond which one candidate is surely worse than another."""

ENOUGH = 200
"""Images on which a candidate is scored; a pool of more needs no more folds than hold so many."""


@dataclass(frozen=True, eq=False)
class Fold:
    """What is trained on and what is set aside: positions in the pool, each int64 (n,)."""

    train: Tensor
    aside: Tensor


@dataclass(frozen=True, eq=False)
class Pilot:
    """A network's part in the cross-validation of one candidate.

    Args:
        images: float32 (N, C, H, W), what the network would be trained on; labels: int64 (N,) or float32 (N, L).
        folds: of these images.
        seed: of the network, in every fold.
    """

    images: Tensor
    labels: Tensor
    folds: Sequence[Fold]
    seed: int


def folds(labels: Tensor, *, seed: int) -> list[Fold]:
    """Split a pool into folds with every class in each, as far as its images go.

    Args:
        labels: int64 (N,), or float32 (N, L) for several labels an image.
        seed: of the order in which images are dealt out.

    Returns:
        at most `FOLDS`, and only as many as set `ENOUGH` images aside; none where no fold would hold two classes.

    >>> [len(fold.aside) for fold in folds(torch.tensor([0, 0, 0, 1, 1, 1]), seed=0)]
    [2, 2, 2]
    >>> folds(torch.tensor([0, 1]), seed=0)
    []
    """
    n, random = len(labels), rng(seed, "folds")
    groups = [np.arange(n)] if labels.ndim == 2 else [np.flatnonzero(labels.numpy() == c) for c in labels.unique()]
    several = [group for group in groups if len(group) > 1]
    if not several or (labels.ndim == 1 and len(several) < 2):
        return []
    count = min(FOLDS, min(map(len, several)))
    of = np.full(n, -1)  # an image without another of its class is never set aside
    for group in several:
        of[random.permutation(group)] = np.arange(len(group)) % count
    wanted = min(count, -(-ENOUGH * count // n))
    at = torch.from_numpy(of)
    return [Fold(torch.nonzero(at != k).flatten(), torch.nonzero(at == k).flatten()) for k in range(wanted)]


def qualities(losses: Sequence[Tensor]) -> list[float]:
    """Return a quality for each candidate, higher being better; equal for all that are not surely worse than the best.

    Args:
        losses: of each candidate, float64 (n,), the same images in the same order.

    >>> noisy = torch.tensor([0.25, 0.5, 0.75, 0.5])
    >>> qualities([noisy.flip(0) + 0.01, noisy, noisy + 1.0])
    [-0.5, -0.5, -1.5]
    """
    means = [float(each.mean()) for each in losses]
    finite = [i for i, mean in enumerate(means) if math.isfinite(mean)]
    if not finite:
        return [math.nan] * len(means)
    best = min(finite, key=lambda i: means[i])

    def surely_worse(i: int) -> bool:
        away = losses[i] - losses[best]
        return float(away.mean()) > SURE * float(away.std()) / math.sqrt(len(away))

    return [math.nan if i not in finite else -mean if surely_worse(i) else -means[best] for i, mean in enumerate(means)]


def fold_sizes(images: int) -> Sequence[int]:
    """Return how many images each network trains on that one candidate takes for each pilot, about; for estimates.

    >>> fold_sizes(60), fold_sizes(4000)
    ([48, 48, 48, 48, 48], [3200])
    """
    wanted = min(FOLDS, -(-ENOUGH * FOLDS // max(1, images)))
    return [max(1, images - images // FOLDS)] * wanted
