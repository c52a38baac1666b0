"""Networks as pure functions of their parameters, by name."""

from collections.abc import Callable

import torch
from torch import Tensor

from fedistill.errors import SettingError, nearest
from fedistill.models.convnet import ConvNet, convnet
from fedistill.models.mlp import MLP
from fedistill.models.network import Network, Params
from fedistill.models.resnet import ResNet18
from fedistill.models.vgg import VGG11
from fedistill.models.vit import ViT, vit_tiny

MODELS: dict[str, Callable[..., Network]] = {
    "convnet": convnet,
    "mlp": MLP,
    "resnet18": ResNet18,
    "vgg11": VGG11,
    "vit-tiny": vit_tiny,
}

__all__ = ["MLP", "MODELS", "VGG11", "ConvNet", "Network", "Params", "ResNet18", "ViT", "build", "objective"]


def build(name: str, *, channels: int, classes: int, size: int, width: int = 128) -> Network:
    """Build the network of this name for images (N, channels, size, size) of this many classes.

    Args:
        name: one of `MODELS`.
        channels: 1 or 3.
        classes: outputs of the network: classes, or labels of a multi-label set.
        size: height and width of the images in pixels.
        width: scales the network's size; 128 is the published one.

    Raises:
        SettingError: the name is unknown.
    """
    if name not in MODELS:
        raise SettingError(f"There is no model {name!r}.", mend=nearest(name, MODELS))
    return MODELS[name](channels=channels, classes=classes, size=size, width=width)


def objective(logits: Tensor, targets: Tensor, *, soft: bool = False) -> Tensor:
    """Return the mean loss of a batch, a tensor ().

    It is the cross-entropy for labels int64 (N,), the binary cross-entropy for several labels an image, float (N, L).
    With ``soft`` the targets are probabilities of classes, float (N, C), and it is the cross-entropy against them.
    """
    if soft or targets.ndim == 1:
        return torch.nn.functional.cross_entropy(logits, targets.to(logits.dtype) if soft else targets)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))
