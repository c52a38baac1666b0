"""Networks early in their training on the real images, to match on instead of fresh ones.

A fresh network's gradients say little about a class beyond its mean image. After some dozens of steps on the real
images they say what tells the classes apart, and far fewer matching steps reach the same quality (Zhang et al.,
*Accelerating Dataset Distillation via Model Augmentation*, CVPR 2023, arXiv 2212.06152; training on the real images is
also in Kim et al., IDC, ICML 2022, arXiv 2205.14959). A few networks are trained once, augmented, with balanced
batches, and remembered at several stages; each iteration takes one of these states at random.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch

from fedistill.core import seeds
from fedistill.core.events import Event
from fedistill.core.ranges import NonNegativeInt, Range
from fedistill.methods.engine import sgd
from fedistill.methods.engine.method import Task, Tensors, classes_held
from fedistill.methods.engine.sgd import finite
from fedistill.models import Params
from fedistill.training import augment
from fedistill.training.device import computing_in

VERSION = 1

STAGES = 4  # states kept of a network, evenly along its steps
BATCH = 64  # real images a step, the same number of every class held
LR = 0.01


@dataclass(frozen=True)
class EarlySettings:
    """Settings of the networks that a method matches on.

    Args:
        early_networks: trained on the real images and matched on at several stages; 0: fresh random ones, as published.
        early_steps: SGD steps of each.
    """

    early_networks: NonNegativeInt = 0
    early_steps: Annotated[int, Range(ge=STAGES)] = 100


def networks(task: Task, settings: EarlySettings) -> Callable[[torch.Generator], Params]:
    """Return ``draw(generator)``, which gives the parameters of one of the method's networks, on the task's device."""
    net = task.network()
    if not settings.early_networks:
        return lambda generator: tuple(p.to(task.device) for p in net.init(generator))
    shapes = net.init(torch.Generator())
    states = [
        tuple(p.to(task.device) for p in sgd.unflatten(theta, shapes))
        for i in range(settings.early_networks)
        for theta in _remembered(task, settings, i)
    ]
    return lambda generator: states[int(torch.randint(len(states), (1,), generator=generator))]


def _remembered(task: Task, settings: EarlySettings, index: int) -> torch.Tensor:
    """Return the states of one network, float32 (STAGES, P), from the store where they were trained before."""
    about = {
        **task.training_detail(),
        "steps": settings.early_steps,
        "network": index,
        "version": VERSION,
    }

    def make() -> Tensors:
        task.on_event(Event("early networks", step=index, steps=settings.early_networks))
        return {"theta": train(task, settings, index)}

    return task.remember("early", about, make)["theta"]


def train(task: Task, settings: EarlySettings, index: int) -> torch.Tensor:
    """Return one network's parameters at the end of each stage, float32 (STAGES, P)."""
    generator = seeds.generator(task.seed, "early", index)
    net, x, y = task.network(), task.images.pixels().to(task.device), task.images.targets().to(task.device)
    held = classes_held(task.images)
    each = max(1, BATCH // len(held))
    trained = sgd.Training(net, [p.to(task.device) for p in net.init(generator)], task.computes_in)
    ends = {settings.early_steps * (i + 1) // STAGES for i in range(STAGES)}
    states = []
    for step in range(settings.early_steps):
        # Drawn with replacement: a tiny class is seen as often as a large one.
        batch = torch.cat([at[torch.randint(len(at), (each,), generator=generator)] for at in held])
        draw = augment.draw(generator, len(batch), size=task.images.size, mirror=task.images.mirror)
        with computing_in(task.computes_in, x.device):
            trained.step(augment.apply(x[batch], draw), y[batch], LR)
        if step + 1 in ends:
            states.append(sgd.flatten(trained.params).cpu())
        task.on_event(Event("early networks"))  # a sign of life
    return finite(torch.stack(states), "early networks", f"step size {LR}")
