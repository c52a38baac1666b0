"""Gradient matching of all groups (a class the site holds, or a cluster of one) under one network in training.

On a processor group after group, as it is written; on a GPU the same calls as one CUDA graph for all groups.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from fedistill.methods.engine.matching import match, real_gradient
from fedistill.methods.engine.method import Task
from fedistill.methods.engine.sgd import Training
from fedistill.methods.engine.start import Start, sample
from fedistill.methods.engine.views import RealSide, SideSource, Views
from fedistill.models import Network, Params
from fedistill.training import augment, graphs
from fedistill.training.augment import Draw
from fedistill.training.graphs import abreast, buffer, repeated

MEMORY = 8 * 2**30
"""Bytes that the activations of all real images that are in the network at one time may take on a GPU."""

MOST = 8
"""Groups at one time on a GPU."""

KEPT = 5
"""Numbers in memory at the peak for each that a convolution puts out: what the backward pass needs, and gradients."""


class Matching(Protocol):
    """The real images of each group, and the network that they are matched under."""

    trained: Training

    def begin(self, params: Params) -> None:
        """Go on with this network."""

    def gradient(
        self, images: Tensor, labels: Tensor, draws: Sequence[Draw | None], source: SideSource
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of the groups' distances (), and its gradient in the images (N, C, H, W).

        Args:
            images: the synthetic ones, (N, C, H, W), group after group.
            labels: theirs.
            draws: the augmentation of each group's real and synthetic images, or None.
            source: of the real batches; the network and the draws are a view's where it is.
        """


def matching_of(task: Task, first: Start, views: Views, *, batch_real: int, micro_batch: int) -> Matching:
    """Return the matching of a task on its device.

    Args:
        task: gives the real images, the network and the device.
        first: the groups.
        views: keep real gradients, on a processor; a GPU computes them in the graph of their iteration.
        batch_real: real images of a group in a batch.
        micro_batch: of these in one piece, on a processor.
    """
    if graphs.used_on(task.device):
        return _GroupsInOneGraph(task, first, batch_real)
    return _OneByOne(task, first, views, batch_real, micro_batch)


class _OneByOne:
    """A group with fewer images than a batch is taken whole."""

    def __init__(self, task: Task, first: Start, views: Views, batch_real: int, micro_batch: int) -> None:
        self._net, self._dtype, self._views = task.network(), task.dtype, views
        self._held, self._groups = first.held, first.groups
        self._real, self._targets = task.images.pixels(), task.images.targets()
        self._batch, self._piece = batch_real, micro_batch
        self.trained = Training(self._net, self._net.init(torch.Generator()), task.computes_in)

    def begin(self, params: Params) -> None:
        self.trained.restart(params)

    def gradient(
        self, images: Tensor, labels: Tensor, draws: Sequence[Draw | None], source: SideSource
    ) -> tuple[Tensor, Tensor]:
        params, total, gradient = self.trained.params, torch.zeros(()), torch.empty_like(images)
        side = self._views.real_side(source, lambda: self._real_side(draws, source.generator))
        for own, draw, wanted in zip(self._groups, draws, side, strict=True):
            away, gradient[own] = match(
                self._net, params, images[own], labels[own], wanted, draw=draw, precision=self._dtype
            )
            total = total + away
        return total, gradient

    def _real_side(self, draws: Sequence[Draw | None], generator: torch.Generator) -> RealSide:
        side = []
        for at, draw in zip(self._held, draws, strict=True):
            batch = at[torch.randperm(len(at), generator=generator)[: self._batch]]
            x = self._real[batch] if draw is None else augment.apply(self._real[batch], draw)
            params, y = self.trained.params, self._targets[batch]
            side.append(real_gradient(self._net, params, x, y, micro_batch=self._piece, precision=self._dtype))
        return side


