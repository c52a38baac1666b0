"""DC and DSA: gradient matching, without and with augmentations.

DC: Zhao, Mopuri & Bilen, *Dataset Condensation with Gradient Matching*, ICLR 2021 (arXiv 2006.05929). DSA: Zhao &
Bilen, ICML 2021 (arXiv 2102.08259).

For each of many fresh random networks: the gradient that a class's real images give its weights is compared with the
one its synthetic images give, the synthetic images take one step towards making the two point the same way, and the
network is trained on the synthetic images a little, so that later weights of its training are matched as well. DSA
shows the real and the synthetic images of a class through one and the same randomly drawn augmentation.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.events import Event
from fedistill.core.ranges import Count, NonNegativeFloat, NonNegativeInt, PositiveFloat
from fedistill.methods.engine import sgd
from fedistill.methods.engine.clusters import ClusterSettings
from fedistill.methods.engine.early import EarlySettings, networks
from fedistill.methods.engine.groups import matching_of
from fedistill.methods.engine.loop import Advance, State, SteadySettings, steadily
from fedistill.methods.engine.method import SyntheticSet, Task
from fedistill.methods.engine.start import PackSettings, StartFrom, start
from fedistill.methods.engine.views import SideSource, Views, ViewSettings
from fedistill.training import augment
from fedistill.training.packing import pulled_back, shown

# ipc: (outer, inner), as published; between two budgets both are interpolated linearly, outside they stay at the end.
SCHEDULE = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


@dataclass(frozen=True)
class DCSettings(PackSettings, ClusterSettings, EarlySettings, ViewSettings, SteadySettings):
    """Settings of DC and DSA, named as in their papers.

    Beside them those of `SteadySettings`, `EarlySettings`, `ViewSettings`, `ClusterSettings` and `PackSettings`.

    Args:
        iterations: networks matched on, fresh ones unless ``early_networks`` says otherwise.
        outer: matching steps per network; None takes the published number for the budget.
        inner: epochs of training on the synthetic images between two of them; None likewise.
        batch_real: real images of a class a gradient is taken over.
        lr_img, momentum_img: of the SGD on the images.
        lr_net: of the SGD on the networks.
        start: one of `fedistill.methods.engine.start.STARTS`; ``real`` gives patients' images away.
        batch_train: synthetic images in one step of training a network.
        micro_batch: real images in one piece of a real gradient on a processor: the mean's gradient is the mean of the
            pieces' gradients, and pieces bound the memory.
    """

    outer: Count | None = None
    inner: NonNegativeInt | None = None
    batch_real: Count = 256
    lr_img: PositiveFloat = 0.1
    lr_net: PositiveFloat = 0.01
    start: StartFrom = "noise"
    momentum_img: NonNegativeFloat = 0.5
    batch_train: Count = 256
    micro_batch: Count = 32


def schedule(ipc: int) -> tuple[int, int]:
    """Return (outer, inner) for any budget, between the published budgets by interpolation.

    >>> schedule(1), schedule(15), schedule(50), schedule(100)
    ((1, 1), (15, 38), (50, 10), (50, 10))
    """
    known = list(SCHEDULE)
    outer, inner = (np.interp(ipc, known, column) for column in zip(*SCHEDULE.values(), strict=True))
    return round(float(outer)), round(float(inner))


def dc(task: Task, settings: DCSettings) -> SyntheticSet:
    """Distil images whose gradients point where the real ones' do (DC, arXiv 2006.05929).

    Raises:
        RunError: the images do not stay finite numbers.
    """
    return _distil(task, settings, "dc", siamese=False)


def dsa(task: Task, settings: DCSettings) -> SyntheticSet:
    """Distil images whose gradients point where the real ones' do, through one augmentation (DSA, arXiv 2102.08259).

    Raises:
        RunError: the images do not stay finite numbers.
    """
    return _distil(task, settings, "dsa", siamese=True)


def _distil(task: Task, settings: DCSettings, name: str, *, siamese: bool) -> SyntheticSet:
    ipc = task.budget
    table_outer, table_inner = schedule(ipc)
    outer = table_outer if settings.outer is None else settings.outer
    inner = table_inner if settings.inner is None else settings.inner
    size, mirror, pack = task.images.size, task.images.mirror, settings.pack
    first = start(task, settings.start, seeds.generator(task.seed, name, ipc, "start"), settings, pack=pack)
    images, labels, groups = first.images.to(task.device), first.labels.to(task.device), first.groups
    matched = first.shown(pack)
    matched_labels = matched.labels.to(task.device)
    network = networks(task, settings)
    views = Views(task, name, settings.views)
    matching = matching_of(task, matched, views, batch_real=settings.batch_real, micro_batch=settings.micro_batch)

    def advance(state: State, pace: float, generator: torch.Generator) -> Advance:
        def augmented(x: Tensor) -> Tensor:
            return augment.apply(x, augment.draw(generator, len(x), size=size, mirror=mirror))

        images, velocity = state.images, state.velocity
        source = views.next(generator)
        matching.begin(network(source.generator))
        total = torch.zeros((), device=images.device)
        for j in range(outer):
            draws = [
                augment.draw(source.generator, 1, size=size, mirror=mirror, shared=True) if siamese else None
                for _ in groups
            ]
            away, gradient = matching.gradient(shown(images, pack), matched_labels, draws, source)
            # What follows is under a network that the synthetic images have moved: no view's.
            source = SideSource(generator)
            total = total + away
            # The velocity is kept across networks, as published.
            velocity = settings.momentum_img * velocity + pulled_back(gradient, pack)
            images = images - pace * settings.lr_img * velocity
            if j < outer - 1:
                task.on_event(Event("distilling", method=name, ipc=ipc))  # a sign of life
                sgd.epochs(
                    partial(matching.trained.step, lr=settings.lr_net),
                    shown(images, pack),
                    matched_labels,
                    n=inner,
                    batch=settings.batch_train,
                    generator=generator,
                    view=augmented if siamese else None,
                )
        loss = float(total) / (outer * len(groups))
        return Advance(State(images, velocity), loss, f"matching loss {loss:.2f}")

    begun = State(images, torch.zeros_like(images))
    return steadily(task, name, settings, labels, begun, advance, pack=pack)
