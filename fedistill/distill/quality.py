"""How good are images on their way? Small networks trained on them, scored on the site's own validation images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedistill import seeds
from fedistill.distill.method import Task
from fedistill.models import Network
from fedistill.training.fit import fit, predict, probabilities
from fedistill.training.metrics import tally
from fedistill.training.recipe import Recipe

# The same two networks at every look, so that looks differ by the images alone; long enough to tell them apart.
NETWORKS = 2
RECIPE = Recipe("look", lr=0.01, steps=60, batch=64, augment=True)

FEWEST = 5  # validation images of a class below which its AUC is an accident
MOST = 512  # validation images scored, drawn once


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores synthetic images.

    Args:
        network: its shape.
        images, labels: validation images float32 (V, C, H, W), and their labels as the metrics take them.
        mirror: whether a flip keeps the labels true.
        seed: of the networks.
    """

    network: Network
    images: Tensor
    labels: np.ndarray
    mirror: bool
    seed: int

    @classmethod
    def of(cls, task: Task, name: str) -> "Judge | None":
        """The judge of a task; None where it has too few validation images to judge by."""
        val = task.val
        if val is None or not len(val):
            return None
        if len(val) > MOST:
            drawn = seeds.rng(task.seed, name, "look").permutation(len(val))[:MOST]
            val = val.take(np.sort(drawn))
        counts = val.counts()
        held = counts[counts > 0]
        if held.min() < FEWEST or (not val.multilabel and len(held) < 2):
            task.on_event({"stage": name, "message": "too few validation images to stop or choose by"})
            return None
        seed = seeds.spawn(task.seed, name, "look")
        return cls(task.network(), val.pixels().to(task.device), val.labels, val.mirror, seed)

    def __call__(self, images: Tensor, labels: Tensor) -> float:
        """Mean AUC of the networks' averaged predictions, 0..1; 0 where a network cannot be trained on the images."""
        total = torch.zeros(())
        for k in range(NETWORKS):
            seed = seeds.spawn(self.seed, k)
            params = fit(self.network, images, labels, RECIPE, seed=seed, mirror=self.mirror)
            scores = predict(self.network, params, self.images)
            total = total + probabilities(scores, multilabel=labels.ndim == 2).cpu() / NETWORKS
        quality = tally(self.labels, total.numpy()).auc
        return quality if np.isfinite(quality) else 0.0
