"""One shadow as a job of the server: a module-level function of plain values, because it runs on Ray's workers."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fedistill.data import ImageSet
from fedistill.methods import Task
from fedistill.methods.engine.method import in_memory
from fedistill.models import Network
from fedistill.privacy.attacks.shadow_rounds import ShadowRounds, Turns
from fedistill.privacy.attacks.shadows import ShadowImages, ShadowLocal, shadow
from fedistill.study.arms.pooling import chosen
from fedistill.training.device import device_for
from fedistill.training.dpsgd import DPSGD
from fedistill.training.recipe import Recipe
from fedistill.transport.backend.events import emitter

Images = tuple[Tensor, Tensor]
"""Images float32 (N, C, H, W) and labels, of one site's Release."""

Others = Mapping[str, ImageSet]
"""What every other site holds, by its name."""


class Dealing(Protocol):
    """Says which records are attacked and who is in which shadow: `Halves` or `Canaries` (`privacy.attacks`)."""

    def records(self, images: ImageSet) -> ImageSet:
        """What the attacks look at."""

    def shadow(self, images: ImageSet, number: int) -> ImageSet:
        """What a shadow holds."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """What all shadows of an audit have in common, large enough to be handed over once.

    Args:
        images: the attacked site's; val: its validation images, by which its method stops.
        dealing: who is in which shadow.
        population: images that no shadow holds.
    """

    images: ImageSet
    val: ImageSet
    dealing: Dealing
    population: ImageSet


@dataclass(frozen=True, eq=False)
class AmongOthers:
    """The pool that a shadow's Release would be part of, in the order of the federation's sites.

    Args:
        before, after: Releases of the sites before the attacked one, and of those after it.
        pooling: as `fedistill.study.arms.pooling` has it.
        examples: real images of every site in the pool; the attacked one's as many as a shadow holds.
    """

    before: Sequence[Images]
    after: Sequence[Images]
    pooling: str
    examples: Sequence[int]

    def __call__(self, images: Tensor, labels: Tensor) -> Images:
        sets = [*self.before, (images, labels), *self.after]
        x, y = torch.cat([part for part, _ in sets]), torch.cat([part for _, part in sets])
        site_of = torch.repeat_interleave(torch.tensor([len(part) for part, _ in sets]))
        at = chosen(self.pooling, y, site_of, None, self.examples)
        return x[at], y[at]


@dataclass(frozen=True)
class Shape:
    """What a shadow is distilled and trained with.

    Args:
        method, settings, ipc: of the site's distillation, the method None where it trains networks alone; model, width,
            precision: of the network it matches on.
        network, recipe, seeds: of the server's training, or the site's own; private: of its DP-SGD, where it is that.
        turns: of rounds, where the site sends its network in each; the recipe is then of one.
    """

    method: str | None
    settings: Any
    ipc: int | None
    model: str
    width: int
    precision: str
    encoding: str
    network: Network
    recipe: Recipe
    seeds: tuple[int, ...]
    private: DPSGD | None = None
    turns: Turns | None = None

    def mechanism(self, others: AmongOthers | Others, *, mirror: bool) -> ShadowImages | ShadowLocal | ShadowRounds:
        """What a shadow goes through."""
        if self.turns is not None:
            assert not isinstance(others, AmongOthers)
            return ShadowRounds(self.network, self.recipe, self.seeds, self.turns, others, self.private)
        training = self.network, self.recipe, self.seeds, mirror
        if self.method is None:
            return ShadowLocal(*training, self.private)
        assert isinstance(others, AmongOthers)
        return ShadowImages(self.method, self.settings, self.encoding, others, *training)


def cast(
    name: str, number: int, seed: int, shape: Shape, attacked: Attacked, others: AmongOthers | Others, gpus: float
) -> tuple[dict[str, Tensor], float]:
    """One shadow's signals as tensors, and the seconds it took.

    Args:
        name: in its events; number: of the shadow; seed: its own.
    """
    start = time.perf_counter()
    mechanism = shape.mechanism(others, mirror=attacked.images.mirror)
    task = Task(
        attacked.dealing.shadow(attacked.images, number),
        shape.ipc,
        seed=seed,
        model=shape.model,
        width=shape.width,
        val=attacked.val if len(attacked.val) else None,
        precision=shape.precision,
        device=str(device_for(gpus)),
        on_event=emitter(name),
        remember=in_memory(),
    )
    found = shadow(task, mechanism, attacked.dealing.records(attacked.images), attacked.population)
    return found.tensors(), time.perf_counter() - start
