"""Networks as pure functions of their parameters, by name."""

from collections.abc import Callable

import torch
from torch import Tensor

from fedistill.errors import SettingError, nearest
from fedistill.models.convnet import ConvNet, Params, convnet

Network = ConvNet
"""What `build` returns: `init(generator) -> params`, `net(params, x) -> logits`, `embed(params, x) -> features`, and
`together(params, x) -> logits` of several networks at once."""

MODELS: dict[str, Callable[..., Network]] = {"convnet": convnet}

__all__ = ["MODELS", "ConvNet", "Network", "Params", "build", "objective"]


def build(name: str, *, channels: int, classes: int, size: int, width: int = 128) -> Network:
    """The network of this name for images of (channels, size, size) and this many classes.

    Raises:
        SettingError: the name is unknown.
    """
    if name not in MODELS:
        raise SettingError(f"There is no model {name!r}.", mend=nearest(name, MODELS))
    return MODELS[name](channels=channels, classes=classes, size=size, width=width)


def objective(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of a batch: cross-entropy for labels int64 (N,), binary cross-entropy for float (N, L)."""
    if targets.ndim == 1:
        return torch.nn.functional.cross_entropy(logits, targets)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))
