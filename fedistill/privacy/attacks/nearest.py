"""Distances between images, in pixels or in the features of a random network.

A product of two matrices gives all distances thirty times as fast as subtracting does, but in float32 it loses half
the digits of a small one, and small distances are what a search for copies is about. So the product only picks a few
candidates, and the nearest of them is found by subtracting.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fedistill.core.seeds import generator
from fedistill.errors import SettingError
from fedistill.models import build

Space = Literal["pixels", "features"]

WIDTH = 64
"""Width of the random network whose embedding is ``features``."""

_BLOCK = 1 << 22  # numbers in one intermediate array: 16 MB
_BATCH = 256
_CANDIDATES = 4


@dataclass(frozen=True, eq=False)
class Nearest:
    """For each query the nearest point.

    Args:
        distance: float64 (N,), Euclidean; infinite where there was no point.
        index: int64 (N,), the first of the nearest points; -1 where there was none.
    """

    distance: np.ndarray
    index: np.ndarray


def coordinates(images: Tensor, space: Space, *, seed: int = 0) -> Tensor:
    """Map images to points: float32 (N, C, H, W) -> (N, D).

    ``pixels`` is the image itself. ``features`` is the embedding under a ConvNet with random weights (as distribution
    matching uses it, arXiv 2110.04181): it tells edges and textures apart and forgives a shift of a few pixels.

    Args:
        images: as networks take them.
        space: ``pixels`` or ``features``.
        seed: of the random network; whoever compares images uses one for all.

    Raises:
        SettingError: there is no such space.
    """
    if space == "pixels":
        return images.flatten(1)
    if space != "features":
        raise SettingError("There is no such space.", expected="pixels or features", found=space)
    # Two classes: the linear layer is not used.
    network = build("convnet", channels=images.shape[1], classes=2, size=images.shape[-1], width=WIDTH)
    params = tuple(p.to(images.device) for p in network.init(generator(seed, "features")))
    with torch.no_grad():
        return torch.cat([network.embed(params, part) for part in images.split(_BATCH)])


def nearest(queries: Tensor, points: Tensor, *, others: bool = False) -> Nearest:
    """Find the nearest of M points to each of N queries, in bounded memory.

    Args:
        queries: float32 (N, D).
        points: float32 (M, D), on the same device.
        others: queries and points are the same, and each one's nearest other is asked for.

    Raises:
        SettingError: points of two spaces.

    >>> found = nearest(torch.tensor([[0.0, 0.0], [5.0, 5.0]]), torch.tensor([[3.0, 4.0], [5.0, 5.0]]))
    >>> found.distance.tolist(), found.index.tolist()
    ([5.0, 0.0], [0, 1])
    """
    if queries.ndim != 2 or points.ndim != 2 or queries.shape[1] != points.shape[1]:
        raise SettingError(
            "These are not points of one space.", expected="(N, D) and (M, D)", found=f"{queries.shape}, {points.shape}"
        )
    if not len(points) or not len(queries):
        return Nearest(np.full(len(queries), np.inf), np.full(len(queries), -1, np.int64))
    centre = points.mean(0)  # short vectors lose fewer digits
    away = points - centre
    half_squares = away.square().sum(1) / 2
    k = min(_CANDIDATES, len(points))
    rows = max(1, _BLOCK // max(len(points), k * points.shape[1]))
    distances, indices = [], []
    for number, part in enumerate(queries.split(rows)):
        # Half the squared distance, less what is the same for all points.
        rough = half_squares - (part - centre) @ away.T
        own = torch.arange(len(part), device=part.device)[:, None] + number * rows
        if others:
            rough.scatter_(1, own, torch.inf)
        likely = rough.topk(k, largest=False).indices.sort(1).values
        exact = (part[:, None] - points[likely]).double().square().sum(2)
        if others:
            exact[likely == own] = torch.inf
        least = exact.min(1)
        distances.append(least.values.sqrt().cpu())
        indices.append(likely.gather(1, least.indices[:, None]).squeeze(1).cpu())
    distance, index = torch.cat(distances).numpy(), torch.cat(indices).numpy()
    return Nearest(distance, np.where(np.isinf(distance), -1, index))


def nearest_of_class(
    queries: Tensor, labels: Tensor, points: Tensor, point_labels: Tensor, *, others: bool = False
) -> Nearest:
    """Find the nearest point of each query's own class; multi-label sets, (N, L), have no classes: among all points.

    Args:
        queries: float32 (N, D).
        labels: int64 (N,) or (N, L).
        points: float32 (M, D).
        point_labels: int64 (M,) or (M, L).
        others: as in `nearest`.

    >>> x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 1, 2])
    >>> nearest_of_class(x, y, torch.tensor([[0.5], [3.0]]), torch.tensor([1, 0])).distance.tolist()
    [3.0, 0.5, inf]
    """
    if labels.ndim == 2:
        return nearest(queries, points, others=others)
    distance, index = np.full(len(queries), np.inf), np.full(len(queries), -1, np.int64)
    for kind in labels.unique():
        own, candidates = torch.nonzero(labels == kind).flatten(), torch.nonzero(point_labels == kind).flatten()
        if len(candidates):
            near = nearest(queries[own], points[candidates], others=others)
            distance[own.cpu().numpy()] = near.distance
            index[own.cpu().numpy()] = np.where(near.index < 0, -1, candidates.cpu().numpy()[near.index])
    return Nearest(distance, index)
