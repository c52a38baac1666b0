"""Which image goes to train, val and test: as given, or drawn, stratified by class, with patients and copies whole."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedistill.core.seeds import rng
from fedistill.data.deal import deal_out
from fedistill.data.facts import SPLITS
from fedistill.errors import DataError

TRAIN, VAL, TEST = range(3)
DROPPED = -1


@dataclass(frozen=True)
class Shares:
    """Parts of the images that go to train, val and test; together 1.

    Raises:
        DataError: they are no such parts.
    """

    train: float = 0.7
    val: float = 0.1
    test: float = 0.2

    def __post_init__(self) -> None:
        parts = (self.train, self.val, self.test)
        if not all(0 <= part < 1 for part in parts) or abs(sum(parts) - 1) > 1e-6 or not (self.train and self.test):
            raise DataError(
                "Images cannot be split in these parts.",
                expected="three parts of 1, or of 100, such as 70/10/20; train and test above 0",
                found="/".join(f"{100 * part:g}" for part in parts),
            )


def units(same: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return the number of the unit of every image: copies, and images of one patient, are never separated.

    >>> units(np.array([0, 1, 0, 3]), np.array([7, 8, 9, 9])).tolist()
    [0, 1, 0, 0]
    """
    if groups is None:
        return same
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(same)
    _, compact = np.unique(groups, return_inverse=True)
    left = np.concatenate([np.arange(n), np.arange(n)])
    right = np.concatenate([same, n + compact])
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(n + compact.max() + 1,) * 2)
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component[:n], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def draw_splits(
    kinds: np.ndarray, classes: int, unit: np.ndarray, shares: Shares, *, seed: int, name: str = ""
) -> np.ndarray:
    """Draw the split of every image, int64 (N,): 0 train, 1 val, 2 test.

    Every class has its shares as nearly as whole units allow. A class that the draw leaves out of test, or of val,
    gets a unit there where it has units to spare.

    Args:
        kinds: int64 (N,), class of every image, or what stands for it where an image has several findings.
        classes: number of classes.
        unit: int64 (N,), images of one unit go together.
        shares: of the splits.
        seed: of the draw.
        name: of the site, where there are several.
    """
    random = rng(seed, "import", "split", name)
    alone = len(np.unique(unit)) == len(unit)
    parts = deal_out(
        kinds,
        None if alone else unit,
        np.tile([[shares.train], [shares.val], [shares.test]], classes),
        random,
    )
    split = np.zeros(len(kinds), np.int64)
    for number, at in enumerate(parts):
        split[at] = number
    images_of = np.bincount(unit)
    for lacking in (TEST, VAL) if shares.val else (TEST,):
        for kind in range(classes):
            of = kinds == kind
            if (split[of] == lacking).any():
                continue
            held = unit[of & (split == TRAIN)]
            candidates = np.unique(held)
            if len(candidates) > 1:
                sizes = images_of[candidates]
                smallest = candidates[sizes == sizes.min()]
                split[unit == smallest[random.integers(len(smallest))]] = lacking
    return split


def require_patients_apart(split: np.ndarray, groups: np.ndarray, names: Sequence[str]) -> None:
    """Raise DataError where a given split has a patient in two splits.

    Args:
        split: int64 (N,), number of each image's split.
        groups: int64 (N,), patients.
        names: of each image, for the message.
    """
    first: dict[int, int] = {}
    mixed: dict[int, tuple[int, int]] = {}
    for at, group in enumerate(groups.tolist()):
        if split[first.setdefault(group, at)] != split[at]:
            mixed.setdefault(group, (first[group], at))
    if mixed:
        pairs = [
            f"{names[a]} in {SPLITS[split[a]]} and {names[b]} in {SPLITS[split[b]]}"
            for a, b in list(mixed.values())[:3]
        ]
        raise DataError(
            f"{len(mixed)} patients are in two splits.",
            expected="all images of one patient in one split: else a test score measures how well it was memorised",
            found="; ".join(pairs),
            mend="move their images to one split, or draw new splits by patient with --new-splits",
        )


def require_classes_spread(labels: np.ndarray, split: np.ndarray, class_names: Sequence[str], *, drawn: bool) -> None:
    """Raise DataError where a class has images in one split alone.

    Args:
        labels: int64 (N,), or (N, L) of 0 and 1.
        split: int64 (N,), number of each image's split; below 0 is left out.
        class_names: of the classes.
        drawn: whether the splits were drawn here, which decides how it can be mended.
    """
    present = [number for number in range(3) if (split == number).any()]
    alone = []
    for k, name in enumerate(class_names):
        has = labels[:, k] == 1 if labels.ndim == 2 else labels == k
        where = [number for number in present if (has & (split == number)).any()]
        if len(where) == 1 and len(present) > 1:
            alone.append(f"{name!r} ({int((has & (split >= 0)).sum())} images) in {SPLITS[where[0]]}")
    if alone:
        raise DataError(
            f"{len(alone)} of {len(class_names)} classes are in one split alone.",
            expected="images of every class to train on and to test on",
            found=", ".join(alone[:5]) + (" ..." if len(alone) > 5 else ""),
            mend="find images of a second patient of it, or leave the class out with --leave-out"
            if drawn
            else "move images between the splits, draw new ones with --new-splits, or leave the class out with "
            "--leave-out",
        )
