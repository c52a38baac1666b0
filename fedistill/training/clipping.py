"""Gaussian noise on clipped sums: the one step in which anything learned of patients becomes differentially private.

A unit of privacy is an image, or a patient where the images say whose they are. What an image tells is a vector, an
embedding or a gradient; what a unit tells, the vectors of its images in the places of their classes, is scaled down to
norm `clip` where it is longer. So one unit more or less moves the sum by `clip` at most, whatever its classes are, and
noise of `sigma` x `clip` in every coordinate is the Gaussian mechanism (Dwork & Roth 2014, appendix A).
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from fedistill.data.imageset import ImageSet
from fedistill.models import Network, Params, objective
from fedistill.training.noise import Source

MEMORY = 512 * 2**20  # bytes that the activations of images looked at in one piece may take
KEPT = 5  # numbers in memory for each that a layer puts out, gradients included


def at_once(network: Network) -> int:
    """Return how many images' own gradients are computed in one piece: what fits in memory, and no more than pays."""
    return min(64, max(1, MEMORY // (4 * KEPT * network.activations)))


def gradients_of_each(
    network: Network, params: Params, places: list[int] | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return ``gradients(x, y)``, the flat gradient of each image's own loss: (N, C, H, W), (N,) or (N, L) -> (N, P).

    Args:
        network: whose loss it is.
        params: where the gradient is taken.
        places: of the parameters to differentiate by, in order; all of them unless given.
    """
    fixed = [p.detach() for p in params]
    places = list(range(len(fixed))) if places is None else places

    def loss(weights: Params, image: Tensor, label: Tensor) -> Tensor:
        placed = dict(zip(places, weights, strict=True))
        whole = tuple(placed.get(i, p) for i, p in enumerate(fixed))
        return objective(network(whole, image[None]), label[None])

    each = vmap(grad(loss), (None, 0, 0))

    def gradients(x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([g.flatten(1) for g in each(tuple(fixed[i] for i in places), x, y)], 1)

    return gradients


def units(images: ImageSet) -> Tensor:
    """Return each image's unit of privacy, int64 (N,), numbered from 0: its patient, or itself without patients."""
    if images.groups is None:
        return torch.arange(len(images))
    return torch.from_numpy(np.unique(images.groups, return_inverse=True)[1].reshape(-1).astype(np.int64))


def whole(unit: Tensor, taken: Tensor, most: int) -> Iterator[Tensor]:
    """Yield the positions of the taken units' images, in pieces of about `most`; all images of a unit in one piece.

    >>> [p.tolist() for p in whole(torch.tensor([0, 1, 0, 2]), torch.tensor([True, False, True]), 2)]
    [[0, 2], [3]]
    """
    at = torch.nonzero(taken[unit]).flatten()
    at = at[torch.argsort(unit[at], stable=True)]
    _, sizes = torch.unique_consecutive(unit[at], return_counts=True)
    begin = end = 0
    for size in sizes.tolist():
        if end > begin and end + size - begin > most:
            yield at[begin:end]
            begin = end
        end += size
    if end > begin:
        yield at[begin:end]


def clipped_sum(rows: Tensor, unit: Tensor, labels: Tensor, classes: int, clip: float) -> Tensor:
    """Sum the units' vectors by class, each unit clipped before.

    Args:
        rows: (N, D), an image's vector each; all images of every unit that has any.
        unit: int64 (N,), whose each image is.
        labels: int64 (N,), the class each image counts for.
        classes: K.
        clip: the norm of a unit's vectors, over all its classes together, is scaled down to this.

    Returns:
        float64 (K, D).

    >>> rows = torch.tensor([[0.0, 4.0], [0.5, 0.0]])
    >>> clipped_sum(rows, torch.arange(2), torch.tensor([0, 1]), 2, 1.0).tolist()
    [[0.0, 1.0], [0.5, 0.0]]
    """
    pairs, inverse = torch.unique(unit * classes + labels, return_inverse=True)
    parts = rows.new_zeros((len(pairs), rows.shape[1]), dtype=torch.float64).index_add_(0, inverse, rows.double())
    owners, owner = torch.unique(pairs // classes, return_inverse=True)
    squares = parts.new_zeros(len(owners)).index_add_(0, owner, parts.square().sum(1))
    factors = (clip / squares.sqrt().clamp_min(1e-300)).clamp_max(1.0)
    return parts.new_zeros((classes, rows.shape[1])).index_add_(0, pairs % classes, parts * factors[owner, None])


def noisy_sum(
    unit: Tensor,
    labels: Tensor,
    classes: int,
    rows: Callable[[Tensor], Tensor],
    *,
    clip: float,
    sigma: float,
    rate: float,
    most: int,
    source: Source,
    names: tuple[str | int, ...],
) -> tuple[Tensor, float]:
    """Answer one query by the Gaussian mechanism: the clipped sum over a sample of the units, with its noise.

    Args:
        unit: int64 (N,), whose each image is.
        labels: int64 (N,), which of the sums it belongs to.
        classes: K, how many sums there are.
        rows: computes the vectors of images at these positions, (n,) -> (n, D).
        clip: the norm that a unit's vectors, over all its classes together, are scaled down to.
        sigma: the noise's standard deviation in every coordinate, as a multiple of `clip`.
        rate: chance of each unit to be in the sample; 1: all are.
        most: images looked at in one piece.
        source: of sample and noise.
        names: of the query, for its random numbers.

    Returns:
        float64 (K, D), and the ratio of the sum's norm to the noise's expected norm (which is as private as the images:
        it may be shown at the site, never sent).
    """
    n = int(unit.max()) + 1
    taken = torch.ones(n, dtype=torch.bool) if rate == 1 else source.uniform(n, "sample", *names) < rate
    total: Tensor | None = None
    for at in whole(unit, taken, most):
        vectors = torch.cat([rows(piece).cpu() for piece in at.split(most)])  # a patient may have more images than fit
        part = clipped_sum(vectors, unit[at], labels[at], classes, clip)
        total = part if total is None else total + part
    if total is None:  # nobody is in the sample: noise alone is the answer, and no one can tell
        total = torch.zeros((classes, rows(torch.arange(1)).shape[1]), dtype=torch.float64)
    noise = sigma * clip * source.normal(tuple(total.shape), "noise", *names)
    ratio = float(total.norm()) / (sigma * clip * math.sqrt(total.numel()))
    return total + noise, ratio
