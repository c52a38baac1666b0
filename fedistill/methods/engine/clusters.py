"""Classes split into clusters, each with its own part of the synthetic images.

A method that matches a mean (of gradients, of embeddings) moves all synthetic images of a class the same way: many of
them together say little more than a few, and the more there are the less each is moved. Where every cluster of a
class has synthetic images of its own to be matched with, they keep apart as the real ones do. (DREAM, Liu et al., ICCV
2023, arXiv 2302.14416, clusters a class to draw better real batches; here the synthetic images are parted as well.)

Clusters are cut by halves along the direction in which the images differ most, so that they are equally large: every
synthetic image stands for equally many real ones, and never for a handful of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from fedistill.core.ranges import Count, Range
from fedistill.data.imageset import ImageSet
from fedistill.methods.engine.method import classes_held

COARSE = 8  # pixels a side of what images are told apart by


@dataclass(frozen=True)
class ClusterSettings:
    """Settings of matching a class in parts.

    Args:
        clusters: that each class is split into, each matched with its own part of the synthetic images; fewer where
            the budget is not a multiple of so many, or a class too small.
        smallest_cluster: images in a cluster, at least. The fewer, the more an attack finds of each: with 16 to 20 it
            told members from others at 67 and 64 % (dm, dc), with the whole class at 55 and 56 (privacy-clusters.toml).
    """

    clusters: Count = 1
    smallest_cluster: Annotated[int, Range(ge=2)] = 48


def clusters_held(
    images: ImageSet, each: int, settings: ClusterSettings, features: Callable[[], Tensor] | None = None
) -> list[Tensor]:
    """Return the positions of each cluster's images, class after class, equally many clusters of every class.

    A class too small for so many clusters is split into fewer, and these are listed several times.

    Args:
        images: the real images.
        each: synthetic images of a class, which the clusters share evenly.
        settings: how many, and how large.
        features: what images are told apart by, (N, D); their pixels, eight a side, unless given. Called where any
            class is to be cut.

    >>> from fedistill.data import load_dataset
    >>> phantom = load_dataset("phantom:breast", images=200)
    >>> [len(at) for at in clusters_held(phantom, 10, ClusterSettings(clusters=2))], phantom.counts().tolist()
    ([54, 54, 73, 73], [54, 146])
    """
    wanted = _divisor(each, settings.clusters)
    if wanted == 1:
        return classes_held(images)
    if features is None:
        coarse = torch.nn.functional.adaptive_avg_pool2d(images.pixels(), COARSE).flatten(1).double()
    else:
        coarse = features().double()
    found = []
    for at in classes_held(images):
        distinct = _divisor(wanted, len(at) // settings.smallest_cluster)
        found += [part for part in _cut(at, coarse, distinct) for _ in range(wanted // distinct)]
    return found


def _divisor(number: int, most: int) -> int:
    """Return the largest divisor of a number that is at most so much; 1 at least."""
    return max(d for d in range(1, max(1, min(number, most)) + 1) if number % d == 0)


def _cut(at: Tensor, coarse: Tensor, parts: int) -> list[Tensor]:
    """Split these positions into so many parts, cut by halves along the principal axis of what lies in each."""
    if parts == 1:
        return [at]
    centred = coarse[at] - coarse[at].mean(0)
    axis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    axis = axis * axis[axis.abs().argmax()].sign()  # an eigenvector's sign is anyone's
    order = at[(centred @ axis).argsort(stable=True)]
    first = parts // 2
    edge = round(len(at) * first / parts)
    return _cut(order[:edge], coarse, first) + _cut(order[edge:], coarse, parts - first)
