"""VGG11 (Simonyan & Zisserman, *Very Deep Convolutional Networks*, ICLR 2015, arXiv 1409.1556, configuration A).

As dataset-distillation papers test what they distilled on a ConvNet: eight conv3x3 with a norm and ReLU after each, one
linear layer where VGG had three, and instance norm, as in the networks published with MTT (arXiv 2203.11932) and GLaD
(arXiv 2305.01649). DC's table (arXiv 2006.05929) had batch norm, which keeps running statistics: state, and private.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fedistill.models.network import Params
from fedistill.models.parts import Listed, Part, instance_norm, layer, norm, scaled

# Channels of each convolution at width 128, and whether the map is halved after it.
CONVOLUTIONS = (
    (64, True),
    (128, True),
    (256, False),
    (256, True),
    (512, False),
    (512, True),
    (512, False),
    (512, True),
)


@dataclass(frozen=True)
class VGG11(Listed):
    """A VGG11's shape.

    Args:
        channels: of the images, 1 or 3.
        classes: number of outputs.
        size: height and width of the images in pixels. 28 is padded to 32 in the first convolution, as in the papers;
            from larger images the last map is larger than a pixel, and averaged.
        width: the published 64 to 512 channels at width 128, in proportion at others.

    >>> import torch
    >>> net = VGG11(channels=3, classes=10, size=32, width=128)
    >>> sum(p.numel() for p in net.init(torch.Generator()))
    9231114
    """

    channels: int
    classes: int
    size: int
    width: int = 128

    @property
    def padding(self) -> int:
        """Return the first convolution's padding in pixels: 28 pixels become 32, which poolings halve evenly."""
        return 3 if self.size == 28 else 1

    @property
    def features(self) -> int:
        """Return the length of the embedding before the linear layer."""
        return scaled(512, self.width)

    @property
    def layout(self) -> tuple[tuple[int, int, bool], ...]:
        """Return each convolution's (channels, height and width of its map, whether the map is halved then).

        Before a further norm a map stays at 2 x 2 pixels or more: in one pixel, instance norm would leave nothing.
        """
        side, layout = self.size + 2 * (self.padding - 1), []
        for i, (channels, halved) in enumerate(CONVOLUTIONS, 1):
            halved = halved and (side >= 4 or i == len(CONVOLUTIONS))
            layout.append((scaled(channels, self.width), side, halved))
            side = side // 2 if halved else side
        return tuple(layout)

    @property
    def activations(self) -> int:
        """Return how many numbers the convolutions put out for one image."""
        return sum(channels * side**2 for channels, side, _ in self.layout)

    @property
    def parts(self) -> tuple[Part, ...]:
        """List each convolution's parameters and norm, then the linear layer's."""
        parts, incoming = [], self.channels
        for i, (channels, _, _) in enumerate(self.layout):
            parts += [*layer(f"conv{i}", channels, incoming, 3, 3), *norm(f"norm{i}", channels)]
            incoming = channels
        return (*parts, *layer("linear", self.classes, self.features))

    def embed(self, params: Params, x: Tensor) -> Tensor:
        """Return the features before the linear layer: (N, C, H, W) -> (N, features)."""
        padding = self.padding
        for i, (_, _, halved) in enumerate(self.layout):
            weight, bias, gain, shift = params[4 * i : 4 * i + 4]
            x = F.relu(instance_norm(F.conv2d(x, weight, bias, padding=padding), gain, shift))
            x = F.max_pool2d(x, 2) if halved else x
            padding = 1
        return x.mean((2, 3))
