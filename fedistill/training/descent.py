"""One network's steps of SGD in buffers of its own, so that a GPU takes each as one CUDA graph.

What `fit`, the training between matching steps, experts and early networks take on a GPU. On a processor the plain
calls there are as fast; the tests hold both against each other.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from fedistill.models import Network, Params, objective
from fedistill.training.graphs import buffer, repeated

SHAPES = 4
"""Shapes of a batch that a network's graphs are kept for."""

IDLE = 8
"""Networks' buffers, with their graphs, that are kept for the next training of the same kind."""


@dataclass(frozen=True)
class Rule:
    """How a gradient moves the weights: SGD's momentum and weight decay, and FedProx's pull to where it began."""

    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal: float = 0.0


PLAIN = Rule()


class Descent:
    """A network in training.

    Args:
        network: its shape.
        params: where it begins, on the device to train on.
        rule: of the step.
        precision: what its steps are computed in; the weights stay as they are given.
    """

    def __init__(self, network: Network, params: Params, *, rule: Rule = PLAIN, precision: str = "float32") -> None:
        self._network, self._rule, self._precision = lowered(network, precision), rule, precision
        self._last = network.channels_last
        self._device = params[0].device
        self.weights = tuple(buffer(p, channels_last=self._last).requires_grad_() for p in params)
        self.loss = torch.zeros((), dtype=params[0].dtype, device=self._device)
        self._velocity = [torch.zeros_like(w) for w in self.weights] if rule.momentum else []
        self._origin = [w.detach().clone() for w in self.weights] if rule.proximal else []
        self._lr, self._set = torch.zeros_like(self.loss), 0.0
        self._steps: dict[tuple[torch.Size, torch.Size], tuple[Tensor, Tensor, Callable[[], None]]] = {}

    def restart(self, params: Params) -> None:
        """Begin anew with these parameters."""
        with torch.no_grad():
            torch._foreach_copy_(self.weights, params)
            for kept, now in zip(self._origin, self.weights, strict=False):
                kept.copy_(now)
            for each in self._velocity:
                each.zero_()

    def step(self, x: Tensor, y: Tensor, lr: float) -> None:
        """Take one step on images (N, C, H, W) and labels (N,) or (N, L); `loss` is that before the step."""
        images, labels, run = self._for(x, y)
        images.copy_(x)
        labels.copy_(y)
        if lr != self._set:
            self._lr.fill_(lr)
            self._set = lr
        run()

    def current(self) -> Params:
        """Return a copy of the parameters, detached, laid out as PyTorch lays out tensors."""
        return tuple(w.detach().clone(memory_format=torch.contiguous_format) for w in self.weights)

    def _for(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Callable[[], None]]:
        """The buffers of batches of this shape, and the step on them."""
        shape = x.shape, y.shape
        if shape not in self._steps:
            if len(self._steps) == SHAPES:
                self._steps.clear()
            images, labels = buffer(x, channels_last=self._last), buffer(y)
            run = repeated(
                lambda: self._step(images, labels),
                device=self._device,
                precision=self._precision,
                changes=[*self.weights, *self._velocity],
            )
            self._steps[shape] = images, labels, run
        return self._steps[shape]

    def _step(self, images: Tensor, labels: Tensor) -> None:
        weights, rule = list(self.weights), self._rule
        loss = objective(self._network(self.weights, images), labels)
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            self.loss.copy_(loss)
            if rule.proximal:
                apart = torch._foreach_sub(weights, self._origin)
                torch._foreach_add_(gradients, apart, alpha=rule.proximal)
            if rule.weight_decay:
                torch._foreach_add_(gradients, weights, alpha=rule.weight_decay)
            if rule.momentum:
                torch._foreach_mul_(self._velocity, rule.momentum)
                torch._foreach_add_(self._velocity, gradients)
            moved = torch._foreach_mul(self._velocity if rule.momentum else gradients, self._lr)
            torch._foreach_sub_(weights, moved)


@contextmanager
def borrowed(network: Network, params: Params, *, rule: Rule, precision: str) -> Iterator[Descent]:
    """Give a network's descent from these parameters, with the graphs of an earlier one of the same kind where one is
    idle: the next of several evaluation networks records nothing.
    """
    key = network, rule, precision, params[0].device, params[0].dtype
    descent = _idle.pop(key, None)
    if descent is None:
        descent = Descent(network, params, rule=rule, precision=precision)
    else:
        descent.restart(params)
    yield descent
    _idle[key] = descent
    while len(_idle) > IDLE:
        _idle.popitem(last=False)


_idle: OrderedDict[tuple[object, ...], Descent] = OrderedDict()


def lowered(network: Network, precision: str) -> Callable[[Params, Tensor], Tensor]:
    """Return the network as it computes in a precision: in bfloat16 its parameters and images are rounded on the way
    in, and logits come back, as gradients do, in the parameters' own type.
    """
    if precision != "bfloat16":
        return network
    low = torch.bfloat16
    return lambda params, x: network(tuple(p.to(low) for p in params), x.to(low)).to(params[0].dtype)
