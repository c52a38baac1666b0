"""MTT as its paper writes it (Cazenavette et al., CVPR 2022, arXiv 2203.11932): the whole unrolled training is one
autograd graph, so that its memory grows with every step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call


def iteration(
    net: nn.Module,
    start: Sequence[Tensor],
    target: Sequence[Tensor],
    images: Tensor,
    labels: Tensor,
    lr: Tensor,
    batches: Sequence[Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
) -> float:
    """One step on the images, and on the learned step size.

    Args:
        net: the network; its own weights are not looked at.
        start, target: the expert's weights where the training begins, and where it should lead.
        images, labels: the synthetic images, a leaf that requires its gradient, and their classes.
        lr: the learned step size (), a leaf that requires its gradient.
        batches: positions of the images of each step.
        optimizers: of the images and of the step size.

    Returns:
        the loss |theta_N - target|^2 / |start - target|^2.
    """
    criterion = nn.CrossEntropyLoss()
    names = [name for name, _ in net.named_parameters()]
    student = [p.detach().clone().requires_grad_() for p in start]
    for batch in batches:
        output = functional_call(net, dict(zip(names, student, strict=True)), (images[batch],))
        gradients = torch.autograd.grad(criterion(output, labels[batch]), student, create_graph=True)
        student = [p - lr * g for p, g in zip(student, gradients, strict=True)]
    left, far = (torch.zeros((), device=images.device) for _ in range(2))
    for end, begin, wanted in zip(student, start, target, strict=True):
        left = left + torch.sum((end - wanted) ** 2)
        far = far + torch.sum((begin - wanted) ** 2)
    loss = left / far
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()
