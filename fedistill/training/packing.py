"""Packing: one image of full size holds k x k smaller ones, so that the same bytes train k * k times as many images.

Multi-formation of IDC (Kim et al., *Dataset Condensation via Efficient Synthetic-Data Parameterization*, ICML 2022,
arXiv 2205.14959). Whoever trains on packed images unpacks them first: each cell is cropped and brought back to full
size by bilinear interpolation. Where k does not divide the size, cells differ by a pixel, and no pixel is left out.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.errors import SettingError

MOST = 4
"""Largest k: of 28 pixels a cell then has seven, and less shows nothing."""


def require_pack(pack: int, size: int) -> None:
    """Raise SettingError for a number of cells that images of this size (pixels) cannot hold."""
    if isinstance(pack, bool) or not isinstance(pack, int) or not 1 <= pack <= min(MOST, size):
        raise SettingError(
            "pack counts the smaller images along each side of one.",
            expected=f"a whole number, 1 to {min(MOST, size)}",
            found=repr(pack),
        )


def edges(size: int, pack: int) -> list[int]:
    """Return where the cells along one side begin, and the last one's end, in pixels.

    >>> edges(28, 2), edges(28, 3)
    ([0, 14, 28], [0, 9, 19, 28])
    """
    return [(2 * i * size + pack) // (2 * pack) for i in range(pack + 1)]


def shown(images: Tensor, pack: int) -> Tensor:
    """Unpack images as networks are shown them; differentiable. A method applies it before it augments and matches.

    Args:
        images: float (N, C, H, W), packed.
        pack: smaller images along each side; with 1 the images are returned as they are.

    Returns:
        float (N * pack * pack, C, H, W), the cells of an image after one another, row by row.

    >>> shown(torch.arange(16.0).view(1, 1, 4, 4), 2).shape
    torch.Size([4, 1, 4, 4])
    """
    if pack == 1:
        return images
    size = images.shape[-2:]
    rows, columns = (edges(each, pack) for each in size)
    cells = [
        F.interpolate(images[..., top:bottom, left:right], size=size, mode="bilinear", align_corners=False)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(columns)
    ]
    return torch.stack(cells, 1).flatten(0, 1)


def repeated(values: Tensor, pack: int) -> Tensor:
    """Repeat what belongs to a packed image, (N, ...), for each image it holds: (N * pack * pack, ...)."""
    return values if pack == 1 else values.repeat_interleave(pack * pack, 0)


def pack_images(images: Tensor, pack: int) -> Tensor:
    """Pack images of full size: each becomes a cell, whose pixels are means over its own; differentiable.

    Args:
        images: float (N * pack * pack, C, H, W); those of one packed image after one another.
        pack: smaller images along each side.

    Returns:
        float (N, C, H, W).

    >>> pack_images(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1).expand(4, 1, 4, 4), 2)[0, 0].tolist()
    [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 4.0], [3.0, 3.0, 4.0, 4.0]]
    """
    if pack == 1:
        return images
    height, width = images.shape[-2:]
    rows, columns = edges(height, pack), edges(width, pack)
    cells = images.unflatten(0, (-1, pack, pack))
    stripes = []
    for i in range(pack):
        parts = [
            F.adaptive_avg_pool2d(cells[:, i, j], (rows[i + 1] - rows[i], columns[j + 1] - columns[j]))
            for j in range(pack)
        ]
        stripes.append(torch.cat(parts, -1))
    return torch.cat(stripes, -2)


def pulled_back(gradient: Tensor, pack: int) -> Tensor:
    """Return the gradient in packed images, (N, C, H, W), from that in the images shown, (N * pack * pack, C, H, W)."""
    if pack == 1:
        return gradient
    packed = torch.zeros_like(gradient[:: pack * pack]).requires_grad_()  # `shown` is linear: any point will do
    with torch.enable_grad():
        return torch.autograd.grad(shown(packed, pack), packed, gradient)[0]
