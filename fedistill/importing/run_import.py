"""``fedistill import``: from a source to one data set, with its card and its contact sheet."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import numpy as np

from fedistill.core.files import require_new_file, write_atomic
from fedistill.core.text import printable
from fedistill.data.facts import SPLITS
from fedistill.errors import DataError, SettingError
from fedistill.importing.card import ImportCard, count_images
from fedistill.importing.contact_sheet import contact_sheet
from fedistill.importing.decode import Images, stream
from fedistill.importing.duplicates import exact, near
from fedistill.importing.listing.entries import Listing
from fedistill.importing.listing.folders import LAYOUT, list_folders
from fedistill.importing.listing.tables import ENDINGS, Columns, list_table
from fedistill.importing.npz_writer import read_images, write_npz
from fedistill.importing.preprocessing import ARRAY, Preprocessing
from fedistill.importing.salt import default_salt, patient_number, read_salt
from fedistill.importing.scan import DEFAULT_SHARE, Bad, OnProgress, Scanned, scan, settle
from fedistill.importing.splitting import (
    DROPPED,
    Shares,
    draw_splits,
    require_classes_spread,
    require_patients_apart,
    units,
)

TINY = 10
"""Training images below which a class is warned of."""


@dataclass(frozen=True)
class ImportSettings:
    """The choices of an import.

    Args:
        preprocessing: of every picture; ``channels`` None keeps grey images grey and colour images RGB.
        columns: of a table.
        images: folder that a table's paths start from; default its own.
        classes: class names in the order of their labels; default sorted.
        leave_out: classes that are not imported.
        shares: of the splits that are drawn.
        new_splits: draw splits though some are given.
        seed: of the splits, and of the choice on the contact sheet.
        skip: share of files that may be unreadable; None for 1 %.
        salt: file of the hospital's salt; default the user's own.
        threads: that decode.
    """

    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    columns: Columns = field(default_factory=Columns)
    images: Path | None = None
    classes: Sequence[str] = ()
    leave_out: Sequence[str] = ()
    shares: Shares = field(default_factory=Shares)
    new_splits: bool = False
    seed: int = 0
    skip: float | None = None
    salt: Path | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if self.skip is not None and not 0 <= self.skip < 1:
            raise SettingError(
                "This share of files cannot be skipped.", expected="0 up to, not including, 1", found=self.skip
            )


def import_images(
    source: Path, out: Path, settings: ImportSettings | None = None, *, on_progress: OnProgress = lambda *of: None
) -> list[ImportCard]:
    """Read a source and write ``OUT.npz``, ``OUT.card.md`` and ``OUT.png``; with sites, these three for each.

    Args:
        source: a folder of folders by class, or a table of paths and labels.
        out: the data set's path, which ends in ``.npz``. With a column of sites, each gets ``OUT-SITE.npz``.
        settings: the choices.
        on_progress: told what is done, how much of it and of how much.

    Returns:
        the cards, one, or one for each site.

    Raises:
        DataError: the source cannot be imported; nothing is written.
        RunFolderError: a file is there already, or cannot be written.
    """
    settings = settings or ImportSettings()
    if out.suffix != ".npz":
        raise DataError(f"{out} does not end in .npz.", expected="a path that ends in .npz", found=out.suffix or "none")
    listing = _listed(source, settings)
    sites = sorted({entry.site for entry in listing.entries})
    targets = _targets(out, sites)
    bad = Bad(len(listing.entries) + len(listing.skipped), DEFAULT_SHARE if settings.skip is None else settings.skip)
    for name, why in listing.skipped:
        bad.add(name, why)
    scanned = scan(listing.entries, bad, on_progress)
    how = settle(settings.preprocessing, scanned)
    decoding = how if how.channels else replace(how, channels=3 if any(each.colour for each in scanned.facts) else 1)
    salt = read_salt(settings.salt or default_salt()) if _has_groups(scanned, how) else b""
    with ExitStack() as open_files:
        # The pixels of patients: in a file that has no name from its beginning, beside the result.
        out.parent.mkdir(parents=True, exist_ok=True)
        raw: IO[bytes] = open_files.enter_context(tempfile.TemporaryFile(dir=out.parent, buffering=1 << 20))
        images = stream(
            [entry.path for entry in scanned.entries],
            decoding,
            raw,
            threads=settings.threads,
            on_bad=lambda number, why: bad.add(scanned.entries[number].name, why),
            on_progress=lambda done: on_progress("reading images", done, len(scanned.entries)),
        )
        if not len(images):
            raise DataError(f"{source} has no image that can be read.", expected=LAYOUT, found=bad.found[:1])
        raw.flush()
        # Three channels that never differ are one: a scan saved as RGB is grey.
        written_how = replace(decoding, channels=how.channels or (3 if images.coloured else 1))
        sorted_out = _sort_out(listing, scanned, images, settings, salt, sites, on_progress)
        for site in sites:
            _require_both(sorted_out, site)
        return [
            _write(
                target, site, source, listing, scanned, images, sorted_out, settings, decoding, written_how, raw, bad,
                on_progress,
            )
            for site, target in targets.items()
        ]  # fmt: skip


def _listed(source: Path, settings: ImportSettings) -> Listing:
    if source.is_dir():
        return list_folders(source, classes=settings.classes, leave_out=settings.leave_out)
    if not source.is_file():
        raise DataError(
            f"There is no folder or table {source}.",
            expected=f"{LAYOUT}; or a table of paths and labels",
            found="nothing",
            mend="check the path",
        )
    if source.suffix.lower() not in ENDINGS:
        raise DataError(
            f"{source} is neither a folder nor a table.",
            expected=f"a folder, or a table that ends in {', '.join(ENDINGS)}",
            found=source.suffix or "no ending",
        )
    return list_table(
        source,
        columns=settings.columns,
        images=settings.images,
        classes=settings.classes,
        leave_out=settings.leave_out,
        tolerate=settings.skip,
    )


def _targets(out: Path, sites: Sequence[str]) -> dict[str, Path]:
    """Return the path of every site's data set; nothing is there yet and all can be written."""
    if sites == [""]:
        targets = {"": out}
    else:
        for site in sites:
            plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in site)
            if not site or printable(site) != site or plain != site:
                raise DataError(
                    "A site's name cannot be used.",
                    expected="letters, digits, - and _ in every row",
                    found=repr(site[:80]),
                    mend="name another column with --site-column, or mend the names",
                )
        targets = {site: out.with_name(f"{out.stem}-{site}.npz") for site in sites}
    for path in targets.values():
        for each in (path, *_beside(path)):
            if os.path.lexists(each):
                raise SettingError(f"{each} exists.", mend="choose another --out; existing files are never overwritten")
            require_new_file(each, "--out")
    return targets


