"""Fitting networks: plain SGD on tensors in memory, lean enough that the convolutions are what costs time."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedistill.models import Network, Params, objective
from fedistill.seeds import generator
from fedistill.training import augment
from fedistill.training.recipe import Recipe

VERSION = 1
"""Raised when equal settings give other networks; part of every key in the store."""


def fit(
    network: Network,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    mirror: bool,
    on_step: Callable[[int, int], None] | None = None,
) -> Params:
    """Train one network from fresh parameters.

    Args:
        network: its shape.
        images: float32 (N, C, H, W); labels: int64 (N,) or float32 (N, L).
        recipe: steps, batch, step size, augmentation.
        seed: initial parameters, order of images and augmentation come from it.
        mirror: whether a flip keeps the labels true.
        on_step: told (step, steps) after each.

    Returns:
        the parameters, detached.
    """
    params = network.init(generator(seed, "init"))
    order, draws = generator(seed, "order"), generator(seed, "augment")
    steps, n = recipe.steps_for(len(images)), len(images)
    batch = min(recipe.batch, n)
    velocity = [torch.zeros_like(p) for p in params]
    weights = [p.requires_grad_() for p in params]
    lr = recipe.lr
    waiting = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if step == -(-steps // 2):
            lr = recipe.lr * 0.1
        if len(waiting) < batch:  # whole epochs in random order, one running into the next
            waiting = torch.cat([waiting, torch.randperm(n, generator=order)])
        at, waiting = waiting[:batch], waiting[batch:]
        x = images[at]
        if recipe.augment:
            x = augment.apply(x, augment.draw(draws, batch, size=x.shape[-1], mirror=mirror))
        loss = objective(network(tuple(weights), x), labels[at])
        gradients = list(torch.autograd.grad(loss, weights))
        with torch.no_grad():
            torch._foreach_add_(gradients, weights, alpha=recipe.weight_decay)
            torch._foreach_mul_(velocity, recipe.momentum)
            torch._foreach_add_(velocity, gradients)
            torch._foreach_add_(weights, velocity, alpha=-lr)
        if on_step is not None:
            on_step(step + 1, steps)
    return tuple(w.detach() for w in weights)


def predict(network: Network, params: Params, images: Tensor, *, batch: int = 512) -> Tensor:
    """Logits, float32 (N, K), of images (N, C, H, W)."""
    with torch.no_grad():
        return torch.cat([network(params, images[i : i + batch]) for i in range(0, len(images), batch)])


def probabilities(logits: Tensor, *, multilabel: bool) -> Tensor:
    """Logits (N, K) as probabilities: over classes, or for each label on its own."""
    return logits.sigmoid() if multilabel else logits.softmax(1)


def stack(networks: Sequence[Params]) -> Params:
    """Several networks' parameters as one tuple of tensors with a leading axis."""
    return tuple(torch.stack(parts) for parts in zip(*networks, strict=True))


def unstack(params: Params) -> list[Params]:
    """The inverse of `stack`."""
    return [tuple(p[i] for p in params) for i in range(len(params[0]))]
