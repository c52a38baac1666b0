"""The inputs of every step of a training: which images, and which augmentation of them.

Everything is drawn on the processor from generators named by a network's own seed, so that a network takes the same
steps alone, beside others, and on any device. For a GPU it is drawn some steps ahead and handed over in one piece: a
copy a step would make the processor wait for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from fedistill.core.seeds import generator
from fedistill.training import augment, mix
from fedistill.training.augment import Draw
from fedistill.training.mix import Mix
from fedistill.training.recipe import Recipe

AHEAD = 64
"""Steps drawn and handed over at once; a few MB for ten networks at a batch of 256."""


@dataclass(frozen=True, eq=False)
class Step:
    """A step that K networks take together.

    Args:
        at: int64 (K, batch), the images of each network by their position in its pool.
        draws: each network's augmentation, one a network; None where the recipe has none.
        mixes: each network's mixture, likewise.
    """

    at: Tensor
    draws: Sequence[Draw] | None
    mixes: Sequence[Mix] | None = None


def schedule(
    recipe: Recipe, images: int, *, seeds: Sequence[int], size: int, mirror: bool, device: torch.device
) -> Iterator[Step]:
    """Yield the steps of several networks that are trained side by side, on the device.

    Args:
        recipe: steps, batch and whether to augment.
        images: in each network's pool.
        seeds: a network's order and augmentation come from its own.
        size: height and width of the images in pixels.
        mirror: whether a flip keeps the labels true.
        device: where the steps are needed.
    """
    batch = min(recipe.batch, images)
    orders = [_order(images, batch, generator(seed, "order")) for seed in seeds]
    generators = [generator(seed, "augment") for seed in seeds]
    mixing = [generator(seed, "mix") for seed in seeds] if recipe.mix != "none" else []

    def drawn() -> Iterator[Step]:
        for _ in range(recipe.steps_for(images)):
            at = torch.stack([next(order) for order in orders])
            draws = [augment.draw(g, batch, size=size, mirror=mirror) for g in generators] if recipe.augment else None
            mixes = [mix.draw(g, batch, kind=recipe.mix, size=size) for g in mixing] or None
            yield Step(at, draws, mixes)

    return ahead(drawn(), device)


def ahead(drawn: Iterator[Step], device: torch.device) -> Iterator[Step]:
    """Give steps that are drawn on the processor on a device, `AHEAD` of them handed over at once."""
    while block := list(islice(drawn, AHEAD)):
        at = _handed(torch.stack([step.at for step in block]), device)
        rows = [step.draws for step in block if step.draws is not None]
        if not rows:
            yield from (Step(each, None, step.mixes) for each, step in zip(at, block, strict=True))
            continue
        # Operations take one to three parameters an image.
        most = max(draw.values.shape[1] for row in rows for draw in row)
        values = torch.zeros(*at.shape, most)
        for i, row in enumerate(rows):
            for k, draw in enumerate(row):
                values[i, k, :, : draw.values.shape[1]] = draw.values
        values = _handed(values, device)
        for i, row in enumerate(rows):
            draws = [Draw(d.op, values[i, k, :, : d.values.shape[1]]) for k, d in enumerate(row)]
            yield Step(at[i], draws, block[i].mixes)


def _order(images: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches without end: whole epochs in random order, one running into the next."""
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        if len(waiting) < batch:
            waiting = torch.cat([waiting, torch.randperm(images, generator=generator)])
        yield waiting[:batch]
        waiting = waiting[batch:]


def _handed(drawn: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to the device; from pinned memory a GPU fetches it by itself, while the processor goes on."""
    if device.type == "cuda":
        drawn = drawn.pin_memory()
    return drawn.to(device, non_blocking=True)
