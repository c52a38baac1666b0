"""Fitting several networks, each with a seed of its own and its own order of the images.

On a processor one after another; on a GPU a few at one time, as branches of one graph. One H200, width 128, TF32, 90
images a step, milliseconds a step of each network: one after another 1.35 as graphs of PyTorch's operations, 0.46 as
graphs with fused kernels; of these two at a time 0.37, four 0.34, eight 0.33. (On 256 images 1.01, 0.84, 0.82 four.)
Stacked as groups of one convolution they are slower than one after another.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from fedistill.core.seeds import generator
from fedistill.errors import SettingError
from fedistill.models import Network, Params
from fedistill.training import graphs
from fedistill.training.descent import Rule, borrowed
from fedistill.training.fit import fit, follow
from fedistill.training.recipe import Recipe
from fedistill.training.schedule import schedule

MOST = 4
"""Networks at one time: eight are hardly faster, and hold twice the memory."""

MEMORY = 4 * 2**30
"""Bytes that the activations of networks trained at one time may take."""

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
    precision: str = "float32",
    soft: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Params]:
    """Train a network for each seed, several at a time where that is faster.

    Args:
        network: their shape.
        images: float32 (N, C, H, W), which all train on, or (K, N, C, H, W), a pool for each; on the device
            to train on.
        labels: int64 (N,) or float32 (N, L), or with the leading axis of the images; there too.
        recipe: steps, batch, step size, augmentation.
        seeds: initial parameters, order of images and augmentation of a network come from its own.
        mirror: whether a flip keeps the labels true.
        precision: what a GPU computes in, as for `fit`.
        soft: whether labels are probabilities of classes, as for `fit`.
        on_step: called with (step, steps) after each step, of all networks' steps; on a GPU when it is launched.

    Returns:
        each network's parameters, detached, on the images' device.

    Raises:
        SettingError: another number of pools than of seeds.
    """
    own = images.ndim == 5
    if own and len(images) != len(seeds):
        raise SettingError("Each network needs a pool.", expected=f"{len(seeds)} pools", found=f"{len(images)} pools")
    trained: list[Params] = []
    in_graphs = graphs.used_on(images.device) and recipe.plain
    together = at_once(network, min(recipe.batch, images.shape[-4])) if in_graphs else 1
    for members in (slice(i, i + together) for i in range(0, len(seeds), together)):
        x, y = (images[members], labels[members]) if own else (images[None], labels[None])
        tell = _counting_on(on_step, members.start, len(seeds[members]), len(seeds))
        if together == 1:
            [seed] = seeds[members]
            trained.append(
                fit(network, x[0], y[0], recipe, seed=seed, mirror=mirror, precision=precision, soft=soft, on_step=tell)
            )
            continue
        begun = [tuple(p.to(x) for p in network.init(generator(seed, "init"))) for seed in seeds[members]]
        rule = Rule(recipe.momentum, recipe.weight_decay)
        planned = schedule(recipe, x.shape[1], seeds=seeds[members], size=x.shape[-1], mirror=mirror, device=x.device)
        with borrowed(network, begun, rule=rule, precision=precision, soft=soft) as descent:
            follow(descent, planned, x, y, recipe, tell)
            trained += descent.current()
    return trained


def at_once(network: Network, batch: int) -> int:
    """Return how many networks of this size a GPU trains at one time on batches of so many images, at least 1.

    >>> from fedistill.models import build
    >>> [at_once(build("convnet", channels=1, classes=2, size=size), 64) for size in (28, 64, 224)]
    [4, 4, 1]
    """
    return max(1, min(MOST, MEMORY // (KEPT * 4 * network.activations * batch)))


def _counting_on(
    on_step: Callable[[int, int], None] | None, done: int, group: int, networks: int
) -> Callable[[int, int], None] | None:
    """Return the listener of some networks' training: it counts all networks' steps, on from those trained before."""
    if on_step is None:
        return None
    return lambda step, steps: on_step(done * steps + group * step, networks * steps)
