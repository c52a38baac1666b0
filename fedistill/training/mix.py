"""Mixup (Zhang et al., ICLR 2018, arXiv 1710.09412) and CutMix (Yun et al., ICCV 2019, arXiv 1905.04899).

Each image of a batch is joined with a partner from the batch: mixup takes a weighted mean of the two, CutMix puts a
rectangle of the partner into the image. The loss is the mean of the losses for both labels, weighted as the pixels are.
One weight is drawn for the batch, uniformly in 0..1: Beta(1, 1), as CutMix publishes it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedistill.models import objective


@dataclass(frozen=True, eq=False)
class Mix:
    """A mixture of a batch that was drawn.

    Args:
        partner: int64 (N,), each image's partner, by its position in the batch.
        share: what the image itself has in the mixture, 0..1; the partner has the rest.
        box: rows and columns (top, bottom, left, right) that are the partner's; None to mix all pixels.
    """

    partner: Tensor
    share: float
    box: tuple[int, int, int, int] | None


def draw(generator: torch.Generator, n: int, *, kind: str, size: int) -> Mix:
    """Draw a mixture for a batch.

    Args:
        generator: the only source of randomness.
        n: images in the batch.
        kind: ``mixup`` or ``cutmix``.
        size: height and width of the images in pixels.

    >>> one = draw(torch.Generator().manual_seed(0), 4, kind="cutmix", size=8)
    >>> top, bottom, left, right = one.box
    >>> one.share == 1 - (bottom - top) * (right - left) / 64
    True
    """
    partner = torch.randperm(n, generator=generator)
    share = float(torch.rand((), generator=generator))
    if kind == "mixup":
        return Mix(partner, share, None)
    side = size * (1 - share) ** 0.5
    row, column = (int(torch.randint(size, (), generator=generator)) for _ in range(2))
    # The rectangle is centred anywhere: what would lie outside the image is cut off, and the share follows.
    top, left = (max(0, round(centre - side / 2)) for centre in (row, column))
    bottom, right = (min(size, round(centre + side / 2)) for centre in (row, column))
    bottom, right = max(bottom, top), max(right, left)
    return Mix(partner, 1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right))


def apply(x: Tensor, mix: Mix) -> Tensor:
    """Return the mixture of a batch (N, C, H, W)."""
    others = x[mix.partner.to(x.device)]
    if mix.box is None:
        return mix.share * x + (1 - mix.share) * others
    top, bottom, left, right = mix.box
    mixed = x.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed


def mixed_objective(logits: Tensor, labels: Tensor, mix: Mix, *, soft: bool = False) -> Tensor:
    """Return the loss of a mixture; the labels are those of the images before it, as `objective` takes them."""
    others = labels[mix.partner.to(labels.device)]
    own, partner = (objective(logits, each, soft=soft) for each in (labels, others))
    return mix.share * own + (1 - mix.share) * partner
