"""A small vision transformer (ViT, Dosovitskiy et al., ICLR 2021, arXiv 2010.11929), in the sizes of DeiT-Tiny.

DeiT-Tiny (Touvron et al., ICML 2021, arXiv 2012.12877) has 192 features and three heads of 64, with layer norm before
attention and before each pair of linear layers. Of its twelve blocks six are kept: hospitals' few images train them as
well in half the time. Dataset distillation tests on a ViT in GLaD's cross-architecture table (arXiv 2305.01649), which
uses another size. No dropout and no stochastic depth: they are for far longer training.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.models.network import Params
from fedistill.models.parts import Listed, Part, layer, layer_norm, norm, normal, scaled

HEADS = 3
GRID = 8
"""Patches along a side, at most; 7 from 28 pixels, 8 from 64, 128 and 224."""

EACH = 12
"""Parameters of a block."""


@dataclass(frozen=True)
class ViT(Listed):
    """A vision transformer's shape.

    Args:
        channels: of the images, 1 or 3.
        classes: number of outputs.
        size: height and width of the images in pixels, made a multiple of `patch` by grey rows and columns.
        width: three heads of the published 64 features each at width 128, in proportion at others.
        patch: height and width of the patch that is one token.
        depth: blocks.

    >>> published = ViT(channels=3, classes=1000, size=224, width=128, patch=16, depth=12)
    >>> sum(p.numel() for p in published.init(torch.Generator()))
    5717416
    """

    channels: int
    classes: int
    size: int
    width: int = 128
    patch: int = 4
    depth: int = 6

    @property
    def features(self) -> int:
        """Return the length of a token, and so of the embedding before the last linear layer."""
        return HEADS * scaled(64, self.width)

    @property
    def tokens(self) -> int:
        """Return the number of tokens: one for each patch, and the one the class is read from."""
        return (-(-self.size // self.patch)) ** 2 + 1

    @property
    def activations(self) -> int:
        """Return how many numbers the layers put out for one image, attention's weights among them."""
        patches, block = self.features * (self.tokens - 1), 9 * self.features * self.tokens + HEADS * self.tokens**2
        return patches + self.depth * block

    @property
    def parts(self) -> tuple[Part, ...]:
        """List the patch embedding, class token and positions, the blocks, the last norm and the linear layer."""
        d, small = self.features, normal(0.02)
        parts = [
            *layer("patch", d, self.channels, self.patch, self.patch),
            Part("class_token", (d,), small),
            Part("positions", (self.tokens, d), small),
        ]
        for i in range(self.depth):
            parts += [
                *norm(f"block{i}.norm0", d),
                *layer(f"block{i}.qkv", 3 * d, d),
                *layer(f"block{i}.attended", d, d),
                *norm(f"block{i}.norm1", d),
                *layer(f"block{i}.wide", 4 * d, d),
                *layer(f"block{i}.narrow", d, 4 * d),
            ]
        return (*parts, *norm("norm", d), *layer("linear", self.classes, d))

    def embed(self, params: Params, x: Tensor) -> Tensor:
        """Return the features before the last linear layer: (N, C, H, W) -> (N, features)."""
        d, missing = self.features, -self.size % self.patch
        weight, bias, token, positions = params[:4]
        x = F.pad(x, (0, missing, 0, missing)) if missing else x
        x = F.conv2d(x, weight, bias, stride=self.patch).flatten(2).transpose(-2, -1)
        x = torch.cat([token.expand(x.shape[0], 1, d), x], 1) + positions
        for i in range(self.depth):
            p = params[4 + EACH * i : 4 + EACH * (i + 1)]
            x = x + F.linear(attention(F.linear(layer_norm(x, *p[0:2]), *p[2:4])), *p[4:6])
            x = x + F.linear(F.gelu(F.linear(layer_norm(x, *p[6:8]), *p[8:10])), *p[10:12])
        return layer_norm(x[:, 0], *params[-4:-2])


def attention(x: Tensor) -> Tensor:
    """Apply self-attention to queries, keys and values laid end to end: (N, T, 3 D) -> (N, T, D).

    Written out, because PyTorch's fused attention has no second derivative.
    """
    n, t, d = *x.shape[:2], x.shape[2] // 3
    q, k, v = x.view(n, t, 3, HEADS, d // HEADS).permute(2, 0, 3, 1, 4)  # each (N, heads, T, D / heads)
    weights = F.softmax(q @ k.transpose(-2, -1) * (d // HEADS) ** -0.5, dim=-1)
    return (weights @ v).transpose(1, 2).reshape(n, t, d)


def vit_tiny(*, channels: int, classes: int, size: int, width: int = 128) -> ViT:
    """Build the ViT for images of this size, with patches so large that there are at most 64."""
    return ViT(channels=channels, classes=classes, size=size, width=width, patch=-(-size // GRID))
