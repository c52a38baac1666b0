"""Dealing images out class by class: validation images after the training images, and a site's held-out part."""

import numpy as np

from fedistill.core.seeds import rng
from fedistill.data.apportion import apportion
from fedistill.data.imageset import ImageSet
from fedistill.data.partition import Partition
from fedistill.errors import DataError


def follow(held: Partition, train: ImageSet, other: ImageSet, *, seed: int) -> Partition:
    """Divide another split as the training split was divided.

    Of every class a site gets the fraction that it holds of that class in ``train``, so its validation images have its
    own mix; a class that nobody holds stays unheld. Multi-label sets go by overall fractions. Groups are never cut,
    which makes their fractions approximate. A site with few training images may get none.
    """
    pieces = [train.take(at) for at in (*held.parts, held.unheld)]
    counts = np.stack([[len(piece)] if train.multilabel else piece.counts() for piece in pieces]).astype(np.float64)
    whole = counts.sum(0)
    counts[-1, whole == 0] = 1  # a class without training images is nobody's
    *parts, unheld = _deal(other, counts / np.maximum(whole, 1), seed, "follow")
    return Partition(tuple(parts), unheld)


def hold_out(images: ImageSet, fraction: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions to keep and positions to hold out, class by class, groups whole.

    Both arrays are int64 and sorted.

    Raises:
        DataError: the fraction is not in 0..1, 1 excluded.

    >>> x = ImageSet(np.zeros((10, 8, 8, 1), np.uint8), np.arange(10) // 5, ("no", "yes"))
    >>> kept, held = hold_out(x, 0.2, seed=0)
    >>> x.labels[kept].tolist(), x.labels[held].tolist()
    ([0, 0, 0, 0, 1, 1, 1, 1], [0, 1])
    """
    if not 0 <= fraction < 1:
        raise DataError("This fraction cannot be held out.", expected="0 up to, not including, 1", found=fraction)
    kinds = 1 if images.multilabel else images.n_classes
    kept, held = _deal(images, np.tile([[1 - fraction], [fraction]], kinds), seed, "hold out")
    return kept, held


def _deal(images: ImageSet, shares: np.ndarray, seed: int, purpose: str) -> list[np.ndarray]:
    """Deal an image set's positions out; see `deal_out`. K = 1 for multi-label sets."""
    kinds = np.zeros(len(images), np.int64) if images.multilabel else images.labels
    return deal_out(kinds, images.groups, shares, rng(seed, purpose))


def deal_out(
    kinds: np.ndarray, groups: np.ndarray | None, shares: np.ndarray, random: np.random.Generator
) -> list[np.ndarray]:
    """Deal positions out; return a sorted int64 array per receiver.

    Args:
        kinds: int64 (N,), the class of each image, 0..K-1.
        groups: int64 (N,), images of one group go to one receiver; or None.
        shares: float (R, K), the fraction of each class that a receiver gets.
        random: draws the order.

    >>> [at.tolist() for at in deal_out(np.zeros(4, int), None, np.array([[0.75], [0.25]]), rng(0, "x"))]
    [[0, 1, 3], [2]]
    """
    hand_of = np.zeros(len(kinds), np.int64)
    if groups is None:
        for kind in range(shares.shape[1]):
            at = random.permutation(np.flatnonzero(kinds == kind))
            hand_of[at] = np.repeat(np.arange(len(shares)), apportion(len(at), shares[:, kind]))
    else:
        ids, group_of = np.unique(groups, return_inverse=True)
        holds = np.zeros((len(ids), shares.shape[1]))
        np.add.at(holds, (group_of, kinds), 1)
        lacking = shares * holds.sum(0)
        chosen = np.zeros(len(ids), np.int64)
        # The largest groups first, equal ones in random order: each goes where most of its classes is still lacking.
        order = random.permutation(len(ids))
        for group in order[np.argsort(-holds[order].sum(1), kind="stable")]:
            chosen[group] = np.argmax(lacking @ holds[group])
            lacking[chosen[group]] -= holds[group]
        hand_of = chosen[group_of]
    return [np.flatnonzero(hand_of == hand) for hand in range(len(shares))]
