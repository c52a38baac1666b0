"""A table of paths and labels: CSV, TSV, Excel or Parquet, a row an image (or a file of several frames)."""

import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedistill.errors import DataError, nearest
from fedistill.importing.extras import optional
from fedistill.importing.listing.entries import SPLIT_WORDS, ListedFile, Listing, order_classes, split_named

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".xlsm", ".parquet")
LARGEST_SHEET = 1 << 30
"""Bytes that an Excel file may unpack to: it is a zip archive, and may be a bomb."""

FIRST = 5
"""Rows, paths or values that a message names."""


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns.

    Args:
        image: paths, absolute or from the folder of images.
        labels: one column of class names or numbers, or several of 0 and 1.
        patient, split, site: optional; None takes the column of that name where there is one.
    """

    image: str = "image"
    labels: tuple[str, ...] = ("label",)
    patient: str | None = None
    split: str | None = None
    site: str | None = None


def list_table(
    source: Path,
    *,
    columns: Columns | None = None,
    images: Path | None = None,
    classes: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    tolerate: float | None = None,
) -> Listing:
    """List a table's images, in the order of its rows.

    Args:
        source: the table.
        columns: their names.
        images: the folder that paths start from; default the table's own.
        classes: class names in the order of their labels; default sorted.
        leave_out: classes, or findings, that are not imported.
        tolerate: share of rows without a file that is tolerated; None for none.

    Raises:
        DataError: the table cannot be read, lacks a column, names files that do not exist, or has no usable label.
    """
    columns = columns or Columns()
    frame = read_frame(source)
    optional_columns = {
        what: _column(source, frame, getattr(columns, what), default=what) for what in ("patient", "split", "site")
    }
    for name in (columns.image, *columns.labels):
        _require_column(source, frame, name)
    if frame.empty:
        raise DataError(f"{source} has no row.", expected="a row an image")
    base = images or source.parent
    skipped: list[tuple[str, str]] = []
    lacking: list[str] = []
    rows: list[tuple[int, Path, str]] = []
    for number, word in enumerate(frame[columns.image]):
        if not _text(word):
            skipped.append((f"row {number + 2}", "no path"))
            continue
        path = base / _text(word)
        if path.is_file():
            rows.append((number, path, _text(word)))
        else:
            lacking.append(_text(word))
    if lacking and len(lacking) > (tolerate or 0.0) * len(frame):
        raise DataError(
            f"{len(lacking):,} of {len(frame):,} files that {source} names do not exist.",
            expected=f"paths from {base}, or whole ones",
            found=", ".join(lacking[:FIRST]) + (" ..." if len(lacking) > FIRST else ""),
            mend="name the folder that they start from with --images, or correct the column",
        )
    skipped += [(name, "no such file") for name in lacking]
    given = {what: [_text(v) for v in frame[name]] if name else None for what, name in optional_columns.items()}
    splits = _splits(source, given["split"])
    labelled = _labels(source, frame, columns.labels, rows, classes, leave_out, skipped)
    entries = [
        ListedFile(
            path,
            name,
            labelled.of[number],
            patient=given["patient"][number] if given["patient"] else "",
            split=splits[number] if splits else "",
            site=given["site"][number] if given["site"] else "",
        )
        for number, path, name in rows
        if number in labelled.of
    ]
    if not entries:
        raise DataError(f"{source} has no row with a file and a label.", found=f"{len(frame)} rows without")
    return Listing(entries, labelled.names, labelled.multilabel, skipped)


def read_frame(path: Path) -> "pd.DataFrame":
    """Return a table, all of whose cells are text, blank where they are empty.

    Raises:
        DataError: it cannot be read, or is of a kind that is not.
    """
    import pandas as pd

    ending = path.suffix.lower()
    try:
        if ending == ".parquet":
            return pd.read_parquet(path)
        if ending in (".xlsx", ".xlsm"):
            optional("openpyxl", extra="excel", purpose="Reading Excel files")
            with zipfile.ZipFile(path) as archive:
                if sum(info.file_size for info in archive.infolist()) > LARGEST_SHEET:
                    raise ValueError("it unpacks to more than a table needs")
            return pd.read_excel(path, dtype=str, keep_default_na=False)
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = file.readline()
        separator = max(",;\t", key=first.count)
        with warnings.catch_warnings():
            # A cell too many, such as of a comma without quotes, would otherwise shift all columns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False
            )
    except DataError:
        raise
    except Exception as error:  # each format's parser has its own errors
        raise DataError(
            f"{path} cannot be read as a table.",
            expected="CSV in UTF-8 with a line of column names, Excel or Parquet",
            found=str(error).partition("\n")[0][:200],
            mend="save it as CSV",
        ) from error


@dataclass(frozen=True)
class _Labels:
    of: dict[int, int | tuple[int, ...]]
    names: tuple[str, ...]
    multilabel: bool


def _labels(
    source: Path,
    frame: "pd.DataFrame",
    columns: tuple[str, ...],
    rows: list[tuple[int, Path, str]],
    classes: Sequence[str],
    leave_out: Sequence[str],
    skipped: list[tuple[str, str]],
) -> _Labels:
    if len(columns) == 1:
        words = {number: _text(frame[columns[0]].iloc[number]) for number, _, _ in rows}
        skipped += [(name, "no label") for number, _, name in rows if not words[number]]
        names = order_classes({word for word in words.values() if word}, classes, leave_out, what=str(source))
        number_of = {name: k for k, name in enumerate(names)}
        return _Labels({at: number_of[word] for at, word in words.items() if word in number_of}, names, False)
    kept = [name for name in classes or columns if name not in leave_out]
    names = order_classes(set(columns), kept, leave_out, what=str(source))
    of: dict[int, int | tuple[int, ...]] = {}
    values = {name: [_text(v).lower() for v in frame[name]] for name in names}
    for number, _, shown in rows:
        found = tuple(_ZERO_ONE.get(values[name][number], -1) for name in names)
        blank = [name for name in names if not values[name][number]]
        if blank:
            skipped.append((shown, "no label"))
        elif -1 in found:
            name = names[found.index(-1)]
            raise DataError(
                f"{source}: the column {name!r} is no column of 0 and 1.",
                expected="0 or 1 in each of several label columns",
                found=f"{values[name][number]!r} for {shown}",
                mend="name one column whose words are the classes, or only those of 0 and 1",
            )
        else:
            of[number] = found
    return _Labels(of, names, True)


_ZERO_ONE = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def _splits(source: Path, words: list[str] | None) -> list[str] | None:
    if words is None:
        return None
    odd = [(number, word) for number, word in enumerate(words) if split_named(word) is None]
    if odd:
        raise DataError(
            f"{source}: {len(odd)} rows name no split.",
            expected=", ".join(SPLIT_WORDS),
            found=", ".join(f"{word!r} in row {number + 2}" for number, word in odd[:FIRST]),
            mend="name the column of splits with --split-column, or another word there; --new-splits draws them anew",
        )
    return [split_named(word) or "" for word in words]


def _column(source: Path, frame: "pd.DataFrame", name: str | None, *, default: str) -> str | None:
    if name is None:
        return default if default in frame.columns else None
    if not name:
        return None
    _require_column(source, frame, name)
    return name


def _require_column(source: Path, frame: "pd.DataFrame", name: str) -> None:
    if name not in frame.columns:
        known = [str(column) for column in frame.columns]
        raise DataError(
            f"{source} has no column {name!r}.", found=", ".join(known[:20]) or "no columns", mend=nearest(name, known)
        )


def _text(value: object) -> str:
    """Return a cell as text; empty for a blank one. Whole numbers of a column with blanks lose their ``.0``."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
