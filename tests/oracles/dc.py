"""DC's image gradient for one matching step, as the paper writes it: whole batches, autograd and loops over rows."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.models import Network, Params


def image_gradient(
    net: Network, params: Params, reals: list[tuple[Tensor, Tensor]], synthetic: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, list[Tensor]]:
    """Sum over classes of the distance between real and synthetic gradients, and its gradient in each class's images.

    Args:
        net, params: the network at this step.
        reals, synthetic: (images, labels) of each class.
    """
    params = tuple(p.detach().clone().requires_grad_() for p in params)
    images = [x.detach().clone().requires_grad_() for x, _ in synthetic]
    total = torch.zeros((), dtype=images[0].dtype)
    for (real_x, real_y), x, (_, y) in zip(reals, images, synthetic, strict=True):
        real = torch.autograd.grad(F.cross_entropy(net(params, real_x), real_y), params)
        made = torch.autograd.grad(F.cross_entropy(net(params, x), y), params, create_graph=True)
        for name, a, b in zip(net.names, real, made, strict=True):
            if "bias" in name or "norm" in name:
                continue
            for row_a, row_b in zip(a, b, strict=True):
                row_a, row_b = row_a.reshape(-1), row_b.reshape(-1)
                total = total + 1 - (row_a @ row_b) / (row_a.norm() * row_b.norm() + 1e-6)
    return total.detach(), list(torch.autograd.grad(total, images))
