"""MTT, trajectory matching (Cazenavette et al., *Dataset Distillation by Matching Training Trajectories*, CVPR 2022,
arXiv 2203.11932).

From an expert's weights at some epoch, a network is trained on the synthetic images for a few steps; images and step
size are moved so that it arrives where the expert was some epochs later. The step size is learned as its logarithm:
learned itself, it can turn negative.
"""

import math
import time

import torch
from torch import Tensor

from fedistill import seeds
from fedistill.distill import sgd
from fedistill.distill.experts import experts
from fedistill.distill.method import SyntheticSet, Task
from fedistill.distill.mtt_settings import MTTSettings
from fedistill.distill.start import start
from fedistill.distill.unroll import trajectory_gradient
from fedistill.errors import RunError
from fedistill.training import augment

# One step may change the step size by this factor at most, and all together by FARTHEST: beyond, training explodes.
FASTEST, FARTHEST = 1.5, 100.0

# So many segments in a row without a finite gradient are no accident.
PATIENCE = 20


def batches(n: int, size: int | None, steps: int, generator: torch.Generator) -> list[Tensor]:
    """Positions for each step: epoch after epoch in fresh order, batches of this size; all at once where they fit.

    >>> [len(b) for b in batches(5, 2, 4, torch.Generator().manual_seed(0))]
    [2, 2, 1, 2]
    """
    if size is None or size >= n:
        return [torch.arange(n)] * steps
    found: list[Tensor] = []
    while len(found) < steps:
        found += torch.randperm(n, generator=generator).split(size)
    return found[:steps]


def mtt(task: Task, settings: MTTSettings) -> SyntheticSet:
    """Images, and a step size, that train a network where the real images would.

    Raises:
        RunError: segment after segment gave no finite gradient.
    """
    ipc = task.budget
    net, generator = task.network(), seeds.generator(task.seed, "mtt", ipc, "run")
    paths = experts(task, settings)
    shapes = net.init(torch.Generator())
    images, labels, _ = start(task, settings.start, seeds.generator(task.seed, "mtt", ipc, "start"))
    velocity, log_lr, lr_velocity = torch.zeros_like(images), math.log(settings.lr_teacher), 0.0
    skipped, in_a_row, clock = 0, 0, time.monotonic()

    for i in range(settings.iterations):
        path = paths[int(torch.randint(len(paths), (1,), generator=generator))]
        first = int(torch.randint(settings.max_start_epoch, (1,), generator=generator))
        steps = batches(len(images), settings.batch_syn, settings.syn_steps, generator)
        size, mirror = task.images.size, task.images.mirror
        draws = [augment.draw(generator, len(b), size=size, mirror=mirror) if settings.augment else None for b in steps]
        lr = math.exp(log_lr)
        found = trajectory_gradient(
            net,
            sgd.unflatten(path[first], shapes),
            sgd.unflatten(path[first + settings.expert_epochs], shapes),
            images,
            labels,
            lr,
            batches=steps,
            draws=draws,
        )
        moved = settings.momentum_img * velocity + found.images
        slope = lr * float(found.lr)  # in the logarithm of the step size
        stepped = images - settings.lr_img * moved
        if torch.isfinite(stepped).all() and math.isfinite(slope) and math.isfinite(float(found.loss)):
            in_a_row, velocity, images = 0, moved, stepped
            lr_velocity = settings.momentum_img * lr_velocity + slope
            log_lr = next_log_lr(log_lr, lr_velocity, settings)
        else:
            skipped, in_a_row = skipped + 1, in_a_row + 1
            if in_a_row == PATIENCE:
                raise RunError(
                    f"mtt at ipc {ipc}: {PATIENCE} segments in a row gave no finite gradient (iteration {i + 1}).",
                    expected="images that a network can be trained on",
                    found=f"lr_img = {settings.lr_img}, step size {lr:.2g}",
                    mend="take a smaller lr_img or lr_lr",
                )
        task.on_event(
            {
                "stage": f"mtt ipc {ipc}",
                "step": i + 1,
                "steps": settings.iterations,
                "seconds": time.monotonic() - clock,
                "message": f"loss {float(found.loss):.3f}, step size {lr:.4f}"
                + (f", {skipped} segments skipped" if skipped else ""),
            }
        )
    return SyntheticSet(images, labels, ipc, lr=math.exp(log_lr))


def next_log_lr(log_lr: float, velocity: float, settings: MTTSettings) -> float:
    """The logarithm of the step size after one step of SGD, kept from leaping and from leaving its range.

    d log lr = d lr / lr, so a published lr_lr, which acts on lr, becomes lr_lr / lr_teacher^2 on its logarithm.
    """
    change = -settings.lr_lr / settings.lr_teacher**2 * velocity
    fastest, farthest, origin = math.log(FASTEST), math.log(FARTHEST), math.log(settings.lr_teacher)
    moved = log_lr + max(-fastest, min(fastest, change))
    return max(origin - farthest, min(origin + farthest, moved))
