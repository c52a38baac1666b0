"""DC, gradient matching (Zhao, Mopuri & Bilen, *Dataset Condensation with Gradient Matching*, arXiv 2006.05929).

For each of many fresh random networks: the gradient that a class's real images give its weights is compared with the
one its synthetic images give, the synthetic images take one step towards making the two point the same way, and the
network is trained on the synthetic images a little, so that later weights of its training are matched as well.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedistill import seeds
from fedistill.distill import sgd
from fedistill.distill.method import SyntheticSet, Task, classes_held
from fedistill.distill.settings import setting
from fedistill.distill.start import start
from fedistill.errors import RunError
from fedistill.models import Network, Params, objective

# ipc: (outer, inner), as published; between two budgets both are interpolated linearly, outside they stay at the end.
SCHEDULE = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}

# Keeps the cosine of a row without any gradient (a dead unit) finite; far below any norm that carries a signal.
EPS = 1e-6


@dataclass(frozen=True)
class DCSettings:
    """Settings of DC, named as in its paper.

    Args:
        iterations: fresh networks.
        outer: matching steps per network; None takes the published number for the budget.
        inner: epochs of training on the synthetic images between two of them; None likewise.
        batch_real: real images of a class a gradient is taken over.
        lr_img, momentum_img: of the SGD on the images.
        lr_net: of the SGD on the networks.
        start: ``noise``, or ``real`` for images drawn from the real ones (which gives these away).
        batch_train: synthetic images in one step of training a network.
        micro_batch: real images in one piece of a real gradient: the mean's gradient is the mean of the pieces'
            gradients, and small pieces stay in the processor's cache (about a third faster at width 128).
    """

    iterations: int = setting(1000, at_least=1)
    outer: int | None = setting(None, at_least=1)
    inner: int | None = setting(None, at_least=0)
    batch_real: int = setting(256, at_least=1)
    lr_img: float = setting(0.1, above=0)
    lr_net: float = setting(0.01, above=0)
    start: str = setting("noise", choices=("noise", "real"))
    momentum_img: float = setting(0.5, at_least=0)
    batch_train: int = setting(256, at_least=1)
    micro_batch: int = setting(32, at_least=1)


def schedule(ipc: int) -> tuple[int, int]:
    """(outer, inner) for any budget.

    >>> schedule(1), schedule(15), schedule(50), schedule(100)
    ((1, 1), (15, 38), (50, 10), (50, 10))
    """
    known = list(SCHEDULE)
    outer, inner = (np.interp(ipc, known, column) for column in zip(*SCHEDULE.values(), strict=True))
    return round(float(outer)), round(float(inner))


def matched(params: Sequence[Tensor]) -> list[Tensor]:
    """The parameters whose gradients are compared: weights; biases and norm parameters are not."""
    return [p for p in params if p.ndim > 1]


def real_gradient(net: Network, params: Params, x: Tensor, y: Tensor, *, micro_batch: int) -> list[Tensor]:
    """The gradient of the mean loss over a real batch (N, C, H, W) with respect to the matched weights."""
    weights = matched(params)
    total = [torch.zeros_like(w) for w in weights]
    for part_x, part_y in zip(x.split(micro_batch), y.split(micro_batch), strict=True):
        grads = torch.autograd.grad(objective(net(params, part_x), part_y), weights)
        torch._foreach_add_(total, grads, alpha=len(part_x) / len(x))
    return total


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Sum over weights, and over their output rows, of 1 - cosine of the two gradients.

    >>> round(float(distance([torch.eye(2)], [torch.eye(2).flip(0)])), 4)
    2.0
    """
    total = torch.zeros((), dtype=one[0].dtype, device=one[0].device)
    for a, b in zip(one, other, strict=True):
        a, b = a.flatten(1), b.flatten(1)
        norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
        total = total + (1 - (a * b).sum(1) / (norms + EPS)).sum()
    return total


def match(net: Network, params: Params, images: Tensor, labels: Tensor, wanted: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Distance of one class's synthetic gradient from the wanted one, and its gradient in the images.

    Args:
        params: leaves that require gradients.
        images, labels: the synthetic images of the class.
        wanted: as `real_gradient` gives it.

    Returns:
        the distance (), detached, and a tensor like `images`.
    """
    x = images.detach().requires_grad_()
    grads = torch.autograd.grad(objective(net(params, x), labels), matched(params), create_graph=True)
    loss = distance(wanted, grads)
    return loss.detach(), torch.autograd.grad(loss, x)[0]


def dc(task: Task, settings: DCSettings) -> SyntheticSet:
    """Images whose gradients point where the real ones' do.

    Raises:
        RunError: the images are no longer finite numbers.
    """
    ipc, clock = task.budget, time.monotonic()
    table_outer, table_inner = schedule(ipc)
    outer = table_outer if settings.outer is None else settings.outer
    inner = table_inner if settings.inner is None else settings.inner
    net, generator = task.network(), seeds.generator(task.seed, "dc", ipc, "run")
    real, targets, held = task.images.pixels(), task.images.targets(), classes_held(task.images)
    images, labels, groups = start(task, settings.start, seeds.generator(task.seed, "dc", ipc, "start"))
    velocity, gradient = torch.zeros_like(images), torch.empty_like(images)

    for i in range(settings.iterations):
        params = sgd.fresh(net.init(generator))
        loss = torch.zeros(())
        for j in range(outer):
            for at, mine in zip(held, groups, strict=True):
                batch = at[torch.randperm(len(at), generator=generator)[: settings.batch_real]]
                wanted = real_gradient(net, params, real[batch], targets[batch], micro_batch=settings.micro_batch)
                away, gradient[mine] = match(net, params, images[mine], labels[mine], wanted)
                loss = loss + away
            velocity.mul_(settings.momentum_img).add_(gradient)  # kept across networks, as published
            images.sub_(velocity, alpha=settings.lr_img)
            if j < outer - 1:
                task.on_event({"stage": f"dc ipc {ipc}", "step": i, "steps": settings.iterations})  # a sign of life
                sgd.epochs(
                    net,
                    params,
                    images,
                    labels,
                    n=inner,
                    batch=settings.batch_train,
                    lr=settings.lr_net,
                    generator=generator,
                )
        if not torch.isfinite(images).all():
            raise RunError(
                f"The images of dc at ipc {ipc} left the range of numbers after {i + 1} iterations.",
                expected="finite pixels",
                found=f"lr_img = {settings.lr_img}, lr_net = {settings.lr_net}",
                mend="take a smaller lr_img (published: 0.1) or lr_net (published: 0.01)",
            )
        task.on_event(
            {
                "stage": f"dc ipc {ipc}",
                "step": i + 1,
                "steps": settings.iterations,
                "seconds": time.monotonic() - clock,
                "message": f"matching loss {float(loss) / (outer * len(held)):.2f}",
            }
        )
    return SyntheticSet(images, labels, ipc)
