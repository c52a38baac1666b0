"""SGD of one or a few networks in buffers of their own, so that a GPU takes each step as one CUDA graph.

What `fit`, the training between matching steps, experts and early networks take on a GPU. On a processor the plain
calls there are as fast; the tests hold both against each other.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fedistill.models import Network, Params, objective
from fedistill.training.graphs import abreast, buffer, repeated

ALIGNED = 32
"""Numbers to whose multiples a parameter's place in the vector is rounded up: cuDNN's and cuBLAS's fast kernels take no
tensor that begins elsewhere than at 16 bytes' multiples. (The second of four networks was 1.3 times slower so.)"""

SHAPES = 4
"""Shapes of a batch that graphs are kept for."""

IDLE = 8
"""Descents, with their graphs, that are kept for the next training of the same kind."""


@dataclass(frozen=True)
class Rule:
    """The update rule: SGD's momentum and weight decay, and FedProx's pull to where it began (arXiv 1812.06127)."""

    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal: float = 0.0


PLAIN = Rule()


class Layout:
    """Parameters as one vector, which an update takes in one operation, and as views of it.

    Args:
        like: the parameters.
        channels_last: whether kernels of convolutions have their channels last.
    """

    def __init__(self, like: Params, *, channels_last: bool) -> None:
        self._shapes = [p.shape for p in like]
        self._last = [channels_last and p.ndim == 4 for p in like]
        self._gaps = [-p.numel() % ALIGNED for p in like]
        self.size = sum(p.numel() for p in like) + sum(self._gaps)
        self._gap = torch.zeros(ALIGNED, dtype=like[0].dtype, device=like[0].device)

    def vector(self, params: Sequence[Tensor]) -> Tensor:
        """Return a new vector (size,) of these parameters, with zeros in the gaps between them."""
        parts = []
        for p, last, gap in zip(params, self._last, self._gaps, strict=True):
            parts.append((p.permute(0, 2, 3, 1) if last else p).reshape(-1))
            if gap:
                parts.append(self._gap[:gap])
        return torch.cat(parts)

    def views(self, vector: Tensor) -> Params:
        """Return the parameters that a vector (size,) holds, sharing its memory."""
        views, start = [], 0
        for shape, last, gap in zip(self._shapes, self._last, self._gaps, strict=True):
            part = vector[start : start + shape.numel()]
            start += shape.numel() + gap
            if last:
                outgoing, incoming, height, width = shape
                views.append(part.view(outgoing, height, width, incoming).permute(0, 3, 1, 2))
            else:
                views.append(part.view(shape))
        return tuple(views)


