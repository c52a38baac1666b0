"""The private methods' answers: an image's vector, and beside it a constant in one more coordinate.

So each noisy sum (`fedistill.training.clipping`) comes with a noisy count of the images in it.
"""

import math

import torch
from torch import Tensor

from fedistill.methods.engine.method import Task
from fedistill.training.noise import Source, source_for

COUNT = 0.3
"""The constant beside a vector of norm `ROOM`: together they have norm 1. Small, for it takes noise's room from it."""

ROOM = math.sqrt(1 - COUNT**2)


def source(task: Task, name: str) -> Source:
    """Return the source of a task's noise; `name` is the method's."""
    return source_for(task.entropy, task.seed, name)


def counted(vectors: Tensor, clip: float) -> Tensor:
    """Clip vectors (N, D) to norm `clip`, and add the coordinate that counts them: (N, D + 1).

    No row is longer than `clip`; a vector that is not finite counts as an image that tells nothing else.
    """
    norms = vectors.norm(dim=1, keepdim=True)
    scaled = vectors * (ROOM * (clip / norms.clamp_min(1e-30)).clamp_max(1.0))
    scaled = torch.where(torch.isfinite(norms), scaled, torch.zeros_like(scaled))
    return torch.cat([scaled, scaled.new_full((len(scaled), 1), COUNT * clip)], 1)
