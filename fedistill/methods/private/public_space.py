"""A fixed space in which few coordinates tell classes apart, made without any patient's image.

What one noisy answer can say is bounded by the number of its coordinates: the noise grows with their root, and so does
what it drowns. The embedding of a random network has some hundred coordinates of which most move together, and most of
its length is what all images have in common. This space is cut down by what is public:

- images reduced to a few pixels a side, and the embedding of a random network, each less its mean over public images;
- of each the principal axes of the public images (Abadi et al., CCS 2016, section 4, project so before they add noise),
  every axis brought nearer to the same spread, so that large common patterns do not hide small ones;
- each brought to norm 1, and the two weighted.

The public images are phantoms (`fedistill.data.sources.phantom`), drawn, of every kind with as many channels. They cost
no budget, and a hospital can look at them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.data.facts import FACTS
from fedistill.data.imageset import MEAN, STD
from fedistill.data.sources.phantom import draw
from fedistill.models import Network, Params

EACH = 60
"""Phantoms of every kind."""

LARGEST = 64
"""Side at which phantoms are drawn at most; for larger images they are enlarged."""

FLATTEST = 0.01
"""Share of the largest spread to which smaller ones are raised: an axis with next to none would be all rounding."""


@dataclass(frozen=True, eq=False)
class Subspace:
    """A part of the space, of pixels or of an embedding.

    Args:
        seen: what is looked at, (N, C, H, W) -> (N, D), differentiable.
        centre: float32 (D,), its mean over the public images.
        axes: float32 (D, d), principal axes divided by a power of their spread.
        weight: norm of every image's coordinates here.
    """

    seen: Callable[[Tensor], Tensor]
    centre: Tensor
    axes: Tensor
    weight: float

    def __call__(self, images: Tensor) -> Tensor:
        """Return coordinates (N, d) of norm `weight`."""
        z = (self.seen(images) - self.centre) @ self.axes
        return self.weight * z / z.norm(dim=1, keepdim=True).clamp_min(1e-6)


@dataclass(frozen=True, eq=False)
class PublicSpace:
    """The space: coordinates of norm 1 at most."""

    parts: tuple[Subspace, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Return the coordinates of images (N, C, H, W), (N, d)."""
        return torch.cat([part(images) for part in self.parts], 1)


def public_space(
    net: Network, params: Params, *, channels: int, size: int, coarse: int, axes: int, share: float, whiten: float
) -> PublicSpace:
    """Return the space for images of this shape.

    Args:
        net: whose embedding is looked at.
        params: its random parameters.
        channels: of the images.
        size: height and width of the images in pixels.
        coarse: side to which images are reduced for the part of pixels.
        axes: principal axes kept of each part.
        share: of the squared norm that the part of pixels has; 0 or 1 leave a part out.
        whiten: power of an axis's spread that it is divided by; 1: all axes are alike.
    """
    images = phantoms(channels, size).to(params[0].device)

    def reduced(x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, min(coarse, size)).flatten(1)

    def embedded(x: Tensor) -> Tensor:
        return net.embed(params, x)

    weights = ((reduced, share), (embedded, 1 - share))
    return PublicSpace(tuple(_part(seen, images, axes, weight**0.5, whiten) for seen, weight in weights if weight > 0))


@cache
def phantoms(channels: int, size: int) -> Tensor:
    """Draw phantoms of every kind with these channels, float32 (N, C, size, size) in -1..1; always the same."""
    kinds = [known for known in FACTS.values() if known.channels == channels]
    drawn = [draw(known.phantom, "train", size=min(size, LARGEST), images=EACH).images for known in kinds]
    x = torch.cat([torch.from_numpy(each) for each in drawn]).permute(0, 3, 1, 2).float()
    x = ((x / 255 - MEAN) / STD).contiguous()
    return x if x.shape[-1] == size else F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


def _part(seen: Callable[[Tensor], Tensor], images: Tensor, axes: int, weight: float, whiten: float) -> Subspace:
    with torch.no_grad():
        z = torch.cat([seen(piece) for piece in images.split(64)])
        centre = z.mean(0)
        _, spread, along = torch.linalg.svd(z - centre, full_matrices=False)
    kept = min(axes, len(spread))
    spread = spread[:kept].clamp_min(FLATTEST * spread[0])
    return Subspace(seen, centre, along[:kept].T / (spread / spread[0]) ** whiten, weight)
