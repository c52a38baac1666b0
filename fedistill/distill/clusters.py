"""Classes split into clusters, each with its own part of the synthetic images.

A method that matches a mean (of gradients, of embeddings) moves all synthetic images of a class the same way: many of
them together say little more than a few, and the more there are the less each is moved. Where every cluster of a
class has synthetic images of its own to be matched with, they keep apart as the real ones do. (DREAM, Liu et al., ICCV
2023, arXiv 2302.14416, clusters a class to draw better real batches; here the synthetic images are parted as well.)

Clusters are cut by halves along the direction in which the images differ most, so that they are equally large: every
synthetic image stands for equally many real ones, and never for a handful of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedistill.data.imageset import ImageSet
from fedistill.distill.method import classes_held
from fedistill.distill.settings import setting

SMALLEST = 16  # images in a cluster: fewer are neither a mean worth matching nor a crowd to hide in
COARSE = 8  # pixels a side of what images are told apart by


@dataclass(frozen=True)
class ClusterSettings:
    """How a class is matched.

    Args:
        clusters: that each class is split into, each matched with its own part of the synthetic images; fewer where
            the budget is not a multiple of so many, or a class would have fewer than 16 images in one.
    """

    clusters: int = setting(1, at_least=1)


def clusters_held(images: ImageSet, each: int, clusters: int) -> list[Tensor]:
    """Positions of each cluster's images, class after class, equally many clusters of every class.

    A class too small for so many clusters is split into fewer, and these are listed several times.

    Args:
        each: synthetic images of a class, which the clusters share evenly.
        clusters: of a class, at most.

    >>> from fedistill.data import load_dataset
    >>> phantom = load_dataset("phantom:breast", images=90)
    >>> [len(at) for at in clusters_held(phantom, each=10, clusters=2)], phantom.counts().tolist()
    ([24, 24, 33, 33], [24, 66])
    """
    wanted = _divisor(each, clusters)
    if wanted == 1:
        return classes_held(images)
    coarse = torch.nn.functional.adaptive_avg_pool2d(images.pixels(), COARSE).flatten(1).double()
    found = []
    for at in classes_held(images):
        distinct = _divisor(wanted, len(at) // SMALLEST)
        found += [part for part in _cut(at, coarse, distinct) for _ in range(wanted // distinct)]
    return found


def _divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most so much; 1 at least."""
    return max(d for d in range(1, max(1, min(number, most)) + 1) if number % d == 0)


def _cut(at: Tensor, coarse: Tensor, parts: int) -> list[Tensor]:
    """These positions in so many parts, cut by halves along the principal axis of what lies in each."""
    if parts == 1:
        return [at]
    centred = coarse[at] - coarse[at].mean(0)
    axis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    axis = axis * axis[axis.abs().argmax()].sign()  # an eigenvector's sign is anyone's
    order = at[(centred @ axis).argsort(stable=True)]
    first = parts // 2
    edge = round(len(at) * first / parts)
    return _cut(order[:edge], coarse, first) + _cut(order[edge:], coarse, parts - first)
