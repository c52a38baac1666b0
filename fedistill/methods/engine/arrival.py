"""The loss of trajectory matching: how near a segment's steps came to the expert; and its gradient in the weights.

Beside the distance (Cazenavette et al., CVPR 2022, arXiv 2203.11932) stand the two terms of HoP-TM (Dong et al.,
*High-Order Progressive Trajectory Matching for Medical Image Dataset Distillation*, MICCAI 2025, arXiv 2509.24177),
as their authors' code, github.com/Bian-jh/HoP-TM, defines them:

- easy to complex: only weights that came near the expert's once, in whatever segment, are matched; the distance that
  counts as near grows;
- shape: the weights at the start, halfway and at the end are a triangle, whose angles should be the expert's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.methods.engine import sgd
from fedistill.models import Params

# Of a side squared, below which it counts as no side: a cosine needs a length to divide by.
SHORTEST = 1e-24

# The published mean is over the inner products of 3 x 3 pairs of unit vectors at 3 corners. At a corner two of the
# nine are its cosine; the others are 0 or 1 for the network and the expert alike.
SHARE = 2 / 27


@dataclass(frozen=True, eq=False)
class Arrival:
    """The loss () and its gradient in the weights at the end, and halfway where it depends on them; all detached.

    Args:
        matched: bool (P,), the weights that have been matched so far; None where all always are.
    """

    loss: Tensor
    by_end: Params
    by_halfway: Params | None = None
    matched: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Terms:
    """HoP-TM's terms for one segment.

    Args:
        halfway: the expert's weights halfway.
        lamb: weight of the angles.
        threshold: squared distance below which a weight is near the expert's; None: all weights are matched.
        matched: bool (P,), in the order of `sgd.flatten`: weights that were matched in earlier segments.
    """

    halfway: Params
    lamb: float = 0.0
    threshold: float | None = None
    matched: Tensor | None = None


def halfway(steps: int) -> int:
    """Return after how many of so many steps the weights are those of halfway."""
    return steps // 2


def distance(start: Sequence[Tensor], end: Sequence[Tensor], target: Sequence[Tensor]) -> Arrival:
    """Return |end - target|^2 / |start - target|^2."""
    scale = square_apart(start, target)
    by_end = tuple(2 * (p - t) / scale for p, t in zip(end, target, strict=True))
    return Arrival(square_apart(end, target) / scale, by_end)


def with_terms(start: Params, middle: Params, end: Params, target: Params, terms: Terms) -> Arrival:
    """Return the distance of the weights that are matched, and `lamb` times how far the angles are from the expert's.

    Where the expert moved none of the weights that are matched there is no distance to go, and the distance is 0.
    """
    matched = terms.matched
    if terms.threshold is not None:
        near = torch.cat([((p - t).square() < terms.threshold).flatten() for p, t in zip(end, target, strict=True)])
        matched = near if matched is None else matched | near
    middle, end = sgd.fresh(middle), sgd.fresh(end)
    with torch.enable_grad():
        loss = _matched_distance(start, end, target, matched)
        if terms.lamb:
            made, wanted = corners(start, middle, end), corners(start, terms.halfway, target)
            loss = loss + terms.lamb * SHARE * F.smooth_l1_loss(made, wanted, reduction="sum")
        grads = torch.autograd.grad(loss, [*middle, *end], materialize_grads=True)
    return Arrival(loss.detach(), grads[len(middle) :], grads[: len(middle)] if terms.lamb else None, matched)


def _matched_distance(start: Params, end: Params, target: Params, matched: Tensor | None) -> Tensor:
    if matched is None:
        return square_apart(end, target) / square_apart(start, target)
    chosen = sgd.unflatten(matched, start)
    far, left = (
        torch.stack([((p - t).square() * of).sum() for p, t, of in zip(params, target, chosen, strict=True)]).sum()
        for params in (start, end)
    )
    return left / torch.where(far > 0, far, torch.inf)


def corners(one: Params, two: Params, three: Params) -> Tensor:
    """Return the cosines of a triangle's three angles, (3,)."""
    one_two, two_three, one_three = (
        [b - a for a, b in zip(p, q, strict=True)] for p, q in ((one, two), (two, three), (one, three))
    )
    return torch.stack([_cosine(one_two, one_three), -_cosine(one_two, two_three), _cosine(one_three, two_three)])


def _cosine(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    long, wide = (_inner(side, side).clamp(min=SHORTEST).sqrt() for side in (one, other))
    return _inner(one, other) / (long * wide)


def _inner(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


def square_apart(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Return the squared distance of two sets of parameters, ()."""
    return torch.stack([(a - b).square().sum() for a, b in zip(one, other, strict=True)]).sum()
