"""Adam on images, as a step from one state of the loop to the next."""

import torch
from torch import Tensor

from fedistill.methods.engine.loop import State


def adam(state: State, gradient: Tensor, step: float, *, betas: tuple[float, float] = (0.9, 0.999)) -> State:
    """Take one step of Adam (Kingma & Ba, ICLR 2015): as long whatever the scale of the distance is.

    Args:
        state: its velocity holds the means of gradients and of their squares, (2, N, C, H, W).
        gradient: in the images (N, C, H, W).
        step: its size.
        betas: how much of either mean is kept.

    >>> first = State(torch.zeros(1), torch.zeros(2, 1))
    >>> round(adam(first, torch.tensor([4.0]), 0.5).images.item(), 4)
    -0.5
    """
    t = state.numbers.get("steps", 0.0) + 1
    mean = betas[0] * state.velocity[0] + (1 - betas[0]) * gradient
    square = betas[1] * state.velocity[1] + (1 - betas[1]) * gradient.square()
    along = mean / (1 - betas[0] ** t) / ((square / (1 - betas[1] ** t)).sqrt() + 1e-12)
    return State(state.images - step * along, torch.stack([mean, square]), {"steps": t})
