"""DM: distribution matching.

Zhao & Bilen, *Dataset Condensation with Distribution Matching*, WACV 2023 (arXiv 2110.04181).

Under a fresh random network each time, the mean embedding of a class's synthetic images is brought to that of a batch
of its real ones, both seen through one augmentation. No gradient of a gradient, no training: the lightest method here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.ranges import Count, NonNegativeFloat, PositiveFloat
from fedistill.methods.engine.clusters import ClusterSettings
from fedistill.methods.engine.early import EarlySettings, networks
from fedistill.methods.engine.groups import RecordedGroups
from fedistill.methods.engine.loop import Advance, State, SteadySettings, steadily
from fedistill.methods.engine.method import SyntheticSet, Task
from fedistill.methods.engine.start import PackSettings, Start, StartFrom, sample, start
from fedistill.methods.engine.views import RealSide, Views, ViewSettings
from fedistill.models import Network, Params
from fedistill.training import augment, graphs
from fedistill.training.augment import Draw
from fedistill.training.packing import pulled_back, shown


@dataclass(frozen=True)
class DMSettings(PackSettings, ClusterSettings, EarlySettings, ViewSettings, SteadySettings):
    """Settings of DM, named as in its paper.

    Beside them those of `SteadySettings`, `EarlySettings`, `ViewSettings`, `ClusterSettings` and `PackSettings`.

    Args:
        iterations: networks matched under, one step on the images each.
        batch_real: real images of a class in a step.
        lr_img, momentum_img: of the SGD on the images.
        start: one of `fedistill.methods.engine.start.STARTS`; ``real``, the paper's, gives patients' images away.
        augment: whether both are seen through a drawn augmentation, as published.
    """

    iterations: Count = 20_000
    batch_real: Count = 256
    lr_img: PositiveFloat = 1.0
    start: StartFrom = "noise"
    momentum_img: NonNegativeFloat = 0.5
    augment: bool = True


def mean_embedding(net: Network, params: Params, x: Tensor) -> Tensor:
    """Return the mean embedding (D,) of images (N, C, H, W).

    The network computes in the type of `params`; the mean is taken in that of `x`.
    """
    return net.embed(params, x.to(params[0].dtype)).to(x.dtype).mean(0)


def distance(net: Network, params: Params, x: Tensor, groups: list[slice], means: list[Tensor]) -> Tensor:
    """Return the squared distances of the groups' mean embeddings from these, summed, ().

    Args:
        net: the network; it computes in the type of `params`.
        params: its weights.
        x: synthetic images (N, C, H, W), all in one batch: groups are small, and each start of the network costs.
        groups: where each group's are.
        means: mean embedding (D,) of each group's real images.
    """
    embedded = net.embed(params, x.to(params[0].dtype)).to(x.dtype)
    away = [(embedded[group].mean(0) - mean).square().sum() for group, mean in zip(groups, means, strict=True)]
    return torch.stack(away).sum()


def dm(task: Task, settings: DMSettings) -> SyntheticSet:
    """Distil images whose mean embedding under random networks is the real ones' (DM, arXiv 2110.04181).

    Raises:
        RunError: the images do not stay finite numbers.
    """
    ipc, size, mirror, pack = task.budget, task.images.size, task.images.mirror, settings.pack
    net, real, network = task.network(), task.images.pixels().to(task.device), networks(task, settings)
    first = start(task, settings.start, seeds.generator(task.seed, "dm", ipc, "start"), settings, pack=pack)
    images, labels = first.images.to(task.device), first.labels.to(task.device)
    matched = first.shown(pack)
    matched_labels = matched.labels.to(task.device)

    views = Views(task, "dm", settings.views)
    recorded = _InOneGraph(task, settings, matched) if graphs.used_on(task.device) else None

    def advance(state: State, pace: float, generator: torch.Generator) -> Advance:
        source = views.next(generator)
        params = network(source.generator)
        if recorded is not None:
            seen = shown(state.images, pack)
            total, gradient = recorded.gradient(params, seen, matched_labels, source.generator)
            return moved(state, pace, total, pulled_back(gradient, pack))
        params = tuple(p.to(task.dtype) for p in params)
        batches, draws = drawn(source.generator)
        wanted = views.real_side(source, lambda: real_side(params, batches, draws))
        x = state.images.detach().requires_grad_()
        seen, means = shown(x, pack), [mean for [mean] in wanted]
        # Without views one by one, so that settings of before still give the images of before to the last bit.
        if source.view is None:
            total = torch.zeros((), device=x.device)
            for group, draw, mean in zip(matched.groups, draws, means, strict=True):
                synthetic = seen[group] if draw is None else augment.apply(seen[group], draw)
                total = total + distance(net, params, synthetic, [slice(None)], [mean])
        else:
            total = distance(net, params, augmented(seen, draws), matched.groups, means)
        [gradient] = torch.autograd.grad(total, x)
        return moved(state, pace, total, gradient)

    def drawn(generator: torch.Generator) -> tuple[list[Tensor], list[Draw | None]]:
        """Draw each group's real batch and the augmentation of its real and synthetic images."""
        batches: list[Tensor] = []
        draws: list[Draw | None] = []
        for at in matched.held:
            batches.append(at[torch.randperm(len(at), generator=generator)[: settings.batch_real]])
            draws.append(
                augment.draw(generator, 1, size=size, mirror=mirror, shared=True) if settings.augment else None
            )
        return batches, draws

    def augmented(x: Tensor, draws: list[Draw | None]) -> Tensor:
        return augment.apply_each(x, [draw for draw in draws if draw is not None]) if settings.augment else x

    def real_side(params: Params, batches: list[Tensor], draws: list[Draw | None]) -> RealSide:
        means = []
        for at, draw in zip(batches, draws, strict=True):
            batch = real[at.to(real.device)]
            with torch.no_grad():
                means.append([mean_embedding(net, params, batch if draw is None else augment.apply(batch, draw))])
        return means

    def moved(state: State, pace: float, total: Tensor, gradient: Tensor) -> Advance:
        velocity = settings.momentum_img * state.velocity + gradient
        loss = float(total.detach()) / len(first.groups)
        return Advance(State(state.images - pace * settings.lr_img * velocity, velocity), loss, f"distance {loss:.3g}")

    begun = State(images, torch.zeros_like(images))
    return steadily(task, "dm", settings, labels, begun, advance, pack=pack)


