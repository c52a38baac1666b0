"""Quality of images on their way: small networks trained on them, scored on the site's own validation images."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.events import Event, OnEvent
from fedistill.core.precision import of_training
from fedistill.data.imageset import ImageSet
from fedistill.methods.engine.method import Task
from fedistill.models import Network
from fedistill.training.fit import fit, predict, probabilities
from fedistill.training.metrics import tally
from fedistill.training.recipe import Recipe

# The same two networks at every look, so that looks differ by the images alone; long enough to tell them apart.
NETWORKS = 2
RECIPE = Recipe("look", lr=0.01, steps=60, batch=64, augment=True)

# Narrow, however wide the network that is matched on. At 128 looks took more than half of a distillation at one image
# per class and ranked its images worse: DC on PneumoniaMNIST (two seeds) and BreastMNIST (one), ten looks each, against
# the mean validation AUC of four networks of width 128 trained 300 steps: rank correlation 0.92, 0.99, 0.87 at width 32
# and 0.68, 0.90, 0.43 at 128, for a third to a fifth of the seconds.
WIDEST = 32

FEWEST = 5  # validation images of a class, and of all others, below which its AUC is an accident
MOST = 512  # validation images scored, drawn once


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores synthetic images.

    Args:
        network: shape of those trained: the one that is matched on, `WIDEST` wide at most.
        images, labels: validation images float32 (V, C, H, W), and their labels as the metrics take them.
        scored: classes (or labels) with enough validation images, over which the AUC is averaged.
        mirror: whether a flip keeps the labels true.
        seed: of the networks; precision: what a GPU trains them in.
        on_event: told after every step of training, so that nobody takes a look for a job that hangs.
    """

    network: Network
    images: Tensor
    labels: np.ndarray
    scored: np.ndarray
    mirror: bool
    seed: int
    precision: str
    on_event: OnEvent

    @classmethod
    def of(cls, task: Task, name: str) -> "Judge | None":
        """Return the judge of a task; None where it has too few validation images to judge by."""
        if task.val is None or not len(task.val):
            return None
        val, scored = _drawn(task.val, seeds.rng(task.seed, name, "look"))
        if not len(scored):
            task.on_event(Event("validation", method=name, message="too few validation images to stop or choose by"))
            return None
        seed = seeds.spawn(task.seed, name, "look")
        pixels = val.pixels().to(task.device)
        network = replace(task, width=min(task.width, WIDEST)).network()
        return cls(network, pixels, val.labels, scored, val.mirror, seed, of_training(task.device), task.on_event)

    def __call__(self, images: Tensor, labels: Tensor) -> float:
        """Return the AUC, 0..1, of the networks' averaged predictions, mean over classes; 0 where training diverges."""
        total = torch.zeros(())
        for k in range(NETWORKS):
            seed = seeds.spawn(self.seed, k)
            params = fit(
                self.network,
                images,
                labels,
                RECIPE,
                seed=seed,
                mirror=self.mirror,
                precision=self.precision,
                on_step=self._alive,
            )
            scores = predict(self.network, params, self.images)
            total = total + probabilities(scores, multilabel=labels.ndim == 2) / NETWORKS
        if not torch.isfinite(total).all():
            return 0.0
        counted = tally(self.labels, total.numpy())
        return float((counted.concordant[self.scored] / counted.pairs[self.scored]).mean())

    def _alive(self, step: int, steps: int) -> None:
        self.on_event(Event("validation"))


def _drawn(val: ImageSet, generator: np.random.Generator) -> tuple[ImageSet, np.ndarray]:
    """Draw at most `MOST` of the images, rare classes (or labels) first, and return the classes there are enough of."""
    order = generator.permutation(len(val))
    shown = val.labels[order]
    labelled = shown.astype(bool) if val.multilabel else shown[:, None] == np.arange(val.n_classes)
    rare = (labelled & (labelled.cumsum(0) <= FEWEST * 4)).any(1)  # the first twenty of each
    kept = np.sort(order[np.argsort(~rare, kind="stable")][:MOST])
    drawn = val.take(kept)
    counts = drawn.counts()
    enough = np.minimum(counts, len(drawn) - counts) >= FEWEST
    return drawn, np.flatnonzero(enough)
