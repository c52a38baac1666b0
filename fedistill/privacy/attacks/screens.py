"""Copy screens: are synthetic images nearer to the images they were made from than to others of the same kind?

The distance to the closest record (DCR) alone says little; here it is held against the distance to held-out images,
which the synthetic ones cannot have been made from. If they are nearer to the training images than chance, something of
those was carried over. That they are not is no proof: sets that pass stay attackable (*The DCR Delusion: Measuring the
Privacy Risk of Synthetic Data*, 2025, arXiv 2505.01524). A screen finds copies; only the attacks measure a leak.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedistill.core.seeds import rng
from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError
from fedistill.methods.engine.method import SyntheticSet
from fedistill.privacy.attacks.nearest import Nearest, Space, coordinates, nearest_of_class

LABEL = "a screen, not a guarantee"
PERMUTATIONS = 2000
QUANTILES = (0.0, 0.05, 0.25, 0.5)


@dataclass(frozen=True, eq=False)
class Screen:
    """For each of M synthetic images, how near it comes to real images of its class.

    Args:
        space: where distances were taken.
        training, held_out: float64 (M,), distance to the closest; infinite where its class has no such image.
        nearest_training, nearest_held_out: int64 (M,), which one that is; -1 where there is none.
        expected: share of synthetic images that would be nearer to a training image if training and held-out images
            were dealt out anew: more than half where more of them are for training.
        p: how often chance alone brings a share as high as this one; small: nearer to the training images. NaN where
            nothing could be compared.
        label: what every table and figure says of it.
    """

    space: Space
    training: np.ndarray
    held_out: np.ndarray
    nearest_training: np.ndarray
    nearest_held_out: np.ndarray
    expected: float
    p: float
    label: str = LABEL

    @property
    def compared(self) -> np.ndarray:
        """Return which synthetic images have real ones of their class on both sides, bool (M,)."""
        return np.isfinite(self.training) & np.isfinite(self.held_out)

    @property
    def nearer(self) -> float:
        """Share of those that are nearer to a training image than to any held-out one; NaN without any."""
        both = self.compared
        return float((self.training < self.held_out)[both].mean()) if both.any() else float("nan")

    @property
    def ratio(self) -> np.ndarray:
        """Return the distance to training over the distance to held out, float64 (M,).

        0 means a copy and 1 no difference; NaN an image that was not compared.
        """
        return relative(self.training, self.held_out)

    def row(self) -> Mapping[str, float | int | str]:
        """Return the figures as a table's row; ``ratio_0, ratio_5, ...`` are quantiles of the ratio, in percent."""
        both = self.compared
        ratios = np.quantile(self.ratio[both], QUANTILES) if both.any() else np.full(len(QUANTILES), np.nan)
        named = {f"ratio_{100 * q:.0f}": float(value) for q, value in zip(QUANTILES, ratios, strict=True)}
        figures = {"compared": int(both.sum()), "nearer": self.nearer, "expected": self.expected, "p": self.p}
        return {"space": self.space, **figures, **named, "label": self.label}


@dataclass(frozen=True)
class Pair:
    """A synthetic image beside the closest real ones, to be looked at.

    Args:
        synthetic, training, held_out: positions in the three sets.
        to_training, to_held_out: the distances.
    """

    synthetic: int
    training: int
    held_out: int
    to_training: float
    to_held_out: float


def screen(synthetic: SyntheticSet, training: ImageSet, held_out: ImageSet, *, space: Space, seed: int = 0) -> Screen:
    """Hold synthetic images against the real ones they were made from, and against others of the same class.

    Args:
        synthetic: the images to screen.
        training: the images they were made from.
        held_out: images of the same site that no method saw; at best as many as of training.
        space: ``pixels`` or ``features``.
        seed: of the random network of ``features``, and of the permutations.

    Raises:
        DataError: no images on one side.
    """
    to_training, to_held_out = closest(synthetic, training, held_out, space=space, seed=seed)
    both = np.isfinite(to_training.distance) & np.isfinite(to_held_out.distance)
    expected, p = _chance(
        [to_training.index[both], to_held_out.index[both]],
        (to_training.distance < to_held_out.distance)[both],
        training,
        held_out,
        rng(seed, "screen"),
    )
    return Screen(space, to_training.distance, to_held_out.distance, to_training.index, to_held_out.index, expected, p)


