"""Where synthetic images start: which labels they carry, and the pixels before the first step."""

import torch
from torch import Tensor

from fedistill.distill.method import Task, classes_held


def sample(at: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n of these positions, without replacement while they last, then again from all of them.

    >>> sample(torch.tensor([4, 7]), 5, torch.Generator().manual_seed(0)).sort().values.tolist()[0]
    4
    """
    rounds = -(-n // len(at))
    return torch.cat([at[torch.randperm(len(at), generator=generator)] for _ in range(rounds)])[:n]


def start(task: Task, kind: str, generator: torch.Generator) -> tuple[Tensor, Tensor, list[slice]]:
    """Images and labels to begin with, and the slice of them that belongs to each class the site holds.

    Args:
        task: gives the real images, the budget and the classes held.
        kind: ``noise`` or ``real``.
        generator: of the draw.

    Returns:
        images float32 (N, C, H, W), labels int64 (N,) or float32 (N, L), and one slice per group, in the order of
        `classes_held`. A multi-label set is one group of ipc x labels images, whose label vectors are those of real
        images drawn at random: vectors made up would pair findings that never occur together.
    """
    real = task.images
    each = task.budget * (real.n_classes if real.multilabel else 1)
    groups = classes_held(real)
    picked = torch.cat([sample(at, each, generator) for at in groups])
    labels = real.targets()[picked]
    if kind == "real":
        images = real.take(picked.numpy()).pixels()
    else:
        images = torch.randn((len(picked), real.channels, real.size, real.size), generator=generator)
    return images, labels, [slice(i * each, (i + 1) * each) for i in range(len(groups))]
