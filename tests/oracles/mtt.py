"""MTT's loss and its gradients as the paper defines them: the whole unrolled training in one autograd graph."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.models import Network, Params


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
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, its gradient in the images (N, C, H, W) and its gradient in the step size.

    Args:
        augment: what happens to the images of a step, given the step's number.
    """
    x = images.detach().clone().requires_grad_()
    step_size = torch.tensor(lr, dtype=images.dtype, requires_grad=True)
    theta = [p.detach().clone().requires_grad_() for p in start]
    for i, batch in enumerate(batches):
        loss = F.cross_entropy(net(tuple(theta), augment(i, x[batch])), labels[batch])
        grads = torch.autograd.grad(loss, theta, create_graph=True)
        theta = [p - step_size * g for p, g in zip(theta, grads, strict=True)]
    far = sum(((p - t) ** 2).sum() for p, t in zip(start, target, strict=True))
    left = sum(((p - t) ** 2).sum() for p, t in zip(theta, target, strict=True))
    loss = left / far
    by_images, by_lr = torch.autograd.grad(loss, [x, step_size])
    return loss.detach(), by_images, by_lr
