"""Images under an affine map, and a backward pass that gives the same bits every time on a GPU.

PyTorch's own lets every output pixel add its share to the input pixels that it was mixed from, in whatever order a
GPU's threads finish. Here every input pixel collects its shares itself, from the few output pixels that can have mixed
it in: those around its own place under the inverse map.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

REACH = 2
"""Output pixels that are looked at to each side of that place, beginning with the one before: maps that shrink by up to
1.2 or turn by up to 15 degrees mix an input pixel into none that is farther than 1.23 pixels away."""


def affine_sample(x: Tensor, theta: Tensor) -> Tensor:
    """Return square images (N, C, H, W) under maps (N, 2, 3) from output to input coordinates in -1..1, zeros outside.

    Bilinear; differentiable once, in the images. Maps stretch or shrink by at most 1.2, or turn by at most 15 degrees.
    """
    made: Tensor = _Sample.apply(x, theta)
    return made


def forward(x: Tensor, theta: Tensor) -> Tensor:
    """Return what `affine_sample` does, as PyTorch has it."""
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, theta: Tensor) -> Tensor:
        ctx.save_for_backward(theta)
        return forward(x, theta)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Any:
        [theta] = ctx.saved_tensors
        return _collected(dy, theta), None


def _collected(dy: Tensor, theta: Tensor) -> Tensor:
    """Return the gradient in the input pixels, like dy."""
    n, c, side, _ = dy.shape
    # From -1..1 to pixels: position = ((coordinate + 1) side - 1) / 2. Around the centre the map is the same matrix.
    linear, shift, centre = theta[:, :, :2], theta[:, :, 2:] * (side / 2), (side - 1) / 2
    along = torch.arange(side, device=dy.device, dtype=dy.dtype)
    pixels = torch.stack([along.repeat(side), along.repeat_interleave(side)])  # (2, side^2): x, y
    a, b, d, e = linear[:, 0, 0], linear[:, 0, 1], linear[:, 1, 0], linear[:, 1, 1]
    inverse = torch.stack([torch.stack([e, -b], 1), torch.stack([-d, a], 1)], 1) / (a * e - b * d)[:, None, None]
    first = (_times(inverse, pixels - centre - shift) + centre).floor() - (REACH - 1)  # (N, 2, side^2)
    flat, total = dy.flatten(2), torch.zeros_like(dy).flatten(2)
    for down in range(2 * REACH):
        x = (first[:, :1] + along[: 2 * REACH, None]).transpose(1, 2)  # (N, side^2, 4): a row of output pixels
        y = (first[:, 1, :, None] + down).expand_as(x)
        source = _times(linear, torch.stack([x, y], 1).flatten(2) - centre) + centre + shift
        share = (1 - (source.view(n, 2, -1, 2 * REACH) - pixels[:, :, None]).abs()).clamp_min(0).prod(1)
        inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
        place = (y.clamp(0, side - 1) * side + x.clamp(0, side - 1)).long().flatten(1)[:, None].expand(-1, c, -1)
        shares = flat.gather(2, place).view(n, c, -1, 2 * REACH) * (share * inside)[:, None]
        total = total + shares.sum(3)
    return total.view(n, c, side, side)


def _times(matrices: Tensor, points: Tensor) -> Tensor:
    """Multiply (N, 2, 2) by (N, 2, P) in full precision: as a matrix product a GPU might round it."""
    return (matrices[:, :, :, None] * points[:, None]).sum(2)
