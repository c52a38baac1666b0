"""Pictures of what was shared: the grids of a run folder, sorted by scheme, small enough to travel within a page."""

import json
from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from fedistill.config.scheme import EVERYONE, scheme_named
from fedistill.errors import RunFolderError
from fedistill.methods import METHODS
from fedistill.report.run_data import RunData
from fedistill.study.tables.grids import INDEX

if TYPE_CHECKING:
    from PIL.Image import Image

BUDGET = 1_600_000
"""Bytes of all pictures of a page; of grids too large for it, the first columns are shown."""

FEWEST = 2
"""Columns that a picture is not cut below: then the last pictures are left out."""

GAP = 2
"""Pixels between tiles; see `fedistill.study.tables.grids`."""


@dataclass(frozen=True)
class Thumbnail:
    """A site's images by one scheme.

    Args:
        real: whether they are patients'; start: what synthetic ones started from, where that was real images.
        data: of an <img>; width, height: in pixels.
    """

    site: str
    scheme: str
    ipc: int
    real: bool
    start: str
    data: str
    width: int
    height: int


@dataclass(frozen=True)
class PictureRow:
    """A site's pictures, side by side: real random images first, where they may be shown."""

    site: str
    pictures: list[Thumbnail]


def pictures(run: RunData) -> tuple[list[PictureRow], int]:
    """Return a row for every site, at each scheme's largest budget; and how many pictures are in the folder alone."""
    grids = sorted((run.folder / "grids").glob("*.png"))
    place = {site: number for number, site in enumerate((*run.sites, EVERYONE))}
    grids_of = [each for each in _indexed(run.folder) if each[0] in place and each[3] in grids]
    largest: dict[tuple[str, str], tuple[str, str, int, Path]] = {}
    for site, scheme, ipc, path in grids_of:
        if (site, scheme) not in largest or ipc > largest[(site, scheme)][2]:
            largest[(site, scheme)] = (site, scheme, ipc, path)
    order = {scheme: number for number, scheme in enumerate(METHODS)}
    shown = sorted(largest.values(), key=lambda each: (place[each[0]], order[_method(each[1])]))
    rows, spent, classes = [], 0, _rows_of(run)
    fair = BUDGET // max(1, len(shown))
    number = 0
    for site in dict.fromkeys(each[0] for each in shown):
        row = []
        for _, scheme, ipc, path in (each for each in shown if each[0] == site):
            data, width, height = _fitted(path, classes, fair)
            if spent + len(data) <= 1.5 * BUDGET:
                spent += len(data)
                number += 1
                encoded = f"data:image/png;base64,{b64encode(data).decode()}"
                real = METHODS[_method(scheme)].real
                row.append(Thumbnail(site, scheme, ipc, real, _start(run, scheme), encoded, width, height))
        if row:
            rows.append(PictureRow(site, row))
    return rows, len(grids) - number


def class_rows(run: RunData) -> list[str]:
    """Return what a picture's rows are, from the top; empty where images may be of several classes, or nobody knows."""
    frame = run.at_first_point(run.holdings)
    return [] if frame.empty or _multilabel(run) else list(dict.fromkeys(frame["class"].dropna()))


def _multilabel(run: RunData) -> bool:
    frame = run.at_first_point(run.holdings)
    by_site = frame[frame["site"].notna()].groupby(["partition", "site", "split"])
    return bool((by_site["images"].sum() != by_site["site_images"].first()).any())


def _rows_of(run: RunData) -> int:
    return max(1, len(class_rows(run)))


def _indexed(folder: Path) -> list[tuple[str, str, int, Path]]:
    """Return site, scheme, budget and path of every grid, as the run wrote them down; none in older runs.

    Raises:
        RunFolderError: the index is not as the run wrote it.
    """
    path = folder / f"{INDEX}.json"
    if not path.is_file():
        return []
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["grids"]
        entries = [(str(e["site"]), str(e["scheme"]), int(e["ipc"]), path.parent / str(e["file"])) for e in listed]
        return [each for each in entries if scheme_named(each[1]).method is not None]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} is not as the run wrote it.", found=error, mend="run the simulation again: it resumes"
        ) from error


def _method(scheme: str) -> str:
    """Return the method that makes a scheme's images."""
    return str(scheme_named(scheme).method)


def _start(run: RunData, scheme: str) -> str:
    """Return words for a caption where synthetic images started from real ones."""
    simulation = run.plan.first
    known = scheme_named(scheme)
    if known.method is None or scheme not in simulation.scheme:
        return ""
    budgets, sets = simulation.budgets(scheme), simulation.federation.datasets()
    settings = known.check(simulation.settings(scheme), budgets=budgets, datasets=sets)
    real = any(getattr(each, "start", "noise") == "real" for each in settings)
    return "started from real images" if real else ""


def _fitted(path: Path, rows: int, most: int) -> tuple[bytes, int, int]:
    """Return a grid as a PNG of at most so many bytes, or of `FEWEST` columns: its bytes, width and height."""
    from PIL.Image import open as open_image  # matplotlib brings it

    with open_image(path) as opened:
        whole = opened.convert("RGB")
    red, green, blue = whole.split()
    picture = red if red.tobytes() == green.tobytes() == blue.tobytes() else whole
    side = (picture.height - GAP) // rows
    columns = max(1, (picture.width - GAP) // max(1, side))
    while True:
        data = _encoded(picture)
        if len(data) <= most or columns <= FEWEST:
            return data, picture.width, picture.height
        columns = max(FEWEST, min(columns - 1, int(columns * most / len(data))))
        picture = picture.crop((0, 0, columns * side + GAP, picture.height))


def _encoded(picture: "Image") -> bytes:
    file = BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()
