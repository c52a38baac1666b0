"""``fedistill import``: from a source to one data set, with its card and its contact sheet."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

from fedistill.core.files import require_new_file
from fedistill.core.text import printable
from fedistill.errors import DataError, SettingError
from fedistill.importing.card import ImportCard
from fedistill.importing.decode import stream
from fedistill.importing.listing.entries import Listing
from fedistill.importing.listing.folders import LAYOUT, list_folders
from fedistill.importing.listing.tables import ENDINGS, list_table
from fedistill.importing.placing import place_images
from fedistill.importing.preprocessing import Preprocessing
from fedistill.importing.salt import default_salt, read_salt
from fedistill.importing.scan import DEFAULT_SHARE, Bad, OnProgress, Scanned, scan, settle
from fedistill.importing.settings import ImportSettings
from fedistill.importing.writing import Imported, beside, write_set


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
        imported = Imported(source, listing, scanned, images, raw, decoding.channels or 1, written_how, bad)
        places = place_images(listing, scanned, images, settings, salt, sites, on_progress)
        return [write_set(target, site, imported, places, settings, on_progress) for site, target in targets.items()]


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
        for each in (path, *beside(path)):
            if os.path.lexists(each):
                raise SettingError(f"{each} exists.", mend="choose another --out; existing files are never overwritten")
            require_new_file(each, "--out")
    return targets


def _has_groups(scanned: Scanned, how: Preprocessing) -> bool:
    """Return whether images belong together: patients are known, or files give several."""
    return any(entry.patient for entry in scanned.entries) or any(
        len(how.wanted(each.frames)) > 1 for each in scanned.facts
    )
