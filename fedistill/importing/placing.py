"""Every image's place in a data set: its label, patient, split and site, with copies found and doubts told."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedistill.data.facts import SPLITS
from fedistill.errors import DataError
from fedistill.importing.decode import Images
from fedistill.importing.duplicates import exact, near
from fedistill.importing.listing.entries import Listing
from fedistill.importing.salt import patient_number
from fedistill.importing.scan import OnProgress, Scanned
from fedistill.importing.settings import ImportSettings
from fedistill.importing.splitting import (
    DROPPED,
    draw_splits,
    require_classes_spread,
    require_patients_apart,
    units,
)


@dataclass(frozen=True, eq=False)
class Places:
    """Every image's place.

    Args:
        labels: int64 (N,) or (N, L).
        groups: int64 (N,), patients; or None.
        split: int64 (N,); below 0 for copies left out.
        site: str (N,).
        names: of the images.
        copies: position of each copy left out, and of what it copies.
        near: pairs that look alike, the most alike of them.
        given: whether the splits were given.
        warnings: what a person should look at.
    """

    labels: np.ndarray
    groups: np.ndarray | None
    split: np.ndarray
    site: np.ndarray
    names: list[str]
    copies: list[tuple[int, int]]
    near: list[tuple[int, int]]
    given: bool
    warnings: list[str]


def place_images(
    listing: Listing,
    scanned: Scanned,
    images: Images,
    settings: ImportSettings,
    salt: bytes,
    sites: Sequence[str],
    on_progress: OnProgress,
) -> Places:
    """Return every image's place: its label, patient, split and site.

    Args:
        listing: the source's.
        scanned: its files.
        images: what was decoded of them.
        settings: of the import.
        salt: by which patients become numbers; empty where none are known.
        sites: their names; one empty name where there are none.
        on_progress: told of the search for duplicates.

    Raises:
        DataError: a given split has a patient in two, a class is in one split alone, or a site has none for train or
            test.
    """
    of = [scanned.entries[number] for number in images.entry]
    several = np.bincount(images.entry, minlength=len(scanned.entries)) > 1
    names = [
        f"{entry.name} picture {frame + 1}" if several[number] else entry.name
        for entry, number, frame in zip(of, images.entry, images.frame, strict=True)
    ]
    labels = np.array([entry.label for entry in of], np.int64)
    warnings: list[str] = []
    groups = None
    if salt:
        unknown = sum(not entry.patient for entry in of)
        if unknown:
            warnings.append(f"{unknown:,} images without a patient: each file of theirs counts as a patient of its own")
        groups = np.array([patient_number(salt, e.patient or f"file {e.name}") for e in of], np.int64)
    else:
        warnings.append("no patients are known: two images of one may be in different splits")
    site = np.array([entry.site for entry in of])
    same = exact(images.digest)
    given = bool(of[0].split) and not settings.new_splits
    copies: list[tuple[int, int]] = []
    if given:
        split = np.array([SPLITS.index(entry.split) for entry in of], np.int64)
        if groups is not None:
            require_patients_apart(split, groups, names)
        copies = _copies_before(same, split)
        split[[at for at, _ in copies]] = DROPPED
    else:
        unit = units(same, groups)
        kinds = labels if labels.ndim == 1 else _most_telling(labels)
        classes = int(kinds.max()) + 1
        split = np.empty(len(of), np.int64)
        for each in sites:
            here = np.flatnonzero(site == each)
            split[here] = draw_splits(kinds[here], classes, unit[here], settings.shares, seed=settings.seed, name=each)
    require_classes_spread(labels, split, listing.class_names, drawn=not given)
    on_progress("looking for duplicates", 0, 1)
    alike, alike_count = near(images.thumbs, split, same)
    on_progress("looking for duplicates", 1, 1)
    twice = int((same != np.arange(len(same))).sum())
    if twice:
        conflict = int((labels != labels[same]).reshape(len(same), -1).any(1).sum())
        warnings.append(
            f"{twice:,} images are exact copies of others"
            + (f"; {len(copies):,} in a split before their original's were left out" if copies else "")
            + (f"; {conflict:,} of them have another label than their original" if conflict else "")
        )
    if alike_count:
        warnings.append(f"{alike_count:,} pairs in different splits look alike: the card names the most alike")
    if groups is not None and len(sites) > 1:
        of_patients = Counter(group for group, _ in set(zip(groups.tolist(), site.tolist(), strict=True)))
        shared = sum(number > 1 for number in of_patients.values())
        if shared:
            warnings.append(f"{shared} patients are at two sites")
    warnings += [f"{n:,} files with {note}" for note, n in scanned.notes.items()]
    upscaled = sum(min(each.width, each.height) < settings.preprocessing.size for each in scanned.facts)
    if upscaled:
        warnings.append(f"{upscaled:,} files are smaller than {settings.preprocessing.size} pixels and were enlarged")
    places = Places(labels, groups, split, site, names, copies, alike, given, warnings)
    for each in sites:
        _require_both(places, each)
    return places


def _require_both(to: Places, site: str) -> None:
    for name in ("train", "test"):
        if not ((to.split == SPLITS.index(name)) & (to.site == site)).any():
            raise DataError(
                f"There are no images for {name}" + (f" at the site {site}." if site else "."),
                expected="images to train on and to test on",
                mend="draw the splits with --new-splits" if to.given else "add images",
            )


def _copies_before(same: np.ndarray, split: np.ndarray) -> list[tuple[int, int]]:
    """Return each copy that a later split has too, and the one there: a copy in train would tell the test's answer.

    >>> _copies_before(np.array([0, 1, 0]), np.array([0, 0, 2]))
    [(0, 2)]
    """
    best: dict[int, int] = {}
    for at, first in enumerate(same.tolist()):
        if first not in best or split[at] > split[best[first]]:
            best[first] = at
    return [(at, best[first]) for at, first in enumerate(same.tolist()) if split[at] < split[best[first]]]


def _most_telling(labels: np.ndarray) -> np.ndarray:
    """Return what images of several findings are stratified by: their rarest finding, or none; int64 (N,)."""
    order = np.argsort(labels.sum(0), kind="stable")
    has = labels[:, order] == 1
    return np.where(has.any(1), order[has.argmax(1)] + 1, 0).astype(np.int64)
