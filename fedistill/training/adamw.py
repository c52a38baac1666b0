"""AdamW (Loshchilov & Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, arXiv 1711.05101)."""

from collections.abc import Sequence

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class AdamW:
    """The optimiser's moments of some parameters.

    Args:
        weights: the parameters, changed in place by `step`.
        weight_decay: share of a weight that a step of size 1 takes away, whatever its gradient.
    """

    def __init__(self, weights: Sequence[Tensor], *, weight_decay: float) -> None:
        self._weights, self._decay = list(weights), weight_decay
        self._first = [torch.zeros_like(w) for w in weights]
        self._second = [torch.zeros_like(w) for w in weights]
        self._taken = 0

    def step(self, gradients: Sequence[Tensor], *, lr: float) -> None:
        """Take one step of size ``lr``, in place."""
        self._taken += 1
        (b1, b2), given = BETAS, list(gradients)
        with torch.no_grad():
            torch._foreach_mul_(self._weights, 1 - lr * self._decay)
            torch._foreach_mul_(self._first, b1)
            torch._foreach_add_(self._first, given, alpha=1 - b1)
            torch._foreach_mul_(self._second, b2)
            torch._foreach_addcmul_(self._second, given, given, value=1 - b2)
            below = torch._foreach_div(self._second, 1 - b2**self._taken)
            torch._foreach_sqrt_(below)
            torch._foreach_add_(below, EPSILON)
            torch._foreach_addcdiv_(self._weights, self._first, below, value=-lr / (1 - b1**self._taken))
