"""Outliers as canaries: images unlike all others of a hospital, with ordinary labels.

A mislabelled record (`fedistill.privacy.attacks.canaries`) is unusual in what it is called. Patients can also be
unusual in what their images show: an exposure that failed, a picture from another machine filed by mistake, the rarest
anatomy. A site's averages hide them, and class means lean towards them most. A quarter of the canaries each is

- blank: all pixels alike, at levels spread from black to white,
- noise: every pixel drawn by itself,
- another modality: drawn pictures of an organ that the site does not image,
- farthest: the site's own records farthest from their class's mean image, as they are.

As with mislabelled canaries, each is in half of the shadows, and all other records are in every shadow.
"""

import numpy as np

from fedistill.core.seeds import rng, spawn
from fedistill.data.imageset import ImageSet
from fedistill.data.sources.phantom import draw
from fedistill.errors import DataError, SettingError
from fedistill.privacy.attacks.canaries import MOST, Canaries, choose
from fedistill.privacy.attacks.shadow_design import halves

KINDS = ("blank", "noise", "modality", "farthest")


def outliers(images: ImageSet, shadows: int, *, seed: int, share: float = MOST) -> Canaries:
    """Choose records and put outliers in their places, in equal numbers of each kind.

    Args:
        images: the site's.
        shadows: an even number.
        seed: the choice, the pictures and the design come from it.
        share: of the site's records, above 0 and at most `MOST`; rounded down to whole records.

    Raises:
        SettingError: a share outside that, or shadows that are no pairs.
        DataError: too few records for one outlier of each kind.
    """
    if not 0 < share <= MOST:
        raise SettingError("This share of outliers would change the site.", expected=f"0 to {MOST}", found=share)
    random = rng(seed, "outliers")
    most = int(share * len(images) + 1e-9)
    if most < len(KINDS):
        raise DataError(
            "There are too few records for outliers.",
            expected=f"at least {int(np.ceil(len(KINDS) / share))} records, for one of each kind",
            found=f"{len(images)} records",
            mend="attack mislabelled canaries alone, or all records",
        )
    drawn = choose(images, random, share=share)
    far = _farthest(images, len(drawn) // len(KINDS))
    # The farthest records stand for themselves; the others take the places of records drawn at random.
    unit = np.arange(len(images)) if images.groups is None else images.groups
    places = [at for at in random.permutation(drawn).tolist() if unit[at] not in unit[far]]
    at = np.array([*places[: len(drawn) - len(far)], *far], np.int64)
    canaries = images.images[at].copy()
    blank, noise, other = np.array_split(np.arange(len(at) - len(far)), len(KINDS) - 1)
    for level, i in zip(np.linspace(0, 255, max(2, len(blank))), blank, strict=False):
        canaries[i] = round(level)
    canaries[noise] = random.integers(0, 256, canaries[noise].shape, np.uint8)
    canaries[other] = _other_modality(images, len(other), spawn(seed, "modality"))
    order = np.argsort(at)
    return Canaries(at[order], images.labels[at[order]], halves(len(at), shadows, seed=seed), canaries[order])


def _farthest(images: ImageSet, count: int) -> list[int]:
    """Return the records farthest from the mean image of their class, one of a patient at most."""
    flat = images.images.reshape(len(images), -1).astype(np.float64)
    away = np.zeros(len(images))
    labels = np.zeros(len(images), np.int64) if images.multilabel else images.labels
    for c in np.unique(labels):
        of_class = labels == c
        away[of_class] = np.linalg.norm(flat[of_class] - flat[of_class].mean(0), axis=1)
    order = np.argsort(-away, kind="stable")
    unit = np.arange(len(images)) if images.groups is None else images.groups
    first = np.sort(np.unique(unit[order], return_index=True)[1])
    return [int(at) for at in order[first][:count]]


def _other_modality(images: ImageSet, count: int, seed: int) -> np.ndarray:
    """Return drawn pictures of what the site does not image, uint8 (count, H, W, C): chests, or tissue instead."""
    grey = "phantom:tissue" if "chest" in images.name or "pneumonia" in images.name else "phantom:chest"
    colour = "phantom:blood" if "path" in images.name else "phantom:path"
    name = grey if images.channels == 1 else colour
    return draw(name, "train", size=images.size, images=max(count, 14), seed=seed % 2**31).images[:count]
