"""Weights of Releases in a pool by how well each teaches images of the others, without patients.

A network is trained on one Release and tells the other sites' images apart. A Release whose images say nothing, or
whose labels are wrong, teaches it nothing that holds elsewhere. The score is the AUC of each class that the Release
has, among the others' images of those classes, so that a hospital is not marked down for classes that it lacks.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from fedistill.config import Simulation
from fedistill.core.events import Event, now
from fedistill.core.seeds import spawn
from fedistill.core.store import key_of
from fedistill.methods import SyntheticSet
from fedistill.models import Network, build
from fedistill.release.release import Release, sha256, unpack
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.cross_validation import class_aucs
from fedistill.training.device import device_for
from fedistill.training.fit import VERSION as FIT_VERSION
from fedistill.training.fit import fit, predict
from fedistill.training.recipe import Recipe
from fedistill.transport.backend.events import emitter

VERSION = 1
"""Incremented when equal Releases are given other scores; part of the key of stored ones."""

NETWORKS = 3
WIDTH = 16
RECIPE = Recipe("teaching", lr=0.01, steps=200, batch=64, augment=True)
LEVELS = 8
"""Copies of the best Release's images, of which the others have fewer in proportion."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """A Release as networks train on it.

    Args:
        images: float32 (N, C, H, W).
        labels: int64 (N,), or float32 (N, L) for several labels an image.
        site: whose it is.
        soft: float32 (N, C), what networks train towards in place of the labels; None: the labels.
    """

    images: Tensor
    labels: Tensor
    site: str
    soft: Tensor | None = None


@dataclass(frozen=True)
class Teaching:
    """The networks by which the Releases of a study's pools are judged.

    Args:
        network: their architecture, small.
        seed: of the first weights, the order of images and the augmentation.
        mirror: whether a flip keeps the labels true.
    """

    network: Network
    seed: int
    mirror: bool

    def detail(self) -> dict[str, Any]:
        """Return the part of a key: everything that scores depend on beside the Releases."""
        return {
            "network": [type(self.network).__name__, asdict(self.network)],
            "recipe": [RECIPE.detail(), NETWORKS, LEVELS],
            "seed": self.seed,
            "mirror": self.mirror,
            "version": [VERSION, FIT_VERSION],
        }

    def auc(self, lessons: Sequence[Lesson], number: int, device: torch.device) -> float:
        """Return the mean AUC, on the other sites' images, of networks trained on one Release.

        Args:
            lessons: all Releases of the pool.
            number: of the Release that teaches.
            device: to compute on.

        Returns:
            0 to 1; NaN if the Release has a single class, or the others have fewer than two of its classes.
        """
        own = lessons[number]
        others = [each for each in lessons if each.site != own.site]
        multilabel = own.labels.ndim == 2
        held = torch.arange(own.labels.shape[1]) if multilabel else own.labels.unique()
        if not others or len(held) < 2:
            return math.nan
        images, labels = torch.cat([each.images for each in others]), torch.cat([each.labels for each in others])
        if not multilabel:
            asked = torch.isin(labels, held)
            images, labels = images[asked], torch.searchsorted(held, labels[asked])
        if not len(images):
            return math.nan
        soft = own.soft is not None
        x, y = own.images.to(device), (own.labels if own.soft is None else own.soft).to(device)
        aucs: list[float] = []
        for i in range(NETWORKS):
            params = fit(self.network, x, y, RECIPE, seed=spawn(self.seed, i), mirror=self.mirror, soft=soft)
            logits = predict(self.network, params, images).cpu()[:, held]
            aucs += [each.auc for each in class_aucs(logits if multilabel else logits.softmax(1), labels)]
        return sum(aucs) / len(aucs) if aucs else math.nan


def teaching_of(simulation: Simulation, like: Network, mirror: bool) -> Teaching:
    """Return the networks that judge a study's Releases: the first model's, narrow, for images as ``like`` takes."""
    shape = asdict(like)
    network = build(
        simulation.models[0],
        channels=shape["channels"],
        classes=shape["classes"],
        size=shape["size"],
        width=min(WIDTH, simulation.width),
    )
    return Teaching(network, spawn(simulation.seed, "teaching"), mirror)


def levels(aucs: Sequence[float]) -> list[int]:
    """Return how often a pool has each image of each Release: in proportion to its AUC above chance.

    A Release that could not be judged weighs as much as the judged ones on average. Where none teaches anything, or
    none could be judged, all weigh the same.

    >>> levels([0.9, 0.9, 0.7]), levels([0.95, 0.95, 0.45]), levels([0.9, 0.7, math.nan])
    ([2, 2, 1], [1, 1, 0], [4, 2, 3])
    >>> levels([0.5, 0.4]), levels([math.nan])
    ([1, 1], [1])
    """
    known = [max(0.0, auc - 0.5) for auc in aucs if not math.isnan(auc)]
    if not any(known):
        return [1] * len(aucs)
    mean = sum(known) / len(known)
    weights = [mean if math.isnan(auc) else max(0.0, auc - 0.5) for auc in aucs]
    counts = [round(LEVELS * weight / max(weights)) for weight in weights]
    common = reduce(math.gcd, counts)
    return [count // common for count in counts]


def lesson(images: SyntheticSet, site: str) -> Lesson:
    """Return a synthetic set as networks train on it."""
    shown = images.shown()
    return Lesson(shown.images, shown.labels, site, shown.soft)


def judge(name: str, teaching: Teaching, lessons: Sequence[Lesson], gpus: float) -> list[float]:
    """Return the AUC of each Release, as a task of the server's; ``name`` is the task's in events."""
    on_event, device = emitter(name), device_for(gpus)
    aucs = []
    for number in range(len(lessons)):
        aucs.append(teaching.auc(lessons, number, device))
        on_event(Event("cross-validation", step=number + 1, steps=len(lessons)))
    return aucs


async def taught_levels(ctx: StudyContext, releases: Sequence[Release], ipc: int | None, scheme: str) -> list[int]:
    """Return the levels of the Releases of a pool, from the store where they are known.

    All draws of a random subset are judged together. What is left out for teaching nothing is named in a note.
    """
    simulation = ctx.simulation
    teaching = teaching_of(simulation, ctx.trainer.network(simulation.models[0]), ctx.trainer.mirror)
    about = {
        "releases": [[release.site, sha256(release.only(ipc).to_bytes())] for release in releases],
        "teaching": teaching.detail(),
        "threads": simulation.threads,
        "device": "cuda" if simulation.gpus else "cpu",
    }
    key = key_of(about)

    async def judged() -> list[float]:
        stored = ctx.store.get("taught", key)
        if stored is not None:
            return [float(auc) for auc in stored[0]["auc"]]
        lessons = [lesson(unpack(release.sets[ipc], ipc), release.site) for release in releases]
        name = f"what Releases of {scheme} teach {key[:8]}"
        aucs: list[float] = await ctx.coordinator.compute(
            name,
            judge,
            name,
            teaching,
            lessons,
            simulation.gpus,
            threads=simulation.threads,
            gpus=simulation.gpus,
        )
        ctx.store.put("taught", key, {"auc": torch.tensor(aucs, dtype=torch.float64)})
        return aucs

    aucs = await ctx.once_per_run(f"taught {key}", judged)
    counts = levels(aucs)
    for release, auc, count in zip(releases, aucs, counts, strict=True):
        if not count:
            words = f"a Release of {release.site!r} is in no pool of {scheme!r}, seed {release.seed}: what it teaches "
            words += f'does not hold for the others\' images (pooling = "taught", AUC {100 * auc:.1f}).'
            ctx.on_event(now("note", message=f"{words[0].upper()}{words[1:]}"))
    return counts
