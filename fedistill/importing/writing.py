"""Writing an import: the data set, its card and its contact sheet."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from fedistill.core.files import write_atomic
from fedistill.data.facts import SPLITS
from fedistill.importing.card import ImportCard, count_images
from fedistill.importing.contact_sheet import contact_sheet
from fedistill.importing.decode import Images
from fedistill.importing.listing.entries import Listing
from fedistill.importing.npz_writer import read_images, write_npz
from fedistill.importing.placing import Places
from fedistill.importing.preprocessing import ARRAY, Preprocessing
from fedistill.importing.scan import Bad, OnProgress, Scanned
from fedistill.importing.settings import ImportSettings
from fedistill.importing.splitting import DROPPED

TINY = 10
"""Training images below which a class is warned of."""


@dataclass(frozen=True, eq=False)
class Imported:
    """The images of a source, of all its sites.

    Args:
        source: as it was named.
        listing: what is in it.
        scanned: its files.
        images: what is remembered of each image.
        pixels: an open file, uint8 (N, S, S, channels) without a header.
        channels: of each image there.
        how: what is done to every picture, with the channels that are written.
        bad: files that could not be read.
    """

    source: Path
    listing: Listing
    scanned: Scanned
    images: Images
    pixels: IO[bytes]
    channels: int
    how: Preprocessing
    bad: Bad


def beside(path: Path) -> tuple[Path, Path]:
    """Return the paths of a data set's card and contact sheet."""
    return path.with_suffix(".card.md"), path.with_suffix(".png")


def write_set(
    target: Path, site: str, of: Imported, to: Places, settings: ImportSettings, on_progress: OnProgress
) -> ImportCard:
    """Write one data set and what lies beside it; return its card.

    Args:
        target: of the data set.
        site: whose images; empty where there are no sites.
        of: the images.
        to: their places.
        settings: of the import.
        on_progress: told the number of images written.

    Raises:
        RunFolderError: a file cannot be written.
    """
    here = np.where(to.site == site, to.split, DROPPED)
    picked = {name: np.flatnonzero(here == number) for number, name in enumerate(SPLITS)}
    if not len(picked["val"]):
        del picked["val"]  # a split without images is left out of the file
    small: dict[str, np.ndarray] = {f"{name}_labels": to.labels[at] for name, at in picked.items()}
    if to.groups is not None:
        small |= {f"{name}_groups": to.groups[at] for name, at in picked.items()}
    small["class_names"] = np.array(of.listing.class_names)
    small[ARRAY] = np.array(of.how.to_json())
    shape = (of.how.size, of.how.size, of.channels)
    total = sum(map(len, picked.values()))
    write_atomic(
        target,
        lambda path: write_npz(
            path, of.pixels, picked, small, shape=shape, channels=of.how.channels or 1,
            on_progress=lambda done: on_progress("writing", done, total),
        ),
    )  # fmt: skip
    card_path, sheet_path = beside(target)
    sheet = contact_sheet(
        to.labels, here, of.listing.class_names, lambda at: read_images(of.pixels, at, shape), seed=settings.seed
    )
    counts = count_images(to.labels, here, of.listing.class_names)
    parts = settings.shares
    drawn = f"drawn {100 * parts.train:g}/{100 * parts.val:g}/{100 * parts.test:g}, stratified by class, seed "
    by = ", patients and copies whole" if to.groups is not None else ", copies whole"
    few = [name for name, each in counts.items() if each["train"] < TINY]
    warnings = [*to.warnings, *([f"fewer than {TINY} training images of {', '.join(few[:5])}"] if few else [])]
    mine = [number for number, entry in enumerate(of.scanned.entries) if entry.site == site]
    card = ImportCard(
        source=str(of.source) + (f", site {site}" if site else ""),
        files=dict(of.scanned.kinds) if not site else {"files": len(mine)},
        images=total,
        done=of.how.words(),
        rules=of.images.rules,
        counts=counts,
        patients={
            name: 0 if to.groups is None or name not in picked else len(np.unique(to.groups[picked[name]]))
            for name in SPLITS
        }
        if to.groups is not None
        else {},
        splits="as given" if to.given else f"{drawn}{settings.seed}{by}",
        skipped=of.bad.found,
        other=of.listing.other,
        dropped=[(to.names[a], to.names[b]) for a, b in to.copies if to.site[a] == site],
        near=[(to.names[a], to.names[b]) for a, b in to.near if site in (to.site[a], to.site[b])],
        warnings=warnings,
        written=[str(target), str(card_path), str(sheet_path)],
    )
    write_atomic(sheet_path, sheet, mode=0o600)
    write_atomic(card_path, card.text(), mode=0o600)
    return card
