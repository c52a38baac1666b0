"""Differentiable siamese augmentation, DSA (Zhao & Bilen, ICML 2021, arXiv 2102.08259), with its published strengths.

One operation is drawn per call, out of colour, crop, cutout, flip, scale and rotate. Drawing is apart from applying,
so that a real and a synthetic batch can take the same draw, and a backward sweep can replay the one of the forward
pass. Pixels are in the networks' -1..1 space; what comes into view from outside an image is 0, mid-grey.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.errors import SettingError
from fedistill.training import graphs, sampling

OPERATIONS = ("colour", "crop", "cutout", "flip", "scale", "rotate")

BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
CROP, CUTOUT = 0.125, 0.5  # of the image's side
SCALE, ROTATE = 1.2, 15.0  # ratio, degrees
FLIP = 0.5


@dataclass(frozen=True, eq=False)
class Draw:
    """An augmentation that was drawn.

    Args:
        op: one of `OPERATIONS`.
        values: float32 (N, k), the operation's parameters for each image, or (1, k) for the whole batch.
            colour: brightness to add, factors of saturation and of contrast; crop: rows and columns to shift by;
            cutout: row and column of the hole's centre; flip: 1 or 0; scale: factors of height and width;
            rotate: radians.
    """

    op: str
    values: Tensor


def draw(generator: torch.Generator, n: int, *, size: int, mirror: bool, shared: bool = False) -> Draw:
    """Draw one operation and its parameters for a batch of n images.

    Args:
        generator: the only source of randomness.
        n: images in the batch.
        size: height and width of the images in pixels.
        mirror: whether a flip keeps the labels true; False never flips.
        shared: one set of parameters for the whole batch, whatever its length, as siamese augmentation needs.

    >>> one = draw(torch.Generator().manual_seed(0), 4, size=28, mirror=True)
    >>> apply(torch.zeros(4, 1, 28, 28), one).shape
    torch.Size([4, 1, 28, 28])
    """
    ops = [op for op in OPERATIONS if mirror or op != "flip"]
    op = ops[int(torch.randint(len(ops), (1,), generator=generator))]
    n = 1 if shared else n

    def uniform(low: float, high: float, k: int = 1) -> Tensor:
        return low + (high - low) * torch.rand((n, k), generator=generator)

    if op == "colour":
        brightness = uniform(-BRIGHTNESS / 2, BRIGHTNESS / 2)
        contrast = uniform(CONTRAST, 1 + CONTRAST)
        return Draw(op, torch.cat([brightness, uniform(0, SATURATION), contrast], 1))
    if op == "crop":
        most = int(size * CROP + 0.5)
        return Draw(op, torch.randint(-most, most + 1, (n, 2), generator=generator).float())
    if op == "cutout":
        top = size + 1 - _hole(size) % 2
        return Draw(op, torch.randint(top, (n, 2), generator=generator).float())
    if op == "flip":
        return Draw(op, (uniform(0, 1) < FLIP).float())
    if op == "scale":
        return Draw(op, uniform(1 / SCALE, SCALE, 2))
    return Draw(op, uniform(-math.radians(ROTATE), math.radians(ROTATE)))


def apply(x: Tensor, drawn: Draw) -> Tensor:
    """Augment a batch (N, C, H, W), differentiably; the same draw gives the same images again.

    Raises:
        SettingError: the draw was made for another number of images.
    """
    if len(drawn.values) not in (1, len(x)):
        raise SettingError(
            "This augmentation was drawn for another batch.",
            expected=f"{len(drawn.values)} images",
            found=f"{len(x)} images",
            mend="draw for this batch, or draw with shared=True",
        )
    values = drawn.values.to(x)
    if drawn.op == "colour":
        return _colour(x, values)
    if drawn.op == "crop":
        return _shift(x, drawn.values.long())
    if drawn.op == "cutout":
        return _cutout(x, drawn.values)
    if drawn.op == "flip":
        return torch.where(values.bool()[:, :, None, None], x.flip(3), x)
    zero = torch.zeros_like(values[:, 0])
    if drawn.op == "scale":
        rows = [values[:, 1], zero, zero], [zero, values[:, 0], zero]
    else:
        cos, sin = values[:, 0].cos(), values[:, 0].sin()
        rows = [cos, -sin, zero], [sin, cos, zero]
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1).expand(len(x), 2, 3)
    # A GPU's own backward pass would not give the same bits again.
    return sampling.affine_sample(x, theta) if graphs.used_on(x.device) else sampling.forward(x, theta)


def apply_each(x: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Augment groups of equally many images, (K N, C, H, W), each by a draw of its own (for N images, or shared).

    Groups that drew the same operation take it at once, since a GPU waits for the start of each.

    >>> one = draw(torch.Generator().manual_seed(0), 1, size=28, mirror=True, shared=True)
    >>> apply_each(torch.zeros(6, 1, 28, 28), [one, one, one]).shape
    torch.Size([6, 1, 28, 28])
    """
    n = len(x) // len(draws)
    augmented = list(x.split(n))
    for op in OPERATIONS:
        who = [k for k, drawn in enumerate(draws) if drawn.op == op]
        if who:
            values = torch.cat([draws[k].values.expand(n, -1) for k in who])
            parts = apply(torch.cat([augmented[k] for k in who]), Draw(op, values)).split(n)
            for k, part in zip(who, parts, strict=True):
                augmented[k] = part
    return torch.cat(augmented)


def _hole(size: int) -> int:
    return int(size * CUTOUT + 0.5)


def _colour(x: Tensor, values: Tensor) -> Tensor:
    brightness, saturation, contrast = (values[:, i, None, None, None] for i in range(3))
    x = x + brightness
    if x.shape[1] > 1:  # a grey image is its own mean over the channels
        grey = x.mean(1, keepdim=True)
        x = (x - grey) * saturation + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * contrast + mean


def _shift(x: Tensor, by: Tensor) -> Tensor:
    """Move each image by (rows, columns) with zeros coming in; indices instead of interpolation."""
    n, c, h, w = x.shape
    if len(by) == 1 and by.device.type == "cpu":  # a GPU's numbers would have to be waited for
        down, right = by[0].tolist()
        return F.pad(x, (right, -right, down, -down))
    rows = torch.arange(h, device=x.device) - by[:, :1].to(x.device)  # (N, H): where each row comes from
    columns = torch.arange(w, device=x.device) - by[:, 1:].to(x.device)
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    source = rows.clamp(0, h - 1)[:, :, None] * w + columns.clamp(0, w - 1)[:, None, :]
    moved = x.flatten(2).gather(2, source.view(-1, 1, h * w).expand(n, c, h * w)).view(n, c, h, w)
    return moved * inside[:, None].to(x)


def _cutout(x: Tensor, centre: Tensor) -> Tensor:
    h, w = x.shape[2:]
    hole = _hole(h)
    top = centre.to(x.device) - hole // 2
    rows = torch.arange(h, device=x.device) - top[:, :1]
    columns = torch.arange(w, device=x.device) - top[:, 1:]
    cut = ((rows >= 0) & (rows < hole))[:, :, None] & ((columns >= 0) & (columns < hole))[:, None, :]
    return x * (~cut)[:, None].to(x)
