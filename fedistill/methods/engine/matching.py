"""Gradients of real and of synthetic images, and the distance between the two: the arithmetic of DC and DSA.

Classes are taken one after another, real images in pieces that bound the memory: the mean's gradient is the mean of the
pieces' gradients.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedistill.models import Network, Params, objective
from fedistill.training import augment
from fedistill.training.augment import Draw

# Keeps the cosine of a row without any gradient (a dead unit) finite; far below any norm that carries a signal.
EPS = 1e-6


def matched(params: Sequence[Tensor]) -> list[Tensor]:
    """Return the parameters whose gradients are compared: weights; biases and norm parameters are not."""
    return [p for p in params if p.ndim > 1]


def real_gradient(
    net: Network,
    params: Params,
    x: Tensor,
    y: Tensor,
    *,
    micro_batch: int,
    precision: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Compute the gradient of the mean loss over a real batch in the matched weights.

    Args:
        net: the network.
        params: leaves that require gradients.
        x: images (N, C, H, W).
        y: their labels, int64 (N,) or float32 (N, L).
        micro_batch: images in one piece.
        precision: what the network computes in; bfloat16 keeps three digits of the gradient's direction and takes half
            the time where the processor has it. The pieces are added up, and returned, as `params` are.
    """
    low = params if precision in (torch.float32, params[0].dtype) else _as(precision, params)
    weights = matched(low)
    total = [torch.zeros_like(w) for w in matched(params)]
    for part_x, part_y in zip(x.to(low[0].dtype).split(micro_batch), y.split(micro_batch), strict=True):
        logits = net(low, part_x).to(params[0].dtype)
        grads = torch.autograd.grad(objective(logits, part_y), weights)
        torch._foreach_add_(total, grads, alpha=len(part_x) / len(x))
    return total


def _as(precision: torch.dtype, params: Params) -> Params:
    return tuple(p.detach().to(precision).requires_grad_() for p in params)


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Sum 1 - cosine of the two gradients over weights and over their output rows.

    >>> round(float(distance([torch.eye(2)], [torch.eye(2).flip(0)])), 4)
    2.0
    """
    return torch.stack([_rows_apart(a, b) for a, b in zip(one, other, strict=True)]).sum()


def match(
    net: Network,
    params: Params,
    images: Tensor,
    labels: Tensor,
    wanted: Sequence[Tensor],
    *,
    draw: Draw | None = None,
    precision: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Compute the distance of one class's synthetic gradient from the wanted one, and its gradient in the images.

    Args:
        net: the network.
        params: leaves that require gradients.
        images: the synthetic images of the class, (N, C, H, W).
        labels: theirs.
        wanted: as `real_gradient` gives it.
        draw: the augmentation the real images were given; these are given the same.
        precision: as for `real_gradient`; the distance itself is taken in the type of `params`.

    Returns:
        the distance (), detached, and a tensor like `images`.
    """
    low = params if precision in (torch.float32, params[0].dtype) else _as(precision, params)
    x = images.detach().requires_grad_()
    seen = x if draw is None else augment.apply(x, draw)
    logits = net(low, seen.to(low[0].dtype)).to(images.dtype)
    grads = torch.autograd.grad(objective(logits, labels), matched(low), create_graph=True)
    loss = distance(wanted, [g.to(images.dtype) for g in grads])
    return loss.detach(), torch.autograd.grad(loss, x)[0]


def _rows_apart(a: Tensor, b: Tensor) -> Tensor:
    """Sum 1 - cosine over output rows."""
    a, b = a.flatten(1), b.flatten(1)
    norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return (1 - (a * b).sum(1) / (norms + EPS)).sum()
