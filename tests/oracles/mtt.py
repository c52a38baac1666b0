"""MTT's loss and its gradients as the paper defines them: the whole unrolled training in one autograd graph."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.models import Network, Params


@dataclass(frozen=True, eq=False)
class Hop:
    """HoP-TM's terms as its authors' code defines them (arXiv 2509.24177), with the mask given as float (P,).

    Args:
        halfway: the expert's weights there.
        lamb: weight of the angles.
        mask: 1 for weights that are matched; None: all are.
    """

    halfway: Params
    lamb: float = 0.0
    mask: Tensor | None = None


def trajectory_gradient(
    net: Network,
    start: Params,
    target: Params,
    images: Tensor,
    labels: Tensor,
    lr: float,
    *,
    batches: list[Tensor],
    augment: Callable[[int, Tensor], Tensor] = lambda step, x: x,
    hop: Hop | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, its gradient in the images (N, C, H, W) and its gradient in the step size.

    Args:
        augment: what happens to the images of a step, given the step's number.
        hop: HoP-TM's terms.
    """
    x = images.detach().clone().requires_grad_()
    step_size = torch.tensor(lr, dtype=images.dtype, requires_grad=True)
    theta = [p.detach().clone().requires_grad_() for p in start]
    path = [theta]
    for i, batch in enumerate(batches):
        loss = F.cross_entropy(net(tuple(theta), augment(i, x[batch])), labels[batch])
        grads = torch.autograd.grad(loss, theta, create_graph=True)
        theta = [p - step_size * g for p, g in zip(theta, grads, strict=True)]
        path.append(theta)
    begin, end, wanted = _vector(start), _vector(theta), _vector(target)
    mask = torch.ones_like(begin) if hop is None or hop.mask is None else hop.mask
    loss = (mask * (end - wanted) ** 2).sum() / (mask * (begin - wanted) ** 2).sum()
    if hop is not None:
        made = torch.stack([begin, _vector(path[len(batches) // 2]), end])
        expert = torch.stack([begin, _vector(hop.halfway), wanted])
        loss = loss + hop.lamb * F.smooth_l1_loss(_angles(made), _angles(expert))
    by_images, by_lr = torch.autograd.grad(loss, [x, step_size])
    return loss.detach(), by_images, by_lr


def _vector(params: Params | list[Tensor]) -> Tensor:
    return torch.cat([p.reshape(-1) for p in params])


def _angles(points: Tensor) -> Tensor:
    """At each of three points (3, P), the inner products of the unit vectors to all of them, (3, 3, 3)."""
    units = F.normalize(points[None] - points[:, None], dim=2)
    return torch.einsum("aip,ajp->aij", units, units)