class _InOneGraph:
    """The form that GPUs take. A group with fewer images than a batch is filled up by taking them again."""

    def __init__(self, task: Task, settings: DMSettings, first: Start) -> None:
        self._net, self._settings, self._held = task.network(), settings, first.held
        self._size, self._mirror = task.images.size, task.images.mirror
        params = self._net.init(torch.Generator())
        self._params = tuple(p.to(task.device, task.dtype) for p in params)
        self._groups = RecordedGroups(task, first, settings.batch_real, self._match)

    def gradient(
        self, params: Params, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of the groups' distances under this network, and its gradient in the images."""
        for kept, new in zip(self._params, params, strict=True):
            kept.copy_(new)
        batches: list[Tensor] = []
        draws: list[Draw | None] = []
        for at in self._held:
            batches.append(sample(at, self._settings.batch_real, generator))
            if self._settings.augment:
                draws.append(augment.draw(generator, 1, size=self._size, mirror=self._mirror, shared=True))
            else:
                draws.append(None)
        return self._groups.gradient(images, labels, batches, draws)

    def _match(self, x: Tensor, y: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        synthetic = images.detach().requires_grad_()
        with torch.no_grad():
            wanted = mean_embedding(self._net, self._params, x)
        away = (mean_embedding(self._net, self._params, synthetic) - wanted).square().sum()
        return away.detach(), torch.autograd.grad(away, synthetic)[0]
