"""Choice of a recipe without patients' images: repeated cross-validation within the pool of Releases.

Scores that hospitals return for the server's networks would reveal information about their images. Instead the server
sets folds of the pool aside, trains on the rest, and computes the AUC on the fold. Synthetic images are easy to
classify, and a pool is small: often no candidate is significantly better. Then the first one wins, the grid's smallest
step size, as in the one-standard-error rule of Breiman et al. (*Classification and Regression Trees*, 1984). The
standard error of a difference of two AUCs on the same images follows DeLong et al. (Biometrics 44(3), 1988).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedistill.core.seeds import rng

VERSION = 1
"""Incremented when equal pools are split differently; part of the key of stored scores."""

FOLDS = 5
SURE = 2.0
"""Standard errors of a difference beyond which one candidate is significantly worse than another."""

ENOUGH = 200
"""Images that suffice to score a candidate; a large pool needs only as many folds as hold this many."""


@dataclass(frozen=True, eq=False)
class Fold:
    """Positions in the pool of the training images and of those set aside, each int64 (n,)."""

    train: Tensor
    aside: Tensor


@dataclass(frozen=True, eq=False)
class Pilot:
    """A network's part in the cross-validation of one candidate.

    Args:
        images: float32 (N, C, H, W), the network's training set.
        labels: int64 (N,) or float32 (N, L).
        folds: of these images.
        seed: of the network, in every fold.
        soft: float32 (N, classes), what it trains towards in place of the labels; or None. Folds are scored by labels.
    """

    images: Tensor
    labels: Tensor
    folds: Sequence[Fold]
    seed: int
    soft: Tensor | None = None


def split_folds(labels: Tensor, *, seed: int, origin: Tensor | None = None) -> list[Fold]:
    """Split a pool into folds, each with images of every class where there are enough.

    Args:
        labels: int64 (N,), or float32 (N, L) for several labels an image.
        seed: of the assignment of images to folds.
        origin: int64 (N,), equal for copies of one image, which stay together: no network is scored on an image that it
            was trained on. None: there are no copies.

    Returns:
        At most `FOLDS` folds, and only as many as set `ENOUGH` images aside; none if no fold would have two classes.

    >>> [len(fold.aside) for fold in split_folds(torch.tensor([0, 0, 0, 1, 1, 1]), seed=0)]
    [2, 2, 2]
    >>> split_folds(torch.tensor([0, 1]), seed=0)
    []
    >>> copies = torch.tensor([0, 0, 1, 1, 2, 3])
    >>> [fold.aside.tolist() in ([0, 1, 4], [0, 1, 5], [2, 3, 4], [2, 3, 5])
    ...     for fold in split_folds(torch.tensor([0, 0, 0, 0, 1, 1]), seed=0, origin=copies)]
    [True, True]
    """
    if origin is not None:
        names, of_image = origin.unique(return_inverse=True)
        once = torch.zeros((len(names), *labels.shape[1:]), dtype=labels.dtype)
        once[of_image] = labels
        folds = split_folds(once, seed=seed)
        return [
            Fold(*(torch.nonzero(torch.isin(of_image, at)).flatten() for at in (fold.train, fold.aside)))
            for fold in folds
        ]
    n, random = len(labels), rng(seed, "folds")
    groups = [np.arange(n)] if labels.ndim == 2 else [np.flatnonzero(labels.numpy() == c) for c in labels.unique()]
    several = [group for group in groups if len(group) > 1]
    if not several or (labels.ndim == 1 and len(several) < 2):
        return []
    count = min(FOLDS, min(map(len, several)))
    of = np.full(n, -1)  # the only image of its class is never set aside
    for group in several:
        of[random.permutation(group)] = np.arange(len(group)) % count
    wanted = min(count, -(-ENOUGH * count // n))
    at = torch.from_numpy(of)
    return [Fold(torch.nonzero(at != k).flatten(), torch.nonzero(at == k).flatten()) for k in range(wanted)]


@dataclass(frozen=True, eq=False)
class ClassAUC:
    """The AUC of one class in one fold, as DeLong's placement values of its images.

    Args:
        above: float64 (P,), for each image of the class the share of other images with a lower score (ties half).
        below: float64 (N,), for each other image the share of the class's images with a higher score.
    """

    above: Tensor
    below: Tensor

    @property
    def auc(self) -> float:
        """The AUC, 0 to 1."""
        return float(self.above.mean())

    def variance(self, other: "ClassAUC") -> float:
        """Return DeLong's variance of the difference of two AUCs on the same images."""
        pairs = ((self.above, other.above), (self.below, other.below))
        return sum(float((one - two).var(correction=1)) / len(one) for one, two in pairs if len(one) > 1)


