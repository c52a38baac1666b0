"""Expert trajectories for MTT (Cazenavette et al., CVPR 2022, arXiv 2203.11932): networks trained on the real images.

Plain SGD without momentum, augmented, with a snapshot of the weights after each epoch. At a hospital's size an epoch
of 256-image batches would be a step or two, and `expert_epochs` of them less movement than `syn_steps` synthetic steps
can make: the learned step size then collapses and nothing is learned. So an epoch here is a number of SGD steps: one
pass over the data, as the paper means it, where the site is large, and never fewer steps than put `AHEAD` times
`syn_steps` into a segment. Where 256-image batches give fewer, batches are smaller, down to `SMALLEST`, and where
these still do, an epoch is several passes.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.events import Event
from fedistill.methods.engine import sgd
from fedistill.methods.engine.method import Task, Tensors
from fedistill.methods.mtt_settings import MTTSettings
from fedistill.models import Params, objective
from fedistill.training import augment
from fedistill.training.device import full_precision
from fedistill.training.ensemble import at_once
from fedistill.training.fit import stack

VERSION = 2

LARGEST, SMALLEST = 256, 32  # images in an expert's batch; LARGEST as published

# Real steps for each synthetic one, at least. At ipc 10, the step size fell to a fifth in 60 iterations at 2, not at 5.
AHEAD = 5


def epoch_shape(n: int, settings: MTTSettings) -> tuple[int, int]:
    """(steps in an epoch, images in a batch) for a site with n images.

    >>> epoch_shape(60_000, MTTSettings()), epoch_shape(182, MTTSettings())
    ((235, 256), (34, 32))
    """
    fewest = math.ceil(AHEAD * settings.syn_steps / settings.expert_epochs)
    batch = settings.batch_expert or min(LARGEST, max(SMALLEST, n // fewest))
    return max(fewest, math.ceil(n / batch)), min(batch, n)


def train(task: Task, settings: MTTSettings, index: int) -> Tensor:
    """One expert's weights at the start of each epoch that can be read, float32 (epochs read, P)."""
    return train_together(task, settings, [index])[0]


def train_together(task: Task, settings: MTTSettings, indices: Sequence[int]) -> list[Tensor]:
    """Several experts at once, each as if alone: on a GPU, which one small network leaves idle most of the time.

    A segment starts before `max_start_epoch`, so later epochs of the published `epochs` are never read, nor trained.
    """
    generators = [seeds.generator(task.seed, "mtt", "expert", index) for index in indices]
    net, device = task.network(), torch.device(task.device)
    x, y = task.images.pixels().to(device), task.images.targets().to(device)
    params = sgd.fresh([p.to(device) for p in stack([net.init(generator) for generator in generators])])
    steps, batch = epoch_shape(len(x), settings)
    snapshots = [_snapshot(params)]
    size, mirror = task.images.size, task.images.mirror
    orders = [_endless(len(x), batch, generator) for generator in generators]
    epochs = settings.max_start_epoch + settings.expert_epochs
    with full_precision(device):
        while len(snapshots) < epochs:
            for _ in range(steps):
                at = torch.stack([next(order) for order in orders]).to(device, non_blocking=True)
                parts = x[at]
                if settings.augment:
                    draws = [augment.draw(generator, batch, size=size, mirror=mirror) for generator in generators]
                    parts = torch.stack([augment.apply(p, d) for p, d in zip(parts, draws, strict=True)])
                if len(indices) == 1:
                    logits = net(tuple(p[0] for p in params), parts[0])[None]
                else:
                    logits = net.together(params, parts)
                # The batches are equally long: the mean over all, times the experts, is the sum of each one's own.
                loss = objective(logits.flatten(0, 1), y[at].flatten(0, 1)) * len(indices)
                grads = torch.autograd.grad(loss, params)
                with torch.no_grad():
                    torch._foreach_add_(params, grads, alpha=-settings.lr_teacher)
            snapshots.append(_snapshot(params))
            # A sign of life: a large site's expert takes long.
            message = f"expert {indices[0] + 1}, epoch {len(snapshots)}/{epochs}"
            task.on_event(
                Event(
                    "experts",
                    method="mtt",
                    step=indices[0],
                    steps=settings.experts,
                    message=message,
                    expert=indices[0] + 1,
                    epoch=len(snapshots) - 1,
                    loss=loss.item() / len(indices),
                )
            )
    return list(sgd.finite(torch.stack(snapshots, 1), "mtt's experts", f"lr_teacher = {settings.lr_teacher}"))


def _snapshot(params: Params) -> Tensor:
    """Stacked parameters as vectors (K, P) on the processor."""
    return torch.cat([p.detach().flatten(1) for p in params], 1).cpu()


def _endless(n: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Positions of whole batches, in a new order each time the images run out."""
    order = torch.randperm(n, generator=generator)
    while True:
        if len(order) < batch:
            order = torch.randperm(n, generator=generator)
        at, order = order[:batch], order[batch:]
        yield at


def experts(task: Task, settings: MTTSettings) -> list[Tensor]:
    """All experts, each as `train` gives it; remembered one by one, so an interrupted run goes on where it was."""
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
    # One at a time on a processor, where together they are slower; on a GPU as many as its memory takes.
    group = 1 if task.device == "cpu" else at_once(task.network(), batch)
    ready: dict[int, Tensor] = {}

    def maker(index: int) -> Callable[[], Tensors]:
        def make() -> Tensors:
            if index not in ready:
                indices = range(index, min(index + group, settings.experts))
                ready.update(zip(indices, train_together(task, settings, indices), strict=True))
            return {"theta": ready.pop(index)}

        return make

    kept = []
    for i in range(settings.experts):
        kept.append(task.remember("experts", {**about, "expert": i}, maker(i))["theta"])
        seconds = time.monotonic() - clock
        task.on_event(Event("experts", method="mtt", step=i + 1, steps=settings.experts, seconds=seconds))
    return kept
