"""Where synthetic images start: which labels they carry, and the pixels before the first step."""

from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from fedistill.distill.clusters import ClusterSettings, clusters_held
from fedistill.distill.method import Task, classes_held

WHOLE = ClusterSettings()  # classes as they are


def sample(at: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n of these positions, without replacement while they last, then again from all of them.

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


def start(task: Task, kind: str, generator: torch.Generator, clusters: ClusterSettings = WHOLE) -> Start:
    """Where a task begins.

    A multi-label set is one group of ipc x labels images, whose label vectors are those of real images drawn at
    random: vectors made up would pair findings that never occur together.

    Args:
        task: gives the real images, the budget and the classes held.
        kind: ``noise`` or ``real``.
        generator: of the draw.
        clusters: what each class is split into.
    """
    real = task.images
    budget = task.budget * (real.n_classes if real.multilabel else 1)
    held = clusters_held(real, budget, clusters)
    each = budget * len(classes_held(real)) // len(held)
    picked = []
    for _, same in groupby(held, key=id):  # a cluster listed several times gives each of its images once first
        copies = list(same)
        picked.append(sample(copies[0], len(copies) * each, generator))
    positions = torch.cat(picked)
    labels = real.targets()[positions]
    if kind == "real":
        images = real.take(positions.numpy()).pixels()
    else:
        images = torch.randn((len(positions), real.channels, real.size, real.size), generator=generator)
    return Start(images, labels, held, [slice(i * each, (i + 1) * each) for i in range(len(held))])