def class_aucs(scores: Tensor, labels: Tensor) -> list[ClassAUC]:
    """Return a fold's AUC for each class (or label) that some of its images have and some do not.

    Args:
        scores: float (n, K), higher for more likely.
        labels: int64 (n,), or float32 (n, K).
    """
    truth = labels > 0.5 if labels.ndim == 2 else labels[:, None] == torch.arange(scores.shape[1])
    aucs = []
    # Both classes of a binary task have the same AUC.
    for k in range(scores.shape[1]) if labels.ndim == 2 or scores.shape[1] > 2 else [1]:
        positives, negatives = scores[truth[:, k], k].double(), scores[~truth[:, k], k].double()
        if len(positives) and len(negatives):
            higher = (positives[:, None] > negatives).double() + 0.5 * (positives[:, None] == negatives).double()
            aucs.append(ClassAUC(higher.mean(1), higher.mean(0)))
    return aucs


def rate_candidates(candidates: Sequence[Sequence[ClassAUC]]) -> list[float]:
    """Return the mean AUC of each candidate, or the best one's for all that are not significantly worse.

    Args:
        candidates: the AUCs of each, on the same images in the same order.

    >>> good, bad = (class_aucs(torch.tensor([[0.0, 1.0], [0.0, s]]), torch.tensor([1, 0])) for s in (0.5, 2.0))
    >>> rate_candidates([good, good]), rate_candidates([bad, good])
    ([1.0, 1.0], [0.0, 1.0])
    """
    aucs = mean_aucs(candidates)
    finite = [i for i, auc in enumerate(aucs) if math.isfinite(auc)]
    if not finite:
        return [math.nan] * len(aucs)
    best = max(finite, key=lambda i: aucs[i])

    def significantly_worse(i: int) -> bool:
        pairs = list(zip(candidates[i], candidates[best], strict=True))
        variance = sum(one.variance(two) for one, two in pairs)
        if len(pairs) > 1:  # a fold with one image of a class says nothing about its variance
            between = torch.tensor([two.auc - one.auc for one, two in pairs], dtype=torch.float64)
            variance = max(variance, len(pairs) * float(between.var(correction=1)))
        return aucs[best] - aucs[i] > SURE * math.sqrt(variance) / len(candidates[i])

    return [
        math.nan if i not in finite else aucs[i] if significantly_worse(i) else aucs[best] for i in range(len(aucs))
    ]


def mean_aucs(candidates: Sequence[Sequence[ClassAUC]]) -> list[float]:
    """Return the mean AUC of each candidate; NaN where there is none."""
    return [sum(auc.auc for auc in each) / len(each) if each else math.nan for each in candidates]


def fold_sizes(images: int) -> Sequence[int]:
    """Return the approximate training set sizes of one candidate's networks, for each pilot; for forecasts.

    >>> fold_sizes(60), fold_sizes(4000)
    ([48, 48, 48, 48, 48], [3200])
    """
    wanted = min(FOLDS, -(-ENOUGH * FOLDS // max(1, images)))
    return [max(1, images - images // FOLDS)] * wanted
