"""Expert trajectories for MTT (Cazenavette et al., CVPR 2022, arXiv 2203.11932): networks trained on the real images.

Plain SGD without momentum, augmented, with a snapshot of the weights after each epoch. At a hospital's size an epoch
of 256-image batches would be a step or two, and `expert_epochs` of them less movement than `syn_steps` synthetic steps
can make: the learned step size then collapses and nothing is learned. So an epoch here is a number of SGD steps: one
pass over the data, as the paper means it, where the site is large, and never fewer steps than put `AHEAD` times
`syn_steps` into a segment. Where 256-image batches give fewer, batches are smaller, down to `SMALLEST`, and where
these still do, an epoch is several passes. With `epoch_images` an epoch of a large site is a part of a pass, and the
next one goes on with the other images: a few thousand of them move a network as far as a segment needs.
"""

import math
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.events import Event
from fedistill.methods.engine import sgd
from fedistill.methods.engine.method import Task, Tensors
from fedistill.methods.mtt_settings import MTTSettings
from fedistill.training import augment
from fedistill.training.device import computing_in
from fedistill.training.schedule import Step, ahead

VERSION = 2

LARGEST, SMALLEST = 256, 32  # images in an expert's batch; LARGEST as published

# Real steps for each synthetic one, at least. At ipc 10, the step size fell to a fifth in 60 iterations at 2, not at 5.
AHEAD = 5


def epoch_shape(n: int, settings: MTTSettings) -> tuple[int, int]:
    """Return (steps in an epoch, images in a batch) for a site with n images.

    >>> epoch_shape(60_000, MTTSettings()), epoch_shape(182, MTTSettings())
    ((235, 256), (34, 32))
    >>> epoch_shape(60_000, MTTSettings(epoch_images=4000))
    (35, 117)
    """
    n = n if settings.epoch_images is None else min(n, settings.epoch_images)
    fewest = math.ceil(AHEAD * settings.syn_steps / settings.expert_epochs)
    batch = settings.batch_expert or min(LARGEST, max(SMALLEST, n // fewest))
    return max(fewest, math.ceil(n / batch)), min(batch, n)


def train(task: Task, settings: MTTSettings, index: int) -> Tensor:
    """Return one expert's weights at the start of each epoch that can be read, float32 (epochs read, P).

    A segment starts before `max_start_epoch`, so later epochs of the published `epochs` are never read, nor trained.
    """
    generator = seeds.generator(task.seed, "mtt", "expert", index)
    net, device = task.network(), torch.device(task.device)
    x, y = task.images.pixels().to(device), task.images.targets().to(device)
    trained = sgd.Training(net, [p.to(device) for p in net.init(generator)], task.computes_in)
    steps, batch = epoch_shape(len(x), settings)
    snapshots = [sgd.flatten(trained.params).cpu()]
    planned = ahead(_steps(task, len(x), batch, generator, augmented=settings.augment), device)
    epochs = settings.max_start_epoch + settings.expert_epochs
    with computing_in(task.computes_in, device):
        while len(snapshots) < epochs:
            for step in islice(planned, steps):
                part = x[step.at[0]]
                if step.draws is not None:
                    part = augment.apply(part, step.draws[0])
                loss = trained.step(part, y[step.at[0]], settings.lr_teacher)
            snapshots.append(sgd.flatten(trained.params).cpu())
            # A sign of life: a large site's expert takes long.
            message = f"expert {index + 1}, epoch {len(snapshots)}/{epochs}"
            task.on_event(
                Event(
                    "experts",
                    method="mtt",
                    step=index,
                    steps=settings.experts,
                    message=message,
                    expert=index + 1,
                    epoch=len(snapshots) - 1,
                    loss=loss.item(),
                )
            )
    return sgd.finite(torch.stack(snapshots), "mtt's experts", f"lr_teacher = {settings.lr_teacher}")


def _steps(task: Task, n: int, batch: int, generator: torch.Generator, *, augmented: bool) -> Iterator[Step]:
    """Yield the steps of an expert without end."""
    size, mirror = task.images.size, task.images.mirror
    for at in _endless(n, batch, generator):
        yield Step(at[None], [augment.draw(generator, batch, size=size, mirror=mirror)] if augmented else None)


def _endless(n: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the positions of whole batches, in a new order each time the images run out."""
    order = torch.randperm(n, generator=generator)
    while True:
        if len(order) < batch:
            order = torch.randperm(n, generator=generator)
        at, order = order[:batch], order[batch:]
        yield at


def _made(task: Task, settings: MTTSettings, index: int) -> Tensors:
    return {"theta": train(task, settings, index)}


def experts(task: Task, settings: MTTSettings) -> list[Tensor]:
    """Return all experts, each as `train` gives it; remembered one by one, so an interrupted run can go on."""
    clock = time.monotonic()
    steps, batch = epoch_shape(len(task.images), settings)
    about = {
        **task.training_detail(),
        "epochs": settings.max_start_epoch + settings.expert_epochs,
        "steps": steps,
        "batch": batch,
        "lr_teacher": settings.lr_teacher,
        "augment": settings.augment,
        "version": VERSION,
    }
    kept = []
    for i in range(settings.experts):
        kept.append(task.remember("experts", {**about, "expert": i}, partial(_made, task, settings, i))["theta"])
        seconds = time.monotonic() - clock
        task.on_event(Event("experts", method="mtt", step=i + 1, steps=settings.experts, seconds=seconds))
    return kept
