"""Where synthetic images start: which labels they carry, and the pixels before the first step."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from fedistill.core.ranges import QUIET, Range
from fedistill.data.imageset import ImageSet
from fedistill.errors import PolicyError, SettingError
from fedistill.methods.engine.clusters import ClusterSettings, clusters_held
from fedistill.methods.engine.method import Task, classes_held
from fedistill.training.packing import MOST, pack_images, repeated, require_pack, shown

WHOLE = ClusterSettings()  # classes as they are

StartFrom = Literal["noise", "mean", "gaussian", "real"]
STARTS = get_args(StartFrom)
"""What images may start from: standard noise; the mean image of their cluster, with a little noise that tells several
apart; draws from a Gaussian of low rank fitted to their class; or images drawn from the real ones."""

RANK = 16  # axes of the Gaussian, at most
FEWEST_AN_AXIS = 4  # images of a class for each axis: with as many axes as images, a draw mixes patients' own images
BESIDE = 0.1  # standard deviation of the noise beside a mean


@dataclass(frozen=True)
class PackSettings:
    """Settings of methods whose images can be packed.

    Args:
        pack: smaller images along each side of one; networks are shown each at full size (IDC, arXiv 2205.14959).
    """

    pack: Annotated[int, Range(ge=1, le=MOST), QUIET] = 1


def sample(at: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n of these positions, without replacement while they last, then again from all of them.

    >>> sample(torch.tensor([4, 7]), 5, torch.Generator().manual_seed(0)).sort().values.tolist()[0]
    4
    """
    rounds = -(-n // len(at))
    return torch.cat([at[torch.randperm(len(at), generator=generator)] for _ in range(rounds)])[:n]


@dataclass(frozen=True, eq=False)
class Start:
    """Images and labels to begin with, and what is to be matched with what.

    Args:
        images: float32 (N, C, H, W).
        labels: int64 (N,) or float32 (N, L).
        held: positions of the real images of each group: a class the site holds, or a cluster of one.
        groups: its synthetic images, as many in each.
    """

    images: Tensor
    labels: Tensor
    held: list[Tensor]
    groups: list[slice]

    def shown(self, pack: int) -> "Start":
        """Return what networks are shown of packed images, which is what they are matched by."""
        each = pack * pack
        groups = [slice(group.start * each, group.stop * each) for group in self.groups]
        return Start(shown(self.images, pack), repeated(self.labels, pack), self.held, groups)


def start(
    task: Task,
    kind: str,
    generator: torch.Generator,
    clusters: ClusterSettings = WHOLE,
    features: Callable[[], Tensor] | None = None,
    *,
    pack: int = 1,
) -> Start:
    """Return where a task's images begin.

    A multi-label set is one group of ipc x labels images, whose label vectors are those of real images drawn at
    random: vectors made up would pair findings that never occur together. Where a policy wants classes of several
    patients (``task.smallest``), a vector that fewer have is drawn anew, each label by itself, as often as it occurs.

    Args:
        task: gives the real images, the budget and the classes held.
        kind: one of `STARTS`.
        generator: of the draw.
        clusters: what each class is split into.
        features: what images are told apart by, as for `clusters_held`.
        pack: smaller images along each side of one; real ones to start from are then packed as well.

    Raises:
        SettingError: images of this size, or with several labels each, cannot be packed so.
    """
    real = task.images
    require_pack(pack, real.size)
    if pack > 1 and kind == "real" and real.multilabel:
        raise SettingError(
            "Real images with several labels each are not packed: the images in one would share its labels.",
            mend='set start = "noise", or pack = 1',
        )
    cells = pack * pack if kind == "real" else 1
    budget = task.budget * (real.n_classes if real.multilabel else 1)
    held = clusters_held(real, budget, clusters, features)
    shared = shared_vectors(real, task.smallest) if real.multilabel and task.smallest > 1 else None
    each = budget * len(classes_held(real)) // len(held)
    picked = []
    for _, same in groupby(held, key=id):  # a cluster listed several times gives each of its images once first
        copies = list(same)
        at = copies[0]
        if shared is not None and kind == "real":  # an image keeps its own labels
            at = _some(at[shared[at]], task.smallest)
        picked.append(sample(at, len(copies) * each * cells, generator))
    positions = torch.cat(picked)
    labels = real.targets()[positions[::cells]]
    if shared is not None:
        labels = torch.where(shared[positions, None], labels, _drawn_anew(real, len(positions), generator))
    groups = [slice(i * each, (i + 1) * each) for i in range(len(held))]
    if kind == "real":
        images = pack_images(real.take(positions.numpy()).pixels(), pack)
    else:
        images = torch.randn((len(positions), real.channels, real.size, real.size), generator=generator)
    if kind in ("mean", "gaussian"):
        pixels = real.pixels()
        for at, group in zip(held, groups, strict=True):
            draw = _beside_mean if kind == "mean" else gaussian
            images[group] = draw(pixels[at], images[group])
    return Start(images, labels, held, groups)


def _beside_mean(real: Tensor, noise: Tensor) -> Tensor:
    return real.mean(0) + BESIDE * noise


def gaussian(real: Tensor, noise: Tensor) -> Tensor:
    """Return draws from the Gaussian of low rank that fits real images (N, C, H, W).

    Args:
        real: the images that are fitted.
        noise: standard normal (M, C, H, W), of which a draw takes as many numbers as there are axes.

    Returns:
        images like `noise`: the mean, and along each principal axis the spread that the real images have.
    """
    rows, rank = real.flatten(1), min(RANK, len(real) // FEWEST_AN_AXIS)
    mean = rows.mean(0)
    if not rank:
        return mean.view_as(real[0]).expand_as(noise).clone()
    _, spread, axes = torch.linalg.svd((rows - mean).double(), full_matrices=False)
    scores = noise.flatten(1)[:, :rank].double() * spread[:rank] / len(real) ** 0.5
    return (mean + (scores @ axes[:rank]).to(mean)).view_as(noise)


def shared_vectors(images: ImageSet, least: int) -> Tensor:
    """Return which images have a label vector that at least so many patients (or images) share, bool (N,)."""
    _, vector, counts = np.unique(images.labels, axis=0, return_inverse=True, return_counts=True)
    vector = vector.reshape(-1)
    if images.groups is not None:
        pairs = np.unique(np.stack([vector, np.unique(images.groups, return_inverse=True)[1].reshape(-1)]), axis=1)
        counts = np.bincount(pairs[0], minlength=len(counts))
    return torch.from_numpy(counts[vector] >= least)


def _some(at: Tensor, least: int) -> Tensor:
    """Return these positions; raise PolicyError where there are none."""
    if not len(at):
        raise PolicyError(
            f"The site's policy forbids it: no findings are shared by {least} patients (rule min_class_size).",
            mend='start = "noise", whose labels may be drawn anew',
        )
    return at


def _drawn_anew(images: ImageSet, n: int, generator: torch.Generator) -> Tensor:
    """Return label vectors float32 (n, L) that are nobody's: each label drawn by itself, as often as it occurs."""
    often = images.targets().mean(0)
    return (torch.rand((n, images.n_classes), generator=generator) < often).float()
