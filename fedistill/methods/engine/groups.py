"""Gradient matching of all groups (a class the site holds, or a cluster of one) under one network in training.

On a processor group after group, as it is written; on a GPU the same calls as one CUDA graph for all groups.
"""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from fedistill.methods.engine.matching import match, real_gradient
from fedistill.methods.engine.method import Task
from fedistill.methods.engine.sgd import Training
from fedistill.methods.engine.start import Start, sample
from fedistill.models import Params
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
        self, images: Tensor, labels: Tensor, draws: Sequence[Draw | None], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of the groups' distances (), and its gradient in the images (N, C, H, W).

        Args:
            images, labels: the synthetic ones, group after group.
            draws: the augmentation of each group's real and synthetic images, or None.
            generator: of the real batches.
        """


def matching_of(task: Task, first: Start, *, batch_real: int, micro_batch: int) -> Matching:
    """Return the matching of a task on its device.

    Args:
        first: the groups.
        batch_real: real images of a group in a batch.
        micro_batch: of these in one piece, on a processor.
    """
    if graphs.used_on(task.device):
        return _Recorded(task, first, batch_real)
    return _OneByOne(task, first, batch_real, micro_batch)


class _OneByOne:
    """A group with fewer images than a batch is taken whole."""

    def __init__(self, task: Task, first: Start, batch_real: int, micro_batch: int) -> None:
        self._net, self._dtype = task.network(), task.dtype
        self._held, self._groups = first.held, first.groups
        self._real, self._targets = task.images.pixels(), task.images.targets()
        self._batch, self._piece = batch_real, micro_batch
        self.trained = Training(self._net, self._net.init(torch.Generator()), task.computes_in)

    def begin(self, params: Params) -> None:
        self.trained.restart(params)

    def gradient(
        self, images: Tensor, labels: Tensor, draws: Sequence[Draw | None], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        params, total, gradient = self.trained.params, torch.zeros(()), torch.empty_like(images)
        for at, own, draw in zip(self._held, self._groups, draws, strict=True):
            batch = at[torch.randperm(len(at), generator=generator)[: self._batch]]
            x = self._real[batch] if draw is None else augment.apply(self._real[batch], draw)
            wanted = real_gradient(
                self._net, params, x, self._targets[batch], micro_batch=self._piece, precision=self._dtype
            )
            away, gradient[own] = match(
                self._net, params, images[own], labels[own], wanted, draw=draw, precision=self._dtype
            )
            total = total + away
        return total, gradient


class _Recorded:
    """The form that GPUs take. A group with fewer images than a batch is filled up by taking them again.

    Augmentations differ from call to call: they are applied before, and walked back through after the graph.
    """

    def __init__(self, task: Task, first: Start, batch_real: int) -> None:
        self._net, self._dtype, self._precision = task.network(), task.dtype, task.computes_in
        self._held, self._groups, self._batch = first.held, first.groups, batch_real
        self._device = torch.device(task.device)
        self._real, self._targets = task.images.pixels().to(self._device), task.images.targets().to(self._device)
        some = torch.cat(first.held)[:1].repeat(len(first.held) * batch_real).to(self._device)
        last = self._net.channels_last
        self._x, self._y = buffer(self._real[some], channels_last=last), buffer(self._targets[some])
        self._seen = buffer(first.images.to(self._device), channels_last=last)
        self._labels = buffer(first.labels.to(self._device))
        self._away, self._by_seen = torch.zeros(len(first.groups), device=self._device), torch.zeros_like(self._seen)
        params = [p.to(self._device) for p in self._net.init(torch.Generator())]
        self.trained = Training(self._net, params, self._precision)
        # Groups at one time: what their real images take in memory.
        whole = KEPT * 4 * self._net.activations * batch_real
        self._piece = max(1, min(batch_real, batch_real * MEMORY // whole))
        several = abreast(
            [partial(self._match, number) for number in range(len(first.groups))],
            device=self._device,
            most=max(1, min(MOST, MEMORY // whole)),
        )
        self._run = repeated(several, device=self._device, precision=self._precision)

    def begin(self, params: Params) -> None:
        self.trained.restart(params)

    def gradient(
        self, images: Tensor, labels: Tensor, draws: Sequence[Draw | None], generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        at = torch.cat([sample(at, self._batch, generator) for at in self._held]).to(self._device)
        self._x.copy_(_augmented(self._real[at], draws))
        self._y.copy_(self._targets[at])
        shown = images.detach().requires_grad_()
        seen = _augmented(shown, draws)
        self._seen.copy_(seen.detach())
        self._labels.copy_(labels)
        self._run()
        by_images = self._by_seen
        if seen is not shown:
            [by_images] = torch.autograd.grad(seen, shown, self._by_seen)
        return self._away.sum(), by_images.clone(memory_format=torch.contiguous_format)

    def _match(self, number: int) -> None:
        """Match one group."""
        params, own = self.trained.params, self._groups[number]
        real = slice(number * self._batch, (number + 1) * self._batch)
        wanted = real_gradient(
            self._net, params, self._x[real], self._y[real], micro_batch=self._piece, precision=self._dtype
        )
        away, gradient = match(self._net, params, self._seen[own], self._labels[own], wanted, precision=self._dtype)
        self._away[number].copy_(away)
        self._by_seen[own].copy_(gradient)


def _augmented(x: Tensor, draws: Sequence[Draw | None]) -> Tensor:
    """Images (G x N, C, H, W), each group's through its own draw; x itself where there is none."""
    if all(draw is None for draw in draws):
        return x
    groups = x.split(len(x) // len(draws))
    return torch.cat([g if draw is None else augment.apply(g, draw) for g, draw in zip(groups, draws, strict=True)])
