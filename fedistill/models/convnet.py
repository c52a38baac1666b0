"""ConvNet, the network of the dataset-distillation papers (Gidaris & Komodakis 2018; Zhao et al., arXiv 2006.05929).

Blocks of conv3x3 - instance norm - ReLU - average pool 2, then one linear layer. Written as a pure function of its
parameters, because distillation differentiates through the parameters themselves.
"""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.models import fused
from fedistill.models.convolution import convolution
from fedistill.models.network import Params
from fedistill.models.parts import Listed, Part, instance_norm, layer, norm

# Depth by image size: the last feature map is about 4 x 4 at 28 pixels.
DEPTHS = {28: 3, 32: 3, 64: 4, 128: 5, 224: 6}


@dataclass(frozen=True)
class ConvNet(Listed):
    """A ConvNet's shape; its parameters are handed in, a tuple in the order of `names`.

    Args:
        channels: of the images, 1 or 3.
        classes: number of outputs.
        size: height and width of the images in pixels; 28 is padded to 32 in the first convolution.
        width: channels of every block (128 in the papers).
        depth: number of blocks.

    >>> net = ConvNet(channels=1, classes=2, size=28, width=128, depth=3)
    >>> params = net.init(torch.Generator().manual_seed(0))
    >>> net(params, torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 2])
    >>> sum(p.numel() for p in params)
    301314
    """

    channels: int
    classes: int
    size: int
    width: int = 128
    depth: int = 3

    channels_last: ClassVar[bool] = True

    @property
    def padding(self) -> int:
        """Return the first convolution's padding in pixels: 28 pixels become 32, which three poolings halve evenly."""
        return 3 if self.size == 28 else 1

    @property
    def features(self) -> int:
        """Return the length of the embedding before the linear layer."""
        side = self.size + 2 * (self.padding - 1)
        return self.width * (side >> self.depth) ** 2

    @property
    def activations(self) -> int:
        """Return how many numbers the convolutions put out for one image: memory limits follow from it."""
        side = self.size + 2 * (self.padding - 1)
        return self.width * sum((side >> i) ** 2 for i in range(self.depth))

    @property
    def parts(self) -> tuple[Part, ...]:
        """List each block's convolution and norm, then the linear layer."""
        parts, incoming = [], self.channels
        for i in range(self.depth):
            parts += layer(f"block{i}.conv", self.width, incoming, 3, 3) + norm(f"block{i}.norm", self.width)
            incoming = self.width
        return (*parts, *layer("linear", self.classes, self.features))

    def embed(self, params: Params, x: Tensor) -> Tensor:
        """Return the features before the linear layer: (N, C, H, W) -> (N, features)."""
        return self._blocks(params, x)[-1].flatten(1)

    def maps(self, params: Params, x: Tensor) -> list[Tensor]:
        """Return the map (N, C, H, W) after each block, the last one flattened to (N, features)."""
        *maps, last = self._blocks(params, x)
        return [*maps, last.flatten(1)]

    def _blocks(self, params: Params, x: Tensor) -> list[Tensor]:
        """Return the map after each block."""
        padding, maps = self.padding, []
        for i in range(self.depth):
            weight, bias, gain, shift = params[4 * i : 4 * i + 4]
            height, width = (side + 2 * (padding - 1) for side in x.shape[2:])
            if fused.available(x, height, width):
                x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
                x = fused.norm_relu_pool(convolution(x, weight, padding), bias, gain, shift)
            else:
                x = F.conv2d(x, weight, bias, padding=padding)
                x = halve(F.relu(instance_norm(x, gain, shift)))
            padding = 1
            maps.append(x)
        return maps


def halve(x: Tensor) -> Tensor:
    """Average pooling by 2: (N, C, H, W) -> (N, C, H/2, W/2).

    On a processor PyTorch's pooling of contiguous images takes, forward and backward, a sixth of a step at width 128 in
    float32 and a third in bfloat16. As a product of pairs of rows with a sparse matrix it takes a quarter of that time
    in float32, a tenth in bfloat16.

    >>> halve(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])).item()
    4.0
    """
    n, c, h, w = x.shape
    if x.device.type != "cpu" or h % 2 or w % 2:
        return F.avg_pool2d(x, 2)
    return F.linear(x.reshape(-1, 2 * w), _pairs(w, x.dtype)).view(n, c, h // 2, w // 2)


@cache
def _pairs(width: int, dtype: torch.dtype) -> Tensor:
    """Return the matrix (width/2, 2 width) that averages the squares of two rows laid end to end."""
    column = torch.arange(2 * width) % width // 2
    return (column == torch.arange(width // 2)[:, None]).to(dtype) / 4


def convnet(*, channels: int, classes: int, size: int, width: int = 128) -> ConvNet:
    """Build the ConvNet for images of this size, with the depth that the papers use there."""
    # Another size: pool until the last feature map is 4 to 7 pixels wide.
    depth = DEPTHS.get(size, max(1, (size // 4).bit_length() - 1))
    return ConvNet(channels=channels, classes=classes, size=size, width=width, depth=depth)
