"""Schemes that share real images: all of them, a random subset, or the subset that herding or k-center picks.

Herding: Welling, *Herding dynamical weights to learn*, ICML 2009, as Rebuffi et al. use it (iCaRL, CVPR 2017, arXiv
1611.07725): image after image, the one that brings the mean embedding of those picked nearest to the class's mean.
k-center: Sener & Savarese, *Active Learning for Convolutional Neural Networks: A Core-Set Approach*, ICLR 2018 (arXiv
1708.00489), their greedy form: image after image, the one farthest from all picked, the first nearest to the mean.

Packed, an image holds pack * pack patients' images of one class, made smaller. A class with fewer images than were
asked for fills as many whole ones as it can; one that cannot fill a single one repeats its images in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.ranges import Count, NonNegativeInt, PositiveFloat
from fedistill.errors import SettingError
from fedistill.methods.engine import sgd
from fedistill.methods.engine.method import SyntheticSet, Task, Tensors, classes_held
from fedistill.methods.engine.start import PackSettings
from fedistill.training.packing import pack_images, require_pack

VERSION = 1


@dataclass(frozen=True)
class NoSettings:
    """Settings of methods that have nothing to set."""


@dataclass(frozen=True)
class RandomSettings(PackSettings):
    """Settings of a random subset: those of `PackSettings`."""


@dataclass(frozen=True)
class EmbeddingSettings(PackSettings):
    """Args: ``epochs``, ``batch`` and ``lr`` of training the network whose embedding is used; ``pack``."""

    epochs: NonNegativeInt = 10
    batch: Count = 32
    lr: PositiveFloat = 0.01


def full(task: Task, settings: NoSettings) -> SyntheticSet:
    """Return every image."""
    return SyntheticSet(task.images.pixels(), task.images.targets(), None)


def random(task: Task, settings: RandomSettings) -> SyntheticSet:
    """Draw `task.draws` independent subsets, each of min(ipc, count) images of every class held."""
    pack = settings.pack
    draws = [_random_subset(task, pack, seeds.rng(task.seed, "random", task.budget, i)) for i in range(task.draws)]
    held = torch.tensor([len(d) // pack**2 for d in draws])
    which = torch.repeat_interleave(torch.arange(task.draws), held)
    return as_packed(task, np.concatenate(draws), pack, draw=which if task.draws > 1 else None)


def herding(task: Task, settings: EmbeddingSettings) -> SyntheticSet:
    """Pick the min(ipc, count) images of every class held whose mean embedding is nearest to the class's (iCaRL)."""
    return _picked(task, settings, herd)


def kcenter(task: Task, settings: EmbeddingSettings) -> SyntheticSet:
    """Pick min(ipc, count) images of every class held, so that all others lie near one (k-center, arXiv 1708.00489)."""
    return _picked(task, settings, spread)


def _picked(task: Task, settings: EmbeddingSettings, pick: Callable[[Tensor, int], Tensor]) -> SyntheticSet:
    features, pack = embedding(task, settings), settings.pack
    picked = []
    for at in classes_held(task.images):
        wanted = images_to_take(task, len(at), pack)
        first = at[pick(features[at], min(wanted, len(at)))]
        picked.append(first[torch.arange(wanted) % len(first)])
    return as_packed(task, torch.cat(picked).numpy(), pack)


def herd(features: Tensor, n: int) -> Tensor:
    """Return positions of n rows of (N, D), greedily keeping the mean of those picked nearest to the mean of all.

    >>> herd(torch.tensor([[0.0], [1.0], [5.0], [6.0]]), 2).tolist()
    [1, 2]
    """
    mean = features.mean(0)
    total = torch.zeros_like(mean)
    free = torch.ones(len(features), dtype=torch.bool)
    picked: list[int] = []
    for k in range(1, n + 1):
        away = torch.linalg.vector_norm((total + features) / k - mean, dim=1)
        best = int(torch.where(free, away, torch.inf).argmin())
        free[best] = False
        total = total + features[best]
        picked.append(best)
    return torch.tensor(picked)


def spread(features: Tensor, n: int) -> Tensor:
    """Return positions of n rows of (N, D): first the one nearest to the mean, then always the one farthest away.

    >>> spread(torch.tensor([[0.0], [1.0], [5.0], [6.0], [3.5]]), 3).tolist()
    [4, 0, 3]
    """
    nearest = int(torch.linalg.vector_norm(features - features.mean(0), dim=1).argmin())
    picked, away = [nearest], torch.full((len(features),), torch.inf)
    while len(picked) < n:
        away = torch.minimum(away, torch.linalg.vector_norm(features - features[picked[-1]], dim=1))
        away[picked[-1]] = -1  # equal images: none is picked twice
        picked.append(int(away.argmax()))
    return torch.tensor(picked)


def embedding(task: Task, settings: EmbeddingSettings) -> Tensor:
    """Return the images' features (N, D), each of length one, under a network trained on them (as in iCaRL)."""
    net = task.network()
    x, y = task.images.pixels(), task.images.targets()

    def make() -> Tensors:
        generator = seeds.generator(task.seed, "herding")
        params = sgd.fresh(net.init(generator))
        take = partial(sgd.step, net, params, lr=settings.lr)
        sgd.epochs(take, x, y, n=settings.epochs, batch=settings.batch, generator=generator)
        return {"theta": sgd.flatten(params)}

    about = {
        **task.training_detail(),
        "epochs": settings.epochs,
        "batch": settings.batch,
        "lr": settings.lr,
        "version": VERSION,
    }
    theta = task.remember("embedding", about, make)["theta"]
    params = sgd.unflatten(theta, net.init(torch.Generator()))
    with torch.no_grad():
        features = torch.cat([net.embed(params, part) for part in x.split(64)])
    return torch.nn.functional.normalize(features, dim=1)


def as_packed(task: Task, at: np.ndarray, pack: int, *, draw: Tensor | None = None) -> SyntheticSet:
    """Return the images at these positions, packed in this order."""
    chosen = task.images.take(at)
    labels = chosen.targets()[:: pack * pack]
    return SyntheticSet(pack_images(chosen.pixels(), pack), labels, task.budget, draw=draw, pack=pack)


def images_to_take(task: Task, available: int, pack: int) -> int:
    """Return how many real images to take of a class: as many as were asked for, or as fill whole packed images.

    At least one packed image is filled.

    Raises:
        SettingError: images of this size, or with several labels each, cannot be packed so.
    """
    require_pack(pack, task.images.size)
    if pack > 1 and task.images.multilabel:
        raise SettingError(
            "Real images with several labels each are not packed: the images in one would share its labels.",
            mend="set pack = 1",
        )
    wanted = task.budget * (task.images.n_classes if task.images.multilabel else 1)
    return max(1, min(wanted, available // pack**2)) * pack**2


def _random_subset(task: Task, pack: int, rng: np.random.Generator) -> np.ndarray:
    """Draw positions, class after class, as many as fill whole packed images."""
    picked = []
    for at in (group.numpy() for group in classes_held(task.images)):
        wanted = images_to_take(task, len(at), pack)
        first = rng.choice(at, min(wanted, len(at)), replace=False)
        picked.append(np.resize(first, wanted))  # repeats them where a class cannot fill one
    return np.concatenate(picked)
