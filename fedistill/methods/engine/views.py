"""Views: the real side of an iteration (a network, real images, augmentations), drawn a number of times and met again.

The real images' side does not move with the synthetic images. Met again, it need not be computed again, and real images
are nearly all that an iteration of DM or DC costs. `tdm` has views of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.ranges import QUIET, Count
from fedistill.methods.engine.method import Task

RealSide = Sequence[Sequence[Tensor]]
"""Each group's tensors: its mean embedding, or its gradient."""

KEPT = 2**29
"""Bytes of real sides in memory, at most; those beyond are computed again."""


@dataclass(frozen=True)
class ViewSettings:
    """Settings of how many real sides a method draws.

    Args:
        views: each a network, a real batch of every group and their augmentations; None: a new one for every iteration,
            as published. With an inner loop, the first step under a network is a view's.
    """

    views: Annotated[Count | None, QUIET] = None


@dataclass(frozen=True)
class SideSource:
    """The generator that all of a real side is drawn from, and the number of its view, None for no view."""

    generator: torch.Generator
    view: int | None = None


class Views:
    """The real sides of a distillation.

    Which view an iteration takes and what the view draws come from their numbers alone, so that a resumed run, a GPU
    and a machine with little memory meet the same ones.

    Args:
        task: gives the seed.
        name: of the method.
        views: how many; None for no end of them.
    """

    def __init__(self, task: Task, name: str, views: int | None) -> None:
        self._task, self._name, self._views = task, name, views
        self._kept: dict[int, RealSide] = {}
        self._bytes = 0

    def next(self, generator: torch.Generator) -> SideSource:
        """Return the source of an iteration's real side.

        Args:
            generator: the iteration's; without views the real side is drawn from it.
        """
        if self._views is None:
            return SideSource(generator)
        number = int(torch.randint(self._views, (1,), generator=generator))
        return SideSource(seeds.generator(self._task.seed, self._name, self._task.budget, "view", number), number)

    def real_side(self, source: SideSource, compute: Callable[[], RealSide]) -> RealSide:
        """Return what the real images give: as it was kept for this view, or computed.

        Args:
            source: of the real side.
            compute: gives each group's tensors, the same for the same view.
        """
        number = source.view
        if number is not None and number in self._kept:
            return self._kept[number]
        side = compute()
        size = sum(t.nbytes for tensors in side for t in tensors)
        if number is not None and self._bytes + size <= KEPT:
            side = self._kept[number] = _in_one_piece(side)
            self._bytes += size
        return side


def _in_one_piece(side: RealSide) -> RealSide:
    """Return the same tensors, side by side: hundreds of small ones would keep the memory between them from use."""
    flat = torch.cat([t.flatten() for tensors in side for t in tensors])
    pieces = iter(flat.split([t.numel() for tensors in side for t in tensors]))
    return [[next(pieces).view(t.shape) for t in tensors] for tensors in side]
