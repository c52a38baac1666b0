"""Which recipe, without a patient's image: repeated cross-validation within the pool of Releases.

What a server could be told about networks it sends to hospitals tells it of their images. So it asks nobody: it sets
parts of what it has been sent aside, trains on the rest, and takes the AUC on what was set aside. Synthetic images are
easily told apart, and a pool is small: often no candidate is better for sure. Then the first one is taken, a grid's
least step size, as with the one-standard-error rule of Breiman et al. (*Classification and Regression Trees*, 1984).
The standard error of a difference of two AUCs on the same images is that of DeLong et al. (Biometrics 44(3), 1988).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedistill.core.seeds import rng

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


@dataclass(frozen=True, eq=False)
class Cell:
    """One class's AUC in one fold, by its images: their mean is the AUC.

    Args:
        above: float64 (P,), of each image of the class the share of the others that are scored lower (ties half).
        below: float64 (N,), of each other image the share of the class's images that are scored higher.
    """

    above: Tensor
    below: Tensor

    @property
    def auc(self) -> float:
        return float(self.above.mean())

    def variance(self, other: "Cell") -> float:
        """Return the variance of the difference of this AUC and another on the same images."""
        pairs = ((self.above, other.above), (self.below, other.below))
        return sum(float((one - two).var(correction=1)) / len(one) for one, two in pairs if len(one) > 1)


def cells(scores: Tensor, labels: Tensor) -> list[Cell]:
    """Return a fold's cells: one for each class (or label) that some of its images have and some have not.

    Args:
        scores: float (n, K), higher for more likely; labels: int64 (n,), or float32 (n, K).
    """
    truth = labels > 0.5 if labels.ndim == 2 else labels[:, None] == torch.arange(scores.shape[1])
    made = []
    # Of two classes the second says it all.
    for k in range(scores.shape[1]) if labels.ndim == 2 or scores.shape[1] > 2 else [1]:
        mine, others = scores[truth[:, k], k].double(), scores[~truth[:, k], k].double()
        if len(mine) and len(others):
            higher = (mine[:, None] > others).double() + 0.5 * (mine[:, None] == others).double()
            made.append(Cell(higher.mean(1), higher.mean(0)))
    return made


def qualities(candidates: Sequence[Sequence[Cell]]) -> list[float]:
    """Return a quality for each candidate, higher being better; equal for all that are not surely worse than the best.

    Args:
        candidates: the cells of each, of the same images in the same order.

    >>> good, bad = (cells(torch.tensor([[0.0, 1.0], [0.0, s]]), torch.tensor([1, 0])) for s in (0.5, 2.0))
    >>> qualities([good, good]), qualities([bad, good])
    ([1.0, 1.0], [0.0, 1.0])
    """
    aucs = [sum(cell.auc for cell in each) / len(each) if each else math.nan for each in candidates]
    finite = [i for i, auc in enumerate(aucs) if math.isfinite(auc)]
    if not finite:
        return [math.nan] * len(aucs)
    best = max(finite, key=lambda i: aucs[i])

    def surely_worse(i: int) -> bool:
        pairs = list(zip(candidates[i], candidates[best], strict=True))
        variance = sum(one.variance(two) for one, two in pairs)
        if len(pairs) > 1:  # folds of one image of a class tell nothing of its spread by themselves
            between = torch.tensor([two.auc - one.auc for one, two in pairs], dtype=torch.float64)
            variance = max(variance, len(pairs) * float(between.var(correction=1)))
        return aucs[best] - aucs[i] > SURE * math.sqrt(variance) / len(candidates[i])

    return [math.nan if i not in finite else aucs[i] if surely_worse(i) else aucs[best] for i in range(len(aucs))]


def fold_sizes(images: int) -> Sequence[int]:
    """Return how many images each network trains on that one candidate takes for each pilot, about; for estimates.

    >>> fold_sizes(60), fold_sizes(4000)
    ([48, 48, 48, 48, 48], [3200])
    """
    wanted = min(FOLDS, -(-ENOUGH * FOLDS // max(1, images)))
    return [max(1, images - images // FOLDS)] * wanted
