"""Plain SGD on a network's parameters, as lean as PyTorch allows: distillation takes hundreds of tiny steps."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedistill.errors import RunError
from fedistill.models import Network, Params, objective
from fedistill.training import graphs
from fedistill.training.descent import Descent


def fresh(params: Sequence[Tensor]) -> Params:
    """Copy parameters to leaves of their own, ready to be trained or matched on."""
    return tuple(p.detach().clone().requires_grad_() for p in params)


def step(net: Network, params: Params, x: Tensor, y: Tensor, lr: float) -> Tensor:
    """Take one step of SGD on this batch, in place, and return the loss before it; no momentum, no weight decay."""
    loss = objective(net(params, x), y)
    grads = torch.autograd.grad(loss, params)
    with torch.no_grad():
        torch._foreach_add_(params, grads, alpha=-lr)
    return loss.detach()


class Training:
    """A network trained by plain SGD: on a processor by `step`, on a GPU by the same in buffers and CUDA graphs.

    Args:
        net: its shape.
        params: where it begins, on the device to train on.
        precision: what a GPU computes in; a processor trains in full.
    """

    def __init__(self, net: Network, params: Sequence[Tensor], precision: str) -> None:
        self._net = net
        self._descent = None
        if graphs.used_on(params[0].device):
            self._descent = Descent(net, [tuple(params)], precision=precision)
            self.params: Params = self._descent.weights[0]
        else:
            self.params = fresh(params)

    def restart(self, params: Sequence[Tensor]) -> None:
        """Begin anew from these parameters."""
        if self._descent is None:
            self.params = fresh(params)
        else:
            self._descent.restart([tuple(params)])

    def step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        """Take one step on this batch and return the loss before it, (); on a GPU the next step overwrites it."""
        if self._descent is None:
            return step(self._net, self.params, x, y, lr)
        self._descent.step(x[None], y[None], lr)
        return self._descent.loss[0]


def epochs(
    take: Callable[[Tensor, Tensor], object],
    x: Tensor,
    y: Tensor,
    *,
    n: int,
    batch: int,
    generator: torch.Generator,
    view: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Train for n epochs, on each batch as `view` shows it (augmented) where one is given.

    A set that fits one batch is not shuffled: its gradient has no order.

    Args:
        take: takes one step on images and labels, as `step` does.
        x: images (N, C, H, W).
        y: their labels.
        n: epochs.
        batch: images a step.
        generator: of the order.
        view: augments a batch.
    """
    for _ in range(n):
        if len(x) <= batch:
            take(x if view is None else view(x), y)
            continue
        order = torch.randperm(len(x), generator=generator).to(x.device, non_blocking=True)
        for at in order.split(batch):
            take(x[at] if view is None else view(x[at]), y[at])


def flatten(params: Sequence[Tensor]) -> Tensor:
    """Return all parameters as one vector (P,)."""
    return torch.cat([p.detach().flatten() for p in params])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> Params:
    """Return a vector (P,) as parameters of these shapes.

    >>> shapes = (torch.zeros(2, 3), torch.zeros(4))
    >>> [tuple(p.shape) for p in unflatten(torch.arange(10.0), shapes)]
    [(2, 3), (4,)]
    """
    parts = vector.split([p.numel() for p in like])
    return tuple(part.view_as(p) for part, p in zip(parts, like, strict=True))


def finite(theta: Tensor, whose: str, step_size: str) -> Tensor:
    """Return these parameters if training has kept them finite: broken ones would be remembered for good.

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
