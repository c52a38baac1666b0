"""Fitting several networks at once, as one stacked ensemble: every tensor has a leading axis over the networks.

Each network takes exactly the steps that `fit` takes with its seed, so the results are those of the readable loop there
to rounding. It is meant for a GPU, which a single small network leaves idle most of the time: the loop only launches
work, on a K-th of the calls, and never waits for a result.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedistill.core.seeds import generator
from fedistill.errors import SettingError
from fedistill.models import Network, Params, objective
from fedistill.training import augment
from fedistill.training.augment import OPERATIONS, Draw
from fedistill.training.device import full_precision
from fedistill.training.fit import descend, fit, stack, unstack
from fedistill.training.recipe import Recipe
from fedistill.training.schedule import schedule

MEMORY = 4 * 2**30
"""Bytes that the activations of networks trained together may take."""

KEPT = 5
"""Numbers in memory at the peak for each that a convolution puts out: what the backward pass needs, and gradients."""


def fit_ensemble(
    network: Network,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    mirror: bool,
    most: int | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Params]:
    """Train a network for each seed.

    Args:
        network: their shape.
        images: float32 (N, C, H, W), which all train on, or (K, N, C, H, W), a pool for each; on the device to train
            on. labels: int64 (N,) or float32 (N, L), or with the leading axis of the images; there too.
        recipe: steps, batch, step size, augmentation.
        seeds: initial parameters, order of images and augmentation of a network come from its own.
        mirror: whether a flip keeps the labels true.
        most: networks trained together, so that they fit in memory; worked out from their size unless given.
        on_step: told (step, steps) after each step of a group of networks; on a GPU when it is launched.

    Returns:
        each network's parameters, detached, on the images' device.

    Raises:
        SettingError: another number of pools than of seeds, or less than one network at a time.
    """
    own = images.ndim == 5
    if own and len(images) != len(seeds):
        raise SettingError("Each network needs a pool.", expected=f"{len(seeds)} pools", found=f"{len(images)} pools")
    if most is None:
        most = at_once(network, min(recipe.batch, images.shape[-4]), images.element_size())
    if most < 1:
        raise SettingError("most counts networks that are trained together.", expected="at least 1", found=most)
    groups = -(-len(seeds) // most)
    size = -(-len(seeds) // max(groups, 1))  # ten networks, nine at a time at most: five and five
    trained: list[Params] = []
    for group in range(groups):
        members = slice(group * size, (group + 1) * size)
        trained += _fit_group(
            network,
            images[members] if own else images[None],
            labels[members] if own else labels[None],
            recipe,
            seeds=seeds[members],
            mirror=mirror,
            on_step=_nth(on_step, group, groups),
        )
    return trained


def at_once(network: Network, batch: int, bytes_each: int = 4) -> int:
    """Networks of this size that may be trained together on batches of so many images, at least 1.

    >>> from fedistill.models import build
    >>> [at_once(build("convnet", channels=1, classes=2, size=size), 64) for size in (28, 64, 224)]
    [19, 4, 1]
    """
    return max(1, MEMORY // (KEPT * bytes_each * network.activations * batch))


def _nth(on_step: Callable[[int, int], None] | None, group: int, groups: int) -> Callable[[int, int], None] | None:
    """The listener of one group: it counts on from the groups before."""
    if on_step is None:
        return None
    return lambda step, steps: on_step(group * steps + step, groups * steps)


def _fit_group(
    network: Network,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    mirror: bool,
    on_step: Callable[[int, int], None] | None,
) -> list[Params]:
    """Networks trained together; images (K, N, C, H, W), or (1, N, C, H, W) for all of them."""
    pools, n = images.shape[:2]
    if len(seeds) == 1:
        return [fit(network, images[0], labels[0], recipe, seed=seeds[0], mirror=mirror, on_step=on_step)]
    device, steps = images.device, recipe.steps_for(n)
    fresh = stack([network.init(generator(seed, "init")) for seed in seeds])
    weights = [p.to(images).requires_grad_() for p in fresh]
    velocity = [torch.zeros_like(w) for w in weights]
    # All pools laid end to end: a network's images are those from its own pool's first on.
    images, labels = images.flatten(0, 1), labels.flatten(0, 1)
    first = torch.arange(len(seeds), device=device)[:, None] * (n if pools > 1 else 0)
    planned = schedule(recipe, n, seeds=seeds, size=images.shape[-1], mirror=mirror, device=device)
    with full_precision(device):
        for number, step in enumerate(planned):
            at = step.at + first
            x = images[at]
            if step.draws is not None:
                x = _augmented(x, step.draws)
            logits = network.together(tuple(weights), x)
            # The batches are equally long: the mean over all, times the networks, is the sum of each one's own mean.
            loss = objective(logits.flatten(0, 1), labels[at].flatten(0, 1)) * len(seeds)
            descend(weights, velocity, torch.autograd.grad(loss, weights), recipe, lr=recipe.lr_at(number, steps))
            if on_step is not None:
                on_step(number + 1, steps)
    # Copies: a view of one network would carry all of them along to wherever it is sent.
    return [tuple(p.clone() for p in params) for params in unstack(tuple(w.detach() for w in weights))]


def _augmented(x: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Images (K, N, C, H, W), each network's under its own draw; those that drew the same operation take it at once."""
    made = list(x)
    for op in OPERATIONS:
        who = [k for k, draw in enumerate(draws) if draw.op == op]
        if who:
            drawn = Draw(op, torch.cat([draws[k].values for k in who]))
            parts = augment.apply(torch.cat([x[k] for k in who]), drawn).split(x.shape[1])
            for k, part in zip(who, parts, strict=True):
                made[k] = part
    return torch.stack(made)
