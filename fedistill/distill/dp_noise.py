"""Gaussian noise on clipped sums: the one step in which anything learned of patients becomes differentially private.

A unit of privacy is an image, or a patient where the images say whose they are. What an image tells is a vector of
norm at most `clip`; what a unit tells, the vectors of its images in the places of their classes, is scaled down to norm
`clip` where it is longer. So one unit more or less moves the sum by `clip` at most, whatever its classes are, and noise
of `sigma` x `clip` in every coordinate is the Gaussian mechanism (Dwork & Roth 2014, appendix A).

Beside its vector every image has a constant in one more coordinate, so that each sum comes with a noisy count.
"""

import math
import os
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fedistill import seeds
from fedistill.data.imageset import ImageSet
from fedistill.distill.method import Task

COUNT = 0.3
"""The constant beside a vector of norm `ROOM`: together they have norm 1. Small, for it takes noise's room from it."""

ROOM = math.sqrt(1 - COUNT**2)

AT_ONCE = 1 << 16  # random numbers drawn in one piece


class Source(Protocol):
    """Where noise comes from."""

    def normal(self, shape: tuple[int, ...], *names: str | int) -> Tensor:
        """Standard normal numbers, float64."""

    def uniform(self, n: int, *names: str | int) -> Tensor:
        """Numbers in [0, 1), float64 (n,)."""

    def generator(self, *names: str | int) -> torch.Generator:
        """For what protects nobody: the images' start."""


class Seeded:
    """Noise that can be drawn again, and therefore taken off again: for simulations."""

    def __init__(self, seed: int, *names: str | int) -> None:
        self._seed = seeds.spawn(seed, *names)

    def normal(self, shape: tuple[int, ...], *names: str | int) -> Tensor:
        return torch.randn(shape, generator=self.generator("normal", *names), dtype=torch.float64)

    def uniform(self, n: int, *names: str | int) -> Tensor:
        return torch.rand(n, generator=self.generator("uniform", *names), dtype=torch.float64)

    def generator(self, *names: str | int) -> torch.Generator:
        return seeds.generator(self._seed, *names)


class System:
    """Noise from the operating system's entropy, kept nowhere: every bit of it, with no generator in between whose
    state could be worked out.

    Normal numbers are half the sum of four, which leaves no pattern of floating-point numbers to tell the sum below by
    (Mironov, CCS 2012; Holohan & Braghin, ESORICS 2021).
    """

    def normal(self, shape: tuple[int, ...], *names: str | int) -> Tensor:
        made = np.empty(math.prod(shape))
        for at in range(0, made.size, AT_ONCE):
            part = made[at : at + AT_ONCE]
            part[:] = sum(_box_muller(part.size) for _ in range(4)) / 2
        return torch.from_numpy(made).view(shape)

    def uniform(self, n: int, *names: str | int) -> Tensor:
        return torch.from_numpy(_random_bits(n) * 2.0**-53)

    def generator(self, *names: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(int.from_bytes(os.urandom(8), "big") >> 1)


def source(task: Task, name: str) -> Source:
    """Where a task's noise comes from; `name` is the method's."""
    return System() if task.entropy == "system" else Seeded(task.seed, name)


def _random_bits(n: int) -> np.ndarray:
    """Whole numbers of 53 bits, uint64 (n,)."""
    return np.frombuffer(os.urandom(8 * n), np.uint64) >> np.uint64(11)


def _box_muller(n: int) -> np.ndarray:
    radius = np.sqrt(-2 * np.log((_random_bits(n) + 1.0) * 2.0**-53))
    return radius * np.cos(2 * np.pi * 2.0**-53 * _random_bits(n))


def units(images: ImageSet) -> Tensor:
    """Which unit of privacy each image belongs to, int64 (N,), numbered from 0: its patient's, or its own."""
    if images.groups is None:
        return torch.arange(len(images))
    return torch.from_numpy(np.unique(images.groups, return_inverse=True)[1].reshape(-1).astype(np.int64))


def whole(unit: Tensor, taken: Tensor, most: int) -> Iterator[Tensor]:
    """Positions of the taken units' images, in pieces of about `most`; all images of a unit in one piece.

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


def counted(vectors: Tensor, clip: float) -> Tensor:
    """Vectors (N, D), scaled down to norm `clip` where they are longer, and the count's coordinate: (N, D + 1).

    No row is longer than `clip`; a vector that is not finite counts as an image that tells nothing else.
    """
    norms = vectors.norm(dim=1, keepdim=True)
    scaled = vectors * (ROOM * (clip / norms.clamp_min(1e-30)).clamp_max(1.0))
    scaled = torch.where(torch.isfinite(norms), scaled, torch.zeros_like(scaled))
    return torch.cat([scaled, scaled.new_full((len(scaled), 1), COUNT * clip)], 1)


def clipped_sum(rows: Tensor, unit: Tensor, labels: Tensor, classes: int, clip: float) -> Tensor:
    """The sum of units, each clipped, by class.

    Args:
        rows: (N, D), an image's vector each; all images of every unit that has any.
        unit: int64 (N,); labels: int64 (N,).
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
    images: ImageSet,
    rows: Callable[[Tensor], Tensor],
    *,
    clip: float,
    sigma: float,
    rate: float,
    most: int,
    source: Source,
    names: tuple[str | int, ...],
) -> tuple[Tensor, float]:
    """One query: the clipped sum over a sample of the units, with its noise.

    Args:
        rows: what images at these positions tell, (n,) -> (n, D), of norm at most `clip`.
        sigma: the noise's standard deviation in every coordinate, as a multiple of `clip`.
        rate: chance of each unit to be in the sample; 1: all are.
        most: images looked at in one piece.
        names: of the query, for its random numbers.

    Returns:
        float64 (K, D), and the ratio of the sum's norm to the noise's expected norm (which is as private as the images:
        it may be shown at the site, never sent).
    """
    unit, labels = units(images), torch.from_numpy(images.labels)
    n = int(unit.max()) + 1
    taken = torch.ones(n, dtype=torch.bool) if rate == 1 else source.uniform(n, "sample", *names) < rate
    total: Tensor | None = None
    for at in whole(unit, taken, most):
        told = torch.cat([rows(piece).cpu() for piece in at.split(most)])  # a patient may have more images than fit
        part = clipped_sum(told, unit[at], labels[at], images.n_classes, clip)
        total = part if total is None else total + part
    if total is None:  # nobody is in the sample: noise alone is the answer, and no one can tell
        total = torch.zeros((images.n_classes, rows(torch.arange(1)).shape[1]), dtype=torch.float64)
    noise = sigma * clip * source.normal(tuple(total.shape), "noise", *names)
    ratio = float(total.norm()) / (sigma * clip * math.sqrt(total.numel()))
    return total + noise, ratio
