"""ResNet18 (He et al., *Deep Residual Learning for Image Recognition*, CVPR 2016, arXiv 1512.03385).

As dataset-distillation papers test what they distilled on a ConvNet: with instance norm, as in the networks published
with MTT (arXiv 2203.11932) and GLaD (arXiv 2305.01649). DC's table (arXiv 2006.05929) had batch norm, which keeps
running statistics: state, and private.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from fedistill.models.network import Params
from fedistill.models.parts import Listed, Part, instance_norm, layer, norm, scaled

STAGES = (64, 128, 256, 512)
"""Channels of each stage's two blocks at width 128."""


@dataclass(frozen=True)
class Block:
    """Two conv3x3 beside a shortcut, which has a conv1x1 where the shape changes.

    Args:
        name: in front of its parameters' names.
        incoming, outgoing: channels.
        side: height and width of the map it puts out.
        stride: 2 where it halves the map.
    """

    name: str
    incoming: int
    outgoing: int
    side: int
    stride: int

    @property
    def projects(self) -> bool:
        """Return whether the shortcut needs a convolution: the block changes the map's size or channels."""
        return self.stride > 1 or self.incoming != self.outgoing

    @property
    def parts(self) -> list[Part]:
        """List the block's parameters: two convolutions with norms, and the shortcut's where it has any."""
        parts = [
            *layer(f"{self.name}.conv0", self.outgoing, self.incoming, 3, 3, bias=False),
            *norm(f"{self.name}.norm0", self.outgoing),
            *layer(f"{self.name}.conv1", self.outgoing, self.outgoing, 3, 3, bias=False),
            *norm(f"{self.name}.norm1", self.outgoing),
        ]
        if self.projects:
            parts += layer(f"{self.name}.shortcut", self.outgoing, self.incoming, 1, 1, bias=False)
            parts += norm(f"{self.name}.shortcut.norm", self.outgoing)
        return parts

    @property
    def activations(self) -> int:
        """Return how many numbers the block's convolutions put out for one image."""
        return (3 if self.projects else 2) * self.outgoing * self.side**2

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Apply the block to maps: (N, incoming, H, W) -> (N, outgoing, side, side)."""
        y = F.relu(instance_norm(F.conv2d(x, params[0], stride=self.stride, padding=1), *params[1:3]))
        y = instance_norm(F.conv2d(y, params[3], padding=1), *params[4:6])
        if self.projects:
            x = instance_norm(F.conv2d(x, params[6], stride=self.stride), *params[7:9])
        return F.relu(x + y)


@dataclass(frozen=True)
class ResNet18(Listed):
    """A ResNet18's shape.

    Args:
        channels: of the images, 1 or 3.
        classes: number of outputs.
        size: height and width of the images in pixels. Up to 32 the first convolution is 3x3 and keeps the size, as
            usual for small images; above, it is the published 7x7 of stride 2, and above 64 the published max-pooling
            follows: stages begin at 28 pixels from 28, 32 from 64 and 128, 56 (as published) from 224.
        width: the published 64 to 512 channels at width 128, in proportion at others.

    >>> import torch
    >>> small, large = (ResNet18(channels=3, classes=n, size=size, width=128) for n, size in ((10, 28), (1000, 224)))
    >>> [sum(p.numel() for p in net.init(torch.Generator())) for net in (small, large)]
    [11173962, 11689512]
    """

    channels: int
    classes: int
    size: int
    width: int = 128

    @property
    def stride(self) -> int:
        """Return the stride of the first convolution."""
        return 1 if self.size <= 32 else 2

    @property
    def pooled(self) -> bool:
        """Return whether max-pooling follows the first convolution."""
        return self.size > 64

    @property
    def features(self) -> int:
        """Return the length of the embedding before the linear layer."""
        return scaled(STAGES[-1], self.width)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """List the residual blocks, two a stage.

        Every stage but the first halves the map, though never to one pixel: instance norm would leave nothing.
        """
        blocks, incoming = [], scaled(STAGES[0], self.width)
        side = -(-self.size // (self.stride * (2 if self.pooled else 1)))
        for i, channels in enumerate(STAGES):
            outgoing = scaled(channels, self.width)
            stride = 2 if i and side > 2 else 1
            side = -(-side // stride)
            blocks += [
                Block(f"stage{i}.block0", incoming, outgoing, side, stride),
                Block(f"stage{i}.block1", outgoing, outgoing, side, 1),
            ]
            incoming = outgoing
        return tuple(blocks)

    @property
    def activations(self) -> int:
        """Return how many numbers the convolutions put out for one image."""
        stem = scaled(STAGES[0], self.width) * (-(-self.size // self.stride)) ** 2
        return stem + sum(block.activations for block in self.blocks)

    @property
    def parts(self) -> tuple[Part, ...]:
        """List the stem's parameters, the blocks' and the linear layer's."""
        first, kernel = scaled(STAGES[0], self.width), 3 if self.stride == 1 else 7
        return (
            *layer("stem.conv", first, self.channels, kernel, kernel, bias=False),
            *norm("stem.norm", first),
            *(part for block in self.blocks for part in block.parts),
            *layer("linear", self.classes, self.features),
        )

    def embed(self, params: Params, x: Tensor) -> Tensor:
        """Return the features before the linear layer: (N, C, H, W) -> (N, features)."""
        x = F.conv2d(x, params[0], stride=self.stride, padding=params[0].shape[-1] // 2)
        x = F.relu(instance_norm(x, *params[1:3]))
        x = F.max_pool2d(x, 3, stride=2, padding=1) if self.pooled else x
        at = 3
        for block in self.blocks:
            end = at + (9 if block.projects else 6)
            x = block(params[at:end], x)
            at = end
        return x.mean((2, 3))
