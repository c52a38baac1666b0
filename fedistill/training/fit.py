"""Fitting networks: plain SGD (or AdamW) on tensors in memory, lean enough that convolutions are what costs time."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from fedistill.core.seeds import generator
from fedistill.models import Network, Params, objective
from fedistill.training import augment, graphs, mix
from fedistill.training.adamw import AdamW
from fedistill.training.descent import Descent, Rule, borrowed, lowered
from fedistill.training.device import computing_in, full_precision
from fedistill.training.recipe import Recipe
from fedistill.training.schedule import Step, schedule

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
    start: Params | None = None,
    proximal: float = 0.0,
    precision: str = "float32",
    soft: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> Params:
    """Train one network.

    Args:
        network: its shape.
        images: float32 (N, C, H, W) on the device to train on.
        labels: int64 (N,) or float32 (N, L), there too; float32 (N, C) with `soft`.
        recipe: steps, batch, step size, augmentation. On a GPU, one with AdamW or a mixture takes its steps one
            operation after another, several times slower than plain SGD's graphs.
        seed: initial parameters, order of images and augmentation come from it.
        mirror: whether a flip keeps the labels true.
        start: parameters to begin with; fresh ones unless given.
        proximal: weight of half the squared distance to where it began, in the loss (FedProx, arXiv 1812.06127).
        precision: what a GPU computes in: ``float32``, ``tf32`` or ``bfloat16``. A processor computes in full.
        soft: whether labels are probabilities of classes, float32 (N, C), and not several labels an image.
        on_step: called with (step, steps) after each; on a GPU when it is launched.

    Returns:
        the parameters, detached, on the images' device.
    """
    device, steps = images.device, recipe.steps_for(len(images))
    begun = [p.to(images) for p in (network.init(generator(seed, "init")) if start is None else start)]
    planned = schedule(recipe, len(images), seeds=[seed], size=images.shape[-1], mirror=mirror, device=device)
    if graphs.used_on(device) and recipe.plain:
        rule = Rule(recipe.momentum, recipe.weight_decay, proximal)
        with borrowed(network, [tuple(begun)], rule=rule, precision=precision, soft=soft) as descent:
            follow(descent, planned, images[None], labels[None], recipe, on_step)
            return descent.current()[0]
    weights = [p.clone().requires_grad_() for p in begun]
    velocity = [torch.zeros_like(w) for w in weights]
    adamw = AdamW(weights, weight_decay=recipe.weight_decay) if recipe.optimiser == "adamw" else None
    forward = lowered(network, precision) if device.type == "cuda" else network
    with computing_in(precision, device):
        for number, step in enumerate(planned):
            at = step.at[0]
            x = images[at]
            if step.draws is not None:
                x = augment.apply(x, step.draws[0])
            if step.mixes is None:
                loss = objective(forward(tuple(weights), x), labels[at], soft=soft)
            else:
                mixed = mix.apply(x, step.mixes[0])
                loss = mix.mixed_objective(forward(tuple(weights), mixed), labels[at], step.mixes[0], soft=soft)
            gradients = torch.autograd.grad(loss, weights)
            if proximal:
                gradients = tuple(
                    g + proximal * (w.detach() - w0) for g, w, w0 in zip(gradients, weights, begun, strict=True)
                )
            lr = recipe.lr_at(number, steps)
            if adamw is None:
                descend(weights, velocity, gradients, recipe, lr=lr)
            else:
                adamw.step(gradients, lr=lr)
            if on_step is not None:
                on_step(number + 1, steps)
    return tuple(w.detach() for w in weights)


def follow(
    descent: Descent,
    planned: Iterable[Step],
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    on_step: Callable[[int, int], None] | None = None,
) -> None:
    """Take the steps of a schedule by a descent of K networks; nothing here waits for a GPU.

    Args:
        descent: of the networks.
        planned: the steps.
        images: float32 (K, N, C, H, W), a pool for each network, or (1, N, C, H, W), one for all.
        labels: with the same leading axes.
        recipe: the step size at each step.
        on_step: called with (step, steps) after each.
    """
    pools, n = images.shape[:2]
    steps, device = recipe.steps_for(n), images.device
    # All pools laid end to end: a network's images are those from its own pool's first on.
    images, labels = images.flatten(0, 1), labels.flatten(0, 1)
    first = torch.arange(pools, device=device)[:, None] * n
    with full_precision(device):  # of the augmentation; a graph computes in what it was recorded in
        for number, step in enumerate(planned):
            at = step.at + first
            x = images[at]
            if step.draws is not None:
                x = augment.apply_each(x.flatten(0, 1), step.draws).view_as(x)
            descent.step(x, labels[at], recipe.lr_at(number, steps))
            if on_step is not None:
                on_step(number + 1, steps)


def descend(
    weights: list[Tensor], velocity: list[Tensor], gradients: tuple[Tensor, ...], recipe: Recipe, *, lr: float
) -> None:
    """Take one step of SGD with momentum and weight decay, in place."""
    with torch.no_grad():
        torch._foreach_add_(gradients, weights, alpha=recipe.weight_decay)
        torch._foreach_mul_(velocity, recipe.momentum)
        torch._foreach_add_(velocity, gradients)
        torch._foreach_add_(weights, velocity, alpha=-lr)


def predict(network: Network, params: Params, images: Tensor, *, batch: int = 512) -> Tensor:
    """Compute logits, float32 (N, K) on the processor, of images (N, C, H, W), where the parameters are."""
    device = params[0].device
    with torch.no_grad(), full_precision(device):
        parts = [network(params, images[i : i + batch].to(device)) for i in range(0, len(images), batch)]
        return torch.cat(parts).cpu()


def probabilities(logits: Tensor, *, multilabel: bool) -> Tensor:
    """Turn logits (N, K) into probabilities: over classes, or for each label on its own."""
    return logits.sigmoid() if multilabel else logits.softmax(1)


def stack(networks: Sequence[Params]) -> Params:
    """Stack several networks' parameters into one tuple of tensors with a leading axis."""
    return tuple(torch.stack(parts) for parts in zip(*networks, strict=True))


def unstack(params: Params) -> list[Params]:
    """Undo `stack`."""
    return [tuple(p[i] for p in params) for i in range(len(params[0]))]
