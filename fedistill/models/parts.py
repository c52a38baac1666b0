"""A network's parameters as a list: name, shape and first values of each. What all networks share follows from it.

First values are PyTorch's defaults: weights and biases of a convolution or a linear layer uniform(-b, b) with b =
1/sqrt(fan in), norms at identity. Sizes are those published at width 128, the width of the dataset-distillation papers'
ConvNet, and in proportion at others, so that one width makes a simulation's networks all larger or all smaller.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.models.network import Params

Fill = Callable[[Tensor, torch.Generator], Tensor]
"""``fill(empty, generator)`` puts a parameter's first values in place."""


@dataclass(frozen=True)
class Part:
    """A parameter: its name, its shape and how it is filled at the start."""

    name: str
    shape: tuple[int, ...]
    fill: Fill


class Listed(ABC):
    """A network that lists its parameters; the last two are the weight and the bias of a linear layer on `embed`."""

    channels_last: ClassVar[bool] = False

    @property
    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """List the parameters, in order."""

    @abstractmethod
    def embed(self, params: Params, x: Tensor) -> Tensor:
        """Return the features before the linear layer: (N, C, H, W) -> (N, features)."""

    def maps(self, params: Params, x: Tensor) -> list[Tensor]:
        """Return the features at every depth that the network tells apart, the last one as `embed` gives it.

        Returns:
            maps (N, C, H, W) of blocks, where it has any to show, and the features (N, features).
        """
        return [self.embed(params, x)]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the parameters' names, in order."""
        return tuple(part.name for part in self.parts)

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw fresh parameters, on the generator's device."""
        device = generator.device
        return tuple(part.fill(torch.empty(part.shape, dtype=dtype, device=device), generator) for part in self.parts)

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Return the logits: (N, C, H, W) -> (N, classes)."""
        return F.linear(self.embed(params, x), params[-2], params[-1])


def scaled(published: int, width: int) -> int:
    """Scale a published size to this width: itself at 128, in proportion at others, at least 1.

    >>> [scaled(64, width) for width in (128, 32, 5, 1)]
    [64, 16, 3, 1]
    """
    return max(1, (published * width + 64) // 128)


def layer(name: str, outgoing: int, *incoming: int, bias: bool = True) -> list[Part]:
    """List the weight and bias of a convolution or a linear layer, drawn as PyTorch draws them.

    Args:
        name: what their names begin with.
        outgoing: channels or features that come out.
        *incoming: channels, height and width of a convolution's kernel; or a linear layer's features.
        bias: whether there is one.

    >>> [(part.name, part.shape) for part in layer("linear", 10, 512)]
    [('linear.weight', (10, 512)), ('linear.bias', (10,))]
    """
    fan_in = torch.Size(incoming).numel()
    parts = [Part(f"{name}.weight", (outgoing, *incoming), uniform(fan_in**-0.5))]
    return [*parts, Part(f"{name}.bias", (outgoing,), uniform(fan_in**-0.5))] if bias else parts


def norm(name: str, channels: int) -> list[Part]:
    """List the gain (ones) and the shift (zeros) of a normalisation, each (channels,)."""
    return [Part(f"{name}.weight", (channels,), constant(1)), Part(f"{name}.bias", (channels,), constant(0))]


def uniform(bound: float) -> Fill:
    """Return a filler that draws uniformly from (-bound, bound)."""
    return lambda empty, generator: empty.uniform_(-bound, bound, generator=generator)


def normal(deviation: float) -> Fill:
    """Return a filler that draws normally around 0, nothing further out than two standard deviations."""
    return lambda empty, generator: torch.nn.init.trunc_normal_(
        empty, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator
    )


def constant(value: float) -> Fill:
    """Return a filler that puts the same value everywhere."""
    return lambda empty, generator: empty.fill_(value)


def instance_norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Bring each channel of each image to mean 0 and variance 1, then apply gain and shift: (N, C, H, W), (C,), (C,).

    It takes nothing from other images, unlike batch norm. A map of one pixel would become 0, whatever is in it.
    """
    return F.group_norm(x, int(x.shape[1]), gain, shift)  # one group a channel; int, for tracing makes shapes tensors


def layer_norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Bring each token to mean 0 and variance 1 over its features, then apply gain and shift: (..., D), (D,), (D,)."""
    return F.layer_norm(x, [int(n) for n in gain.shape], gain, shift)
