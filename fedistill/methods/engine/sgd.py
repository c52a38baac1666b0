"""Plain SGD on a network's parameters, as lean as PyTorch allows: distillation takes hundreds of tiny steps."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedistill.errors import RunError
from fedistill.models import Network, Params, objective


def fresh(params: Sequence[Tensor]) -> Params:
    """The same values as leaves of their own, ready to be trained or matched on."""
    return tuple(p.detach().clone().requires_grad_() for p in params)


def step(net: Network, params: Params, x: Tensor, y: Tensor, lr: float) -> None:
    """One step of SGD on this batch, in place; no momentum, no weight decay."""
    grads = torch.autograd.grad(objective(net(params, x), y), params)
    with torch.no_grad():
        torch._foreach_add_(params, grads, alpha=-lr)


def epochs(
    net: Network,
    params: Params,
    x: Tensor,
    y: Tensor,
    *,
    n: int,
    batch: int,
    lr: float,
    generator: torch.Generator,
    view: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Train for n epochs in place, on each batch as `view` shows it (augmented) where one is given.

    A set that fits one batch is not shuffled: its gradient has no order.
    """
    for _ in range(n):
        if len(x) <= batch:
            step(net, params, x if view is None else view(x), y, lr)
            continue
        order = torch.randperm(len(x), generator=generator).to(x.device, non_blocking=True)
        for at in order.split(batch):
            step(net, params, x[at] if view is None else view(x[at]), y[at], lr)


def flatten(params: Sequence[Tensor]) -> Tensor:
    """All parameters as one vector (P,)."""
    return torch.cat([p.detach().flatten() for p in params])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> Params:
    """A vector (P,) as parameters of these shapes.

    >>> shapes = (torch.zeros(2, 3), torch.zeros(4))
    >>> [tuple(p.shape) for p in unflatten(torch.arange(10.0), shapes)]
    [(2, 3), (4,)]
    """
    parts = vector.split([p.numel() for p in like])
    return tuple(part.view_as(p) for part, p in zip(parts, like, strict=True))


def finite(theta: Tensor, whose: str, step_size: str) -> Tensor:
    """These parameters, if training has kept them finite: broken ones would be remembered for good.

    Raises:
        RunError: it has not.
    """
    if not torch.isfinite(theta).all():
        raise RunError(
            f"Training {whose} on the real images left the range of numbers.",
            expected="finite parameters",
            found=step_size,
            mend="take a smaller one",
        )
    return theta
