"""Phantoms: drawn pictures in the place of a MedMNIST set, so that anything can be tried without a download.

A phantom has its set's channels, classes, class names, task, class imbalance and split proportions. It has no patients
and no anatomy: results on it say that a study runs and how methods behave, nothing about medicine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from fedistill.core.seeds import rng
from fedistill.data.apportion import apportion
from fedistill.data.facts import FACTS, SPLITS, Facts
from fedistill.data.imageset import ImageSet
from fedistill.data.sources.base import DatasetCard, DataSource
from fedistill.data.sources.phantom import scenes_colour as colour
from fedistill.data.sources.phantom import scenes_grey as grey
from fedistill.errors import DataError, nearest

PREFIX = "phantom:"
LICENCE = "none needed (drawn)"
# 1200 training images draw in a second and train a small network in some ten, and are what one department may hold.
TRAIN = 1200
_CHUNK = 1 << 20  # pixels drawn at once, which bounds memory; another value gives other pictures

Scene = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
_SCENES: dict[str, Scene] = {
    "pathmnist": colour.sections,
    "chestmnist": grey.chests,
    "dermamnist": colour.lesions,
    "octmnist": grey.layers,
    "pneumoniamnist": grey.pneumonia,
    "retinamnist": colour.eye_grounds,
    "breastmnist": grey.ultrasound,
    "bloodmnist": colour.cells,
    "tissuemnist": grey.nuclei,
    "organamnist": grey.slices,
    "organcmnist": grey.slices,
    "organsmnist": grey.slices,
}


@dataclass(frozen=True)
class Phantom(DataSource):
    """The phantom of a MedMNIST set: ``phantom:blood``, or ``phantom:bloodmnist``, which means the same."""

    prefix: ClassVar[str] = PREFIX

    @classmethod
    def parse(cls, word: str) -> Self | None:
        """Return the phantom that a word names; None if the word does not begin with ``phantom:``."""
        if not word.startswith(PREFIX):
            return None
        known = _facts_of(word)
        return cls(word if known is None else known.phantom)

    @classmethod
    def cards(cls, data_root: Path | None) -> list[DatasetCard]:
        """List the twelve phantoms."""
        return [cls(known.phantom).card(data_root) for known in FACTS.values()]

    @property
    def known(self) -> bool:
        """Return whether there is such a phantom."""
        return _facts_of(self.name) is not None

    @property
    def drawn(self) -> bool:
        """Return True."""
        return True

    @property
    def published(self) -> bool:
        """Return True: anybody can draw the same images."""
        return True

    def phantom(self) -> str:
        """Return the phantom's own word; DataError if there is no such phantom."""
        return phantom_facts(self.name).phantom

    def load(
        self, split: str, *, size: int | None, data_root: str | Path | None, images: int | None, seed: int | None
    ) -> ImageSet:
        """Draw one split; see `draw`."""
        return draw(self.name, split, size=28 if size is None else size, images=images, seed=seed or 0)

    def card(self, data_root: str | Path | None) -> DatasetCard:
        """Return the set's facts, with the phantom's default numbers of images."""
        known = phantom_facts(self.name)
        sizes = split_sizes(known)
        images = (sizes["train"], sizes["val"], sizes["test"])
        return DatasetCard(known.phantom, known.task, known.class_names, known.channels, images, LICENCE, None)

    def provenance(self, *, size: int | None, images: int | None, seed: int | None) -> tuple[str, str]:
        """Return the phantom's word, and the numbers that draw it again."""
        return self.name, f"drawn, seed {seed or 0}, {images or 'default'} images"


def phantom_facts(name: str) -> Facts:
    """Return the facts of the set whose phantom is named.

    Raises:
        DataError: there is no such phantom.
    """
    known = _facts_of(name)
    if known is None:
        word = PREFIX + name.removeprefix(PREFIX)
        raise DataError(f"There is no phantom {name!r}.", mend=nearest(word, [each.phantom for each in FACTS.values()]))
    return known