class Descent:
    """K networks of one shape in training, each on images of its own; on a GPU they take a step at one time.

    Args:
        network: their shape.
        params: where each begins, on the device to train on.
        rule: of the step.
        precision: what its steps are computed in; the weights stay as they are given.
        soft: whether labels are probabilities of classes.
    """

    def __init__(
        self,
        network: Network,
        params: Sequence[Params],
        *,
        rule: Rule = PLAIN,
        precision: str = "float32",
        soft: bool = False,
    ) -> None:
        self._soft = soft
        self._network, self._rule, self._precision = lowered(network, precision), rule, precision
        first = params[0][0]
        self._device, self._last = first.device, network.channels_last and first.device.type == "cuda"
        self.layout = Layout(params[0], channels_last=self._last)
        self.vectors = torch.stack([self.layout.vector(each) for each in params])
        self.weights = [tuple(w.requires_grad_() for w in self.layout.views(v)) for v in self.vectors]
        self.loss = torch.zeros(len(params), dtype=first.dtype, device=self._device)
        self._gradients = torch.zeros_like(self.vectors)
        self._velocity = torch.zeros_like(self.vectors) if rule.momentum else None
        self._origin = self.vectors.clone() if rule.proximal else None
        self._minus_lr, self._lr = torch.zeros((), dtype=first.dtype, device=self._device), 0.0
        self._steps: dict[tuple[torch.Size, torch.Size], tuple[Tensor, Tensor, Callable[[], None]]] = {}

    def restart(self, params: Sequence[Params]) -> None:
        """Begin anew with these parameters."""
        for vector, each in zip(self.vectors, params, strict=True):
            vector.copy_(self.layout.vector(each))
        if self._velocity is not None:
            self._velocity.zero_()
        if self._origin is not None:
            self._origin.copy_(self.vectors)

    def step(self, x: Tensor, y: Tensor, lr: float) -> None:
        """Take one step on images (K, N, C, H, W) and labels (K, N) or (K, N, L); `loss` (K,) is that before it."""
        images, labels, run = self._for(x, y)
        images.copy_(x)
        labels.copy_(y)
        if lr != self._lr:
            self._minus_lr.fill_(-lr)
            self._lr = lr
        run()

    def current(self) -> list[Params]:
        """Return copies of the parameters, detached, laid out as PyTorch lays out tensors."""
        return [tuple(w.detach().clone(memory_format=torch.contiguous_format) for w in each) for each in self.weights]

    def _for(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Callable[[], None]]:
        """Return the buffers of batches of this shape, and the step on them."""
        shape = x.shape, y.shape
        if shape not in self._steps:
            if len(self._steps) == SHAPES:
                self._steps.clear()
            images = buffer(x.flatten(0, 1), channels_last=self._last).unflatten(0, x.shape[:2])
            labels = buffer(y)
            several = abreast(
                [partial(self._differentiate, k, images[k], labels[k]) for k in range(len(x))], device=self._device
            )

            def body() -> None:
                several()
                self._move()

            changes = [self.vectors] if self._velocity is None else [self.vectors, self._velocity]
            run = repeated(body, device=self._device, precision=self._precision, changes=changes)
            self._steps[shape] = images, labels, run
        return self._steps[shape]

    def _differentiate(self, k: int, images: Tensor, labels: Tensor) -> None:
        """Put one network's loss and gradient in place."""
        weights = self.weights[k]
        loss = objective(self._network(weights, images), labels, soft=self._soft)
        gradients = torch.autograd.grad(loss, weights)
        self.loss[k].copy_(loss.detach())
        self._gradients[k].copy_(self.layout.vector(gradients))

    def _move(self) -> None:
        by, rule = self._gradients, self._rule
        if self._origin is not None:
            by.add_(self.vectors - self._origin, alpha=rule.proximal)
        if rule.weight_decay:
            by.add_(self.vectors, alpha=rule.weight_decay)
        if self._velocity is not None:
            by = self._velocity.mul_(rule.momentum).add_(by)
        self.vectors.addcmul_(by, self._minus_lr)


@contextmanager
def borrowed(
    network: Network, params: Sequence[Params], *, rule: Rule, precision: str, soft: bool = False
) -> Iterator[Descent]:
    """Lend the descent of networks from these parameters.

    It has the graphs of an earlier descent of the same kind where one is idle, so the next of several evaluation
    networks records nothing.
    """
    key = network, len(params), rule, precision, soft, params[0][0].device, params[0][0].dtype
    descent = _idle.pop(key, None)
    if descent is None:
        descent = Descent(network, params, rule=rule, precision=precision, soft=soft)
    else:
        descent.restart(params)
    yield descent
    _idle[key] = descent
    while len(_idle) > IDLE:
        _idle.popitem(last=False)


_idle: OrderedDict[tuple[object, ...], Descent] = OrderedDict()


def forget() -> None:
    """Give up the descents that are kept for the next training, and with them their graphs and buffers."""
    _idle.clear()


def lowered(network: Network, precision: str) -> Callable[[Params, Tensor], Tensor]:
    """Return the network as it computes in a precision.

    In bfloat16 its parameters and images are rounded on the way in; logits come back, as gradients do, in the
    parameters' own type.
    """
    if precision != "bfloat16":
        return network
    low = torch.bfloat16
    return lambda params, x: network(tuple(p.to(low) for p in params), x.to(low)).to(params[0].dtype)