def _beside(path: Path) -> tuple[Path, Path]:
    """Return the paths of a data set's card and contact sheet."""
    return path.with_suffix(".card.md"), path.with_suffix(".png")


def _has_groups(scanned: Scanned, how: Preprocessing) -> bool:
    """Return whether images belong together: patients are known, or files give several."""
    return any(entry.patient for entry in scanned.entries) or any(
        len(how.wanted(each.frames)) > 1 for each in scanned.facts
    )


@dataclass(frozen=True, eq=False)
class _SortedOut:
    """Every image's place.

    Args:
        labels: int64 (N,) or (N, L).
        groups: int64 (N,), patients; or None.
        split: int64 (N,); below 0 for copies left out.
        site: str (N,).
        names: of the images.
        copies: position of each copy left out, and of what it copies.
        near, near_count: pairs that look alike, and their number.
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
    near_count: int
    given: bool
    warnings: list[str]


def _sort_out(
    listing: Listing,
    scanned: Scanned,
    images: Images,
    settings: ImportSettings,
    salt: bytes,
    sites: Sequence[str],
    on_progress: OnProgress,
) -> _SortedOut:
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
        # The test image stays; its copy in train would have told the answer.
        best: dict[int, int] = {}
        for at, first in enumerate(same.tolist()):
            if first not in best or split[at] > split[best[first]]:
                best[first] = at
        copies = [(at, best[first]) for at, first in enumerate(same.tolist()) if split[at] < split[best[first]]]
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
        shared = sum(len(set(site[groups == each].tolist())) > 1 for each in np.unique(groups))
        if shared:
            warnings.append(f"{shared} patients are at two sites")
    warnings += [f"{n:,} files with {note}" for note, n in scanned.notes.items()]
    upscaled = sum(min(each.width, each.height) < settings.preprocessing.size for each in scanned.facts)
    if upscaled:
        warnings.append(f"{upscaled:,} files are smaller than {settings.preprocessing.size} pixels and were enlarged")
    return _SortedOut(labels, groups, split, site, names, copies, alike, alike_count, given, warnings)


def _require_both(to: _SortedOut, site: str) -> None:
    for name in ("train", "test"):
        if not ((to.split == SPLITS.index(name)) & (to.site == site)).any():
            raise DataError(
                f"There are no images for {name}" + (f" at the site {site}." if site else "."),
                expected="images to train on and to test on",
                mend="draw the splits with --new-splits" if to.given else "add images",
            )


def _most_telling(labels: np.ndarray) -> np.ndarray:
    """Return what images of several findings are stratified by: their rarest finding, or none; int64 (N,)."""
    order = np.argsort(labels.sum(0), kind="stable")
    has = labels[:, order] == 1
    return np.where(has.any(1), order[has.argmax(1)] + 1, 0).astype(np.int64)


def _write(
    target: Path,
    site: str,
    source: Path,
    listing: Listing,
    scanned: Scanned,
    images: Images,
    to: _SortedOut,
    settings: ImportSettings,
    decoding: Preprocessing,
    how: Preprocessing,
    raw: IO[bytes],
    bad: Bad,
    on_progress: OnProgress,
) -> ImportCard:
    """Write one data set and what lies beside it; return its card."""
    here = np.where(to.site == site, to.split, DROPPED)
    picked = {name: np.flatnonzero(here == number) for number, name in enumerate(SPLITS)}
    if not len(picked["val"]):
        del picked["val"]  # a split without images is left out of the file
    small: dict[str, np.ndarray] = {f"{name}_labels": to.labels[at] for name, at in picked.items()}
    if to.groups is not None:
        small |= {f"{name}_groups": to.groups[at] for name, at in picked.items()}
    small["class_names"] = np.array(listing.class_names)
    small[ARRAY] = np.array(how.to_json())
    shape = (how.size, how.size, decoding.channels or 1)
    total = sum(map(len, picked.values()))
    write_atomic(
        target,
        lambda path: write_npz(
            path, raw, picked, small, shape=shape, channels=how.channels or 1,
            on_progress=lambda done: on_progress("writing", done, total),
        ),
    )  # fmt: skip
    card_path, sheet_path = _beside(target)
    sheet = contact_sheet(
        to.labels, here, listing.class_names, lambda at: read_images(raw, at, shape), seed=settings.seed
    )
    counts = count_images(to.labels, here, listing.class_names)
    parts = settings.shares
    drawn = f"drawn {100 * parts.train:g}/{100 * parts.val:g}/{100 * parts.test:g}, stratified by class, seed "
    by = ", patients and copies whole" if to.groups is not None else ", copies whole"
    few = [name for name, of in counts.items() if of["train"] < TINY]
    warnings = [*to.warnings, *([f"fewer than {TINY} training images of {', '.join(few[:5])}"] if few else [])]
    mine = [number for number, entry in enumerate(scanned.entries) if entry.site == site]
    card = ImportCard(
        source=str(source) + (f", site {site}" if site else ""),
        files=dict(scanned.kinds) if not site else {"files": len(mine)},
        images=total,
        done=how.words(),
        rules=images.rules,
        counts=counts,
        patients={
            name: 0 if to.groups is None or name not in picked else len(np.unique(to.groups[picked[name]]))
            for name in SPLITS
        }
        if to.groups is not None
        else {},
        splits="as given" if to.given else f"{drawn}{settings.seed}{by}",
        skipped=bad.found,
        other=listing.other,
        dropped=[(to.names[a], to.names[b]) for a, b in to.copies if to.site[a] == site],
        near=[(to.names[a], to.names[b]) for a, b in to.near if site in (to.site[a], to.site[b])],
        warnings=warnings,
        written=[str(target), str(card_path), str(sheet_path)],
    )
    write_atomic(sheet_path, sheet, mode=0o600)
    write_atomic(card_path, card.text(), mode=0o600)
    return card