def _facts_of(name: str) -> Facts | None:
    short = name.removeprefix(PREFIX)
    return FACTS.get(short) or FACTS.get(f"{short}mnist")


def split_sizes(known: Facts, images: int | None = None) -> dict[str, int]:
    """Return the number of images per split for a number of training images.

    Val keeps the real proportion to train. So does test, but it has at least half as many images as train if the real
    set has that many: with fewer, accuracies could not be told apart (600 images: standard error 2 points).

    Args:
        known: the set.
        images: number of training images; None for 1200, or the real set's number if that is smaller.

    >>> split_sizes(FACTS["bloodmnist"])
    {'train': 1200, 'val': 172, 'test': 600}
    >>> split_sizes(FACTS["breastmnist"])
    {'train': 546, 'val': 78, 'test': 156}
    """
    train, val, test = known.images
    drawn = min(TRAIN, train) if images is None else images
    scale = drawn / train
    most = test * max(scale, 1.0)
    return {
        "train": drawn,
        "val": max(1, round(val * scale)),
        "test": max(1, round(max(test * scale, min(drawn / 2, most)))),
    }


def draw(name: str, split: str = "train", *, size: int = 28, images: int | None = None, seed: int = 0) -> ImageSet:
    """Draw one split of a phantom. The same arguments give the same pictures; each split has its own seed.

    Args:
        name: ``phantom:blood`` and the like.
        split: ``train``, ``val`` or ``test``.
        size: height and width in pixels, 8 to 1024.
        images: number of training images; val and test follow, see `split_sizes`.
        seed: of the pictures and of the order of labels.

    Raises:
        DataError: unknown phantom or split, or a size or number of images out of range.
    """
    known = phantom_facts(name)
    if split not in SPLITS:
        raise DataError(f"There is no split {split!r}.", mend=nearest(split, SPLITS))
    if not 8 <= size <= 1024:
        raise DataError(f"{known.phantom} cannot be drawn at this size.", expected="8 to 1024 pixels", found=size)
    if images is not None and images < len(known.class_names):
        raise DataError(
            f"{known.phantom} needs an image of every class.", expected=f">= {len(known.class_names)}", found=images
        )
    n = split_sizes(known, images)[split]
    labels = _labels(known, split, n, seed)
    step = max(1, _CHUNK // size**2)
    pictures = np.empty((n, size, size, known.channels), np.uint8)
    for start in range(0, n, step):
        here = slice(start, start + step)
        scene = _SCENES[known.name](labels[here], size, rng(seed, known.phantom, split, "pictures", start))
        pictures[here] = np.rint(scene.clip(0, 1) * 255)
    return ImageSet(
        pictures,
        labels,
        known.class_names,
        task=known.task,
        name=known.phantom,
        source=f"{known.phantom}, drawn by FeDistill (seed {seed}): no patient's data",
        licence=LICENCE,
        mirror=known.mirror,
    )


def _labels(known: Facts, split: str, n: int, seed: int) -> np.ndarray:
    """Draw labels in the set's proportions, in random order: int64 (n,), or (n, L) for a multi-label set."""
    random = rng(seed, known.phantom, split, "labels")
    counts = np.array(known.test_counts if split == "test" and known.test_counts else known.counts)
    if known.multilabel:
        # Each finding is drawn on its own: which findings occur together is not copied.
        labels = np.zeros((n, len(counts)), np.int64)
        for k, positives in enumerate(np.rint(counts * n / known.images[0]).astype(int)):
            labels[random.permutation(n)[: max(1, positives)], k] = 1
        return labels
    shares = apportion(n, counts)
    while n >= len(shares) and not shares.all():  # the rarest class has an image too
        shares[shares.argmin()] += 1
        shares[shares.argmax()] -= 1
    return random.permutation(np.repeat(np.arange(len(shares)), shares))