class _GroupsInOneGraph:
    """The form that GPUs take. A group with fewer images than a batch is filled up by taking them again."""

    def __init__(self, task: Task, first: Start, batch_real: int) -> None:
        self._net, self._dtype = task.network(), task.dtype
        self._held, self._batch = first.held, batch_real
        params = [p.to(task.device) for p in self._net.init(torch.Generator())]
        self.trained = Training(self._net, params, task.computes_in)
        self._groups = RecordedGroups(task, first, batch_real, self._match)

    def begin(self, params: Params) -> None:
        self.trained.restart(params)

    def gradient(
        self, images: Tensor, labels: Tensor, draws: Sequence[Draw | None], source: SideSource
    ) -> tuple[Tensor, Tensor]:
        batches = [sample(at, self._batch, source.generator) for at in self._held]
        return self._groups.gradient(images, labels, batches, draws)

    def _match(self, x: Tensor, y: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        params = self.trained.params
        piece = max(1, min(len(x), MEMORY // bytes_of(self._net, 1)))
        wanted = real_gradient(self._net, params, x, y, micro_batch=piece, precision=self._dtype)
        return match(self._net, params, images, labels, wanted, precision=self._dtype)


class RecordedGroups:
    """Each group's distance and its gradient, all of them as one CUDA graph, several at one time.

    Augmentations differ from call to call: they are applied before, and walked back through after the graph.

    Args:
        task: gives the real images, device and precision.
        first: the groups.
        batch_real: real images of a group in a batch.
        match: ``match(x, y, images, labels)`` of one group's real and synthetic images gives the distance (), and its
            gradient in the synthetic ones. What else it reads stands in buffers.
    """

    def __init__(
        self,
        task: Task,
        first: Start,
        batch_real: int,
        match: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> None:
        device, net = torch.device(task.device), task.network()
        self._device, self._slices, self._batch, self._match = device, first.groups, batch_real, match
        self._real, self._targets = task.images.pixels().to(device), task.images.targets().to(device)
        some = torch.cat(first.held)[:1].repeat(len(first.held) * batch_real).to(device)
        last = net.channels_last
        self._x, self._y = buffer(self._real[some], channels_last=last), buffer(self._targets[some])
        self._seen = buffer(first.images.to(device), channels_last=last)
        self._labels = buffer(first.labels.to(device))
        self._away, self._by_seen = torch.zeros(len(first.groups), device=device), torch.zeros_like(self._seen)
        several = abreast(
            [partial(self._one, number) for number in range(len(first.groups))],
            device=device,
            most=max(1, min(MOST, MEMORY // bytes_of(net, batch_real))),
        )
        self._run = repeated(several, device=device, precision=task.computes_in)

    def gradient(
        self, images: Tensor, labels: Tensor, batches: Sequence[Tensor], draws: Sequence[Draw | None]
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of the distances (), and its gradient in the images (N, C, H, W).

        Args:
            images: the synthetic ones, (N, C, H, W), group after group.
            labels: theirs.
            batches: positions of each group's real images, `batch_real` of them.
            draws: the augmentation of each group's real and synthetic images; or None of each.
        """
        at = torch.cat(list(batches)).to(self._device)
        drawn = [draw for draw in draws if draw is not None]
        real, shown = self._real[at], images.detach().requires_grad_()
        self._x.copy_(augment.apply_each(real, drawn) if drawn else real)
        self._y.copy_(self._targets[at])
        seen = augment.apply_each(shown, drawn) if drawn else shown
        self._seen.copy_(seen.detach())
        self._labels.copy_(labels)
        self._run()
        by_images = self._by_seen
        if seen is not shown:
            [by_images] = torch.autograd.grad(seen, shown, self._by_seen)
        return self._away.sum(), by_images.clone(memory_format=torch.contiguous_format)

    def _one(self, number: int) -> None:
        own, real = self._slices[number], slice(number * self._batch, (number + 1) * self._batch)
        away, gradient = self._match(self._x[real], self._y[real], self._seen[own], self._labels[own])
        self._away[number].copy_(away)
        self._by_seen[own].copy_(gradient)


def bytes_of(net: Network, images: int) -> int:
    """Return the bytes that so many images in a network take at the peak."""
    return KEPT * 4 * net.activations * images