def closest(
    synthetic: SyntheticSet, training: ImageSet, held_out: ImageSet, *, space: Space, seed: int
) -> tuple[Nearest, Nearest]:
    """Find the nearest training and the nearest held-out image of each synthetic one; see `screen`."""
    if not len(training) or not len(held_out):
        raise DataError(
            "A copy screen needs both training and held-out images.",
            expected="at least one of each",
            found=f"{len(training)} and {len(held_out)}",
            mend="set held_out for the site, or use its validation images",
        )
    points = coordinates(synthetic.images, space, seed=seed)
    to_training, to_held_out = (
        nearest_of_class(points, synthetic.labels, coordinates(real.pixels(), space, seed=seed), real.targets())
        for real in (training, held_out)
    )
    return to_training, to_held_out


def relative(training: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Divide distances; NaN if one is infinite, 1 if both are 0, for then the data hold a duplicate.

    >>> relative(np.array([0.0, 1.0, 0.0, 1.0]), np.array([2.0, 2.0, 0.0, np.inf])).tolist()
    [0.0, 0.5, 1.0, nan]
    """
    both = np.isfinite(training) & np.isfinite(held_out)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(both, np.where(training == held_out, 1.0, training / held_out), np.nan)


def nearest_pairs(screen: Screen, count: int) -> list[Pair]:
    """Return the synthetic images closest to a training image relative to held-out ones, worst first.

    Fewer than ``count`` where fewer could be compared.
    """
    ratio = screen.ratio
    worst = np.argsort(ratio, kind="stable")[: min(count, int(screen.compared.sum()))]  # NaN sorts last
    return [
        Pair(
            int(i),
            int(screen.nearest_training[i]),
            int(screen.nearest_held_out[i]),
            float(screen.training[i]),
            float(screen.held_out[i]),
        )
        for i in worst
    ]


def _chance(
    index: list[np.ndarray], nearer: np.ndarray, training: ImageSet, held_out: ImageSet, random: np.random.Generator
) -> tuple[float, float]:
    """Compute the expected share of synthetic images nearer to training, and a permutation p-value of their number.

    A permutation test: for each synthetic image the closest of all real ones stays the same, whichever side it is dealt
    to. Patients are dealt out whole, and class by class (that of their first image), as they were held out.

    Args:
        index: the closest training and the closest held-out image of each synthetic one.
        nearer: bool, whether the first is closer. As near: no copy, so the second counts.
        training: distances to training, (M,).
        held_out: distances to held out, (M,).
        random: draws the permutations.
    """
    if not len(nearer):
        return float("nan"), float("nan")
    units = [
        np.unique(np.arange(len(real)) if real.groups is None else real.groups, return_index=True, return_inverse=True)
        for real in (training, held_out)
    ]
    (_, first, unit), (_, held_first, held_unit) = units
    closest = np.where(nearer, unit[index[0]], held_unit[index[1]] + len(first))
    times = np.bincount(closest, minlength=len(first) + len(held_first))
    side = np.repeat([True, False], [len(first), len(held_first)])
    kinds = np.concatenate([_kinds(training)[first], _kinds(held_out)[held_first]])
    strata = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    expected = sum(float(times[at].sum() * side[at].mean()) for at in strata) / len(nearer)
    as_high = 0
    for _ in range(PERMUTATIONS):
        as_high += sum(times[at] @ random.permutation(side[at]) for at in strata) >= nearer.sum()
    return expected, (1 + as_high) / (1 + PERMUTATIONS)


def _kinds(images: ImageSet) -> np.ndarray:
    """Return the classes, int64 (N,); a multi-label set counts as one class."""
    return np.zeros(len(images), np.int64) if images.multilabel else images.labels
