"""The multilayer perceptron of the dataset-distillation papers' cross-architecture tables (DC, arXiv 2006.05929).

Three linear layers with ReLU between them, on the image's pixels one after another; no norm.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fedistill.models.network import Params
from fedistill.models.parts import Listed, Part, layer, scaled


@dataclass(frozen=True)
class MLP(Listed):
    """An MLP's shape.

    Args:
        channels: of the images, 1 or 3.
        classes: number of outputs.
        size: height and width of the images in pixels.
        width: of both hidden layers; the published 128 at width 128.

    >>> import torch
    >>> net = MLP(channels=1, classes=10, size=28, width=128)
    >>> sum(p.numel() for p in net.init(torch.Generator()))
    118282
    """

    channels: int
    classes: int
    size: int
    width: int = 128

    @property
    def hidden(self) -> int:
        """Return the length of a hidden layer."""
        return scaled(128, self.width)

    @property
    def activations(self) -> int:
        """Return how many numbers the hidden layers put out for one image, plus the image's own, which are the most."""
        return self.channels * self.size**2 + 2 * self.hidden

    @property
    def parts(self) -> tuple[Part, ...]:
        """List two hidden layers and the output layer."""
        return (
            *layer("hidden0", self.hidden, self.channels * self.size**2),
            *layer("hidden1", self.hidden, self.hidden),
            *layer("linear", self.classes, self.hidden),
        )

    def embed(self, params: Params, x: Tensor) -> Tensor:
        """Return the features before the last layer: (N, C, H, W) -> (N, hidden)."""
        x = F.relu(F.linear(x.flatten(1), params[0], params[1]))
        return F.relu(F.linear(x, params[2], params[3]))
