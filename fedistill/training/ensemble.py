"""Fitting several networks, each with a seed of its own.

They are trained one after another. A GPU that one small network leaves idle was tried to be filled in other ways (one
H200, width 128, 90 images a step): stacked as groups of one convolution they took 1.3 times less than eager steps one
after another, where one CUDA graph a step with fused kernels takes 4.7 times less; on several streams at once another
1.35 times less, but such runs have hung.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from fedistill.errors import SettingError
from fedistill.models import Network, Params
from fedistill.training.fit import fit
from fedistill.training.recipe import Recipe


def fit_ensemble(
    network: Network,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    mirror: bool,
    precision: str = "float32",
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
        precision: what a GPU computes in, as for `fit`.
        on_step: told (step, steps) after each step, of all networks' steps; on a GPU when it is launched.

    Returns:
        each network's parameters, detached, on the images' device.

    Raises:
        SettingError: another number of pools than of seeds.
    """
    own = images.ndim == 5
    if own and len(images) != len(seeds):
        raise SettingError("Each network needs a pool.", expected=f"{len(seeds)} pools", found=f"{len(images)} pools")
    return [
        fit(
            network,
            images[k] if own else images,
            labels[k] if own else labels,
            recipe,
            seed=seed,
            mirror=mirror,
            precision=precision,
            on_step=_counting_on(on_step, k, len(seeds)),
        )
        for k, seed in enumerate(seeds)
    ]


def _counting_on(
    on_step: Callable[[int, int], None] | None, index: int, networks: int
) -> Callable[[int, int], None] | None:
    """The listener of one network: it counts on from the networks before."""
    if on_step is None:
        return None
    return lambda step, steps: on_step(index * steps + step, networks * steps)
