"""A guide: a network from elsewhere that tells a method which real images it does not know yet.

Somebody who has trained on more than this site's images sends a network. The method draws the real images that this
network gets wrong more often, and matches under it too, as in FedVCK (Yan et al., AAAI 2025, arXiv 2412.18557).
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.methods.engine.start import sample
from fedistill.models import Network, Params

VERSION = 1

FLOOR = 0.1  # least weight of an image, as a share of the mean weight in its class: none is never drawn
BATCH = 256  # images in a network at one time


@dataclass(frozen=True, eq=False)
class Guide:
    """A network from elsewhere, and which real images it fails on: an addition to a task.

    Args:
        params: its weights, float32, of the task's own architecture.
        weights: float64 (N,), how readily each real image is drawn beside others of its class, above 0.
        least: real images that every draw has at least, where there are so many.
    """

    params: Params
    weights: Tensor
    least: int = 1

    def detail(self) -> dict[str, Any]:
        """Return the part of a key: everything about it that a distillation depends on."""
        digest = hashlib.sha256()
        for part in (*self.params, self.weights):
            digest.update(part.detach().cpu().contiguous().numpy().tobytes())
        return {"sha256": digest.hexdigest(), "least": self.least, "version": VERSION}


def guide_by(net: Network, params: Params, images: Tensor, labels: Tensor, *, least: int) -> Guide:
    """Return the guide that a network is for real images.

    Args:
        net: the architecture.
        params: of the network, on the device to compute on.
        images: float32 (N, C, H, W).
        labels: int64 (N,), or float32 (N, L) for several labels an image.
        least: of the guide.
    """
    with torch.no_grad():
        logits = torch.cat([net(params, some.to(params[0].device)).cpu() for some in images.split(BATCH)]).double()
    return Guide(params, weights_of(losses(logits, labels), labels), least)


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each image, float64 (N,); of several labels an image, their mean."""
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none").mean(1)
    return F.cross_entropy(logits, labels, reduction="none")


def weights_of(loss: Tensor, labels: Tensor) -> Tensor:
    """Return each image's loss as a multiple of the mean in its class, `FLOOR` at least, float64 (N,).

    A set with several labels an image is one class here, as it is one group to methods.

    >>> weights_of(torch.tensor([3.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 0, 1])).tolist()
    [2.25, 0.75, 0.1, 1.0]
    """
    loss = loss.double()
    group = labels if labels.ndim == 1 else torch.zeros(len(labels), dtype=torch.int64)
    counts = torch.bincount(group).clamp(min=1)
    means = torch.bincount(group, weights=loss, minlength=len(counts)) / counts
    mean = means[group]
    known = mean > 0
    # A class that the network knows without any loss is drawn evenly.
    return torch.where(known, loss / torch.where(known, mean, 1.0), 1.0).clamp(min=FLOOR)


def drawn(at: Tensor, most: int, generator: torch.Generator, guide: Guide | None) -> Tensor:
    """Draw real images for a mean: without a guide evenly, with one by its weights; never one image twice.

    With a guide half of the images are drawn at most, so that the weights tell in a small group too: a draw of all of
    them would be the same whatever they weigh. `Guide.least` goes before that.

    Args:
        at: int64 (N,), positions of the real images to draw from.
        most: images of a draw.
        generator: of the draw.
        guide: the task's.

    >>> hard = Guide((), torch.tensor([1e-9, 1.0, 1.0, 1e-9], dtype=torch.float64))
    >>> drawn(torch.arange(4), 3, torch.Generator().manual_seed(0), hard).sort().values.tolist()
    [1, 2]
    """
    if guide is None:
        return sample(at, min(len(at), most), generator)
    n = min(len(at), most, max(guide.least, -(-len(at) // 2)))
    return at[torch.multinomial(guide.weights[at], n, replacement=False, generator=generator)]
