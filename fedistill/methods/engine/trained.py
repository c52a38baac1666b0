"""Networks trained on the real images to match under, each from its first weights to its last.

Under a fresh network the mean embedding of a class says little beyond its mean image; under a trained one it says what
tells the class from others. Weights between a network's first and its last stand for the networks that somebody who
trains on the synthetic images will pass through (Zhang et al., *DANCE: Dual-View Distribution Alignment for Dataset
Condensation*, IJCAI 2024, arXiv 2406.01063).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.events import Event
from fedistill.core.ranges import Count
from fedistill.methods.engine import sgd
from fedistill.methods.engine.method import Task, Tensors, classes_held
from fedistill.methods.engine.start import sample
from fedistill.models import Params
from fedistill.training.fit import VERSION as FIT_VERSION
from fedistill.training.fit import fit
from fedistill.training.recipe import Recipe

VERSION = 1 + FIT_VERSION

RECIPE = Recipe("trained", lr=0.01, batch=64, augment=True)


@dataclass(frozen=True)
class TrainedSettings:
    """Settings of the networks that a method matches under.

    Args:
        networks: trained on the site's real images.
        network_steps: SGD steps of each, at momentum 0.9, step size 0.01 and batches of 64 with as many images of every
            class.
    """

    networks: Count = 3
    network_steps: Count = 200


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network before and after its training, float32, on the task's device."""

    first: Params
    last: Params

    def between(self, share: float) -> Params:
        """Return the weights at this share (0..1) of the straight way from the first to the last.

        >>> one = TrainedNetwork((torch.zeros(1),), (torch.ones(1),))
        >>> one.between(0.25)[0].item()
        0.25
        """
        return tuple(torch.lerp(a, b, share) for a, b in zip(self.first, self.last, strict=True))


def trained_networks(task: Task, settings: TrainedSettings) -> list[TrainedNetwork]:
    """Return the networks, from the task's memory where it has them.

    Raises:
        RunError: training left the range of numbers.
    """
    shapes = task.network().init(torch.Generator())
    networks = []
    for index in range(settings.networks):
        ends = _remembered(task, settings, index).to(task.device)
        networks.append(TrainedNetwork(*(sgd.unflatten(end, shapes) for end in ends)))
    return networks


def _remembered(task: Task, settings: TrainedSettings, index: int) -> Tensor:
    """Return the first and the last weights of one network, float32 (2, P)."""
    about = {**task.training_detail(), "steps": settings.network_steps, "network": index, "version": VERSION}

    def make() -> Tensors:
        task.on_event(Event("early networks", step=index, steps=settings.networks))
        return {"theta": train(task, settings, index)}

    return task.remember("trained", about, make)["theta"]


def train(task: Task, settings: TrainedSettings, index: int) -> Tensor:
    """Train one network; return its first and its last weights, float32 (2, P) on the processor."""
    seed = seeds.spawn(task.seed, "trained", index)
    net = task.network()
    first = net.init(seeds.generator(seed, "first"))
    at = balanced(task, settings.network_steps * RECIPE.batch, seeds.generator(seed, "drawn"))
    last = fit(
        net,
        task.images.pixels()[at].to(task.device),
        task.images.targets()[at].to(task.device),
        replace(RECIPE, steps=settings.network_steps),
        seed=seed,
        mirror=task.images.mirror,
        start=first,
        precision=task.computes_in,  # a processor trains in full
        on_step=lambda step, steps: task.on_event(Event("early networks")),  # a sign of life
    )
    ends = torch.stack([sgd.flatten(first), sgd.flatten(last).cpu()])
    return sgd.finite(ends, "the networks to match under", f"step size {RECIPE.lr:g}")


def balanced(task: Task, most: int, generator: torch.Generator) -> Tensor:
    """Return positions int64 (N,) with equally many images of every class held, `most` in all at most.

    A class smaller than the largest is taken several times, so that a tiny one is seen as often.
    """
    held = classes_held(task.images)
    each = max(1, min(max(map(len, held)), -(-most // len(held))))
    return torch.cat([sample(at, each, generator) for at in held])
