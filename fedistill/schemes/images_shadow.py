"""Shadows of an audit that send images: a Release of a half of the records, and networks of the pool it joins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from fedistill.core.seeds import spawn
from fedistill.methods import METHODS, SyntheticSet, Task
from fedistill.methods.engine.soft_labels import HARD, LabelSettings, soft_labels
from fedistill.models import Network
from fedistill.release.release import Release, pack, unpack
from fedistill.schemes.server.pool import join
from fedistill.schemes.server.shadows import (
    Images,
    ShadowOutputs,
    train_shadow_networks,
)
from fedistill.schemes.server.teaching import Teaching, lesson, levels
from fedistill.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class OtherReleases:
    """The other sites' images as networks train on them, before and after the attacked site in the file's order."""

    before: Sequence[SyntheticSet]
    after: Sequence[SyntheticSet]


@dataclass(frozen=True, eq=False)
class ImageShadow:
    """A shadow that distils, and trains networks on the pool with its Release.

    Args:
        method, settings: of the site's distillation.
        encoding: of its synthetic images in the Release.
        pooling: rule of `fedistill.schemes.server.pooling`.
        examples: number of real images of every site in the pool.
        network, recipe, seeds: of the server's training.
        mirror: whether a flip keeps the labels true.
        labels: settings of the labels.
        releases: of the site that the server holds, each from its own seed, and pools.
        teaching: networks by which the pool's Releases are judged, for the rule ``taught``; else None.
    """

    method: str
    settings: Any
    encoding: str
    pooling: str
    examples: Sequence[int]
    network: Network
    recipe: Recipe
    seeds: tuple[int, ...]
    mirror: bool
    labels: LabelSettings = HARD
    releases: int = 1
    teaching: Teaching | None = None

    def make(self, task: Task, others: OtherReleases) -> ShadowOutputs:
        """Return the Release as the server sees it, and the networks of its pool."""
        release = self.released(task)
        trained_on = release.shown()
        images, labels = self.join(trained_on, others, device=task.device)
        networks = train_shadow_networks(
            task, self.network, self.recipe, self.seeds, images, labels, mirror=self.mirror, soft=self.labels.soft
        )
        # Attacks compare records with the images in a packed one, not with the whole.
        return ShadowOutputs(trained_on, networks, real=METHODS[self.method].real)

    def released(self, task: Task) -> SyntheticSet:
        """Return the synthetic sets that the site would send, as decoded from their encoding, in one."""
        method = METHODS[self.method]
        seeds = [task.seed, *(spawn(task.seed, "release", number) for number in range(1, self.releases))]
        exact = [method.run(replace(task, seed=seed), self.settings) for seed in seeds]
        sets = [unpack(pack(each, real=method.real, encoding=self.encoding), task.ipc) for each in exact]
        if len(sets) > 1:
            joined = torch.cat([each.images for each in sets]), torch.cat([each.labels for each in sets])
            sets = [replace(sets[0], images=joined[0], labels=joined[1])]
        return replace(sets[0], soft=soft_labels(task, sets[0], self.labels)) if self.labels.soft else sets[0]

    def join(self, own: SyntheticSet, others: OtherReleases, *, device: str = "cpu") -> Images:
        """Return images and labels of the pool, soft ones if it has them, with this Release at the site's position."""
        sets = [*others.before, own, *others.after]
        weights = self.examples
        if self.teaching is not None:
            lessons = [lesson(each, str(number)) for number, each in enumerate(sets)]
            on = torch.device(device)
            weights = levels([self.teaching.auc(lessons, number, on) for number in range(len(lessons))])
        x, y, at = join([(each.images, each.labels) for each in sets], by=self.pooling, examples=weights)
        soft = [each.soft for each in sets if each.soft is not None]
        return x, torch.cat(soft)[at] if self.labels.soft else y


def trained_set(data: bytes, ipc: int | None) -> SyntheticSet:
    """Return what the server trains on, from a Release file."""
    return unpack(Release.from_bytes(data).sets[ipc], ipc).shown()
