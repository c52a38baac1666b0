"""Tables as CSV: written so that no spreadsheet takes text for a formula, and read with their columns checked.

A run's own commands read its tables again. A table that a spreadsheet has saved meanwhile, with other separators and
number formats, fails here and not as a wrong figure later.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from fedistill.core.text import cell
from fedistill.errors import RunFolderError

WORDS = (
    *("site", "scheme", "left_out", "recipe", "model", "why", "status", "class", "split"),
    *("dataset", "source", "federation"),
)
"""Columns that are text, whatever they look like: a class may be called 1, and a site None."""

NUMBERS = ("ipc", "rounds", "seed", "partition", "lr", "epsilon", "delta")
"""Columns that are numbers wherever they are, though all blank in one run and whole in another."""

COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "results": (("scheme", "recipe", "model"), ("ipc", "network", "accuracy", "auc", "n_sites")),
    "comparison": (
        ("recipe", "model", "scheme", "left_out"),
        ("partition", "ipc", "rounds", "accuracy", "auc", "balanced_accuracy", "images_shared", "bytes_shared"),
    ),
    "sites": (("site", "scheme", "status", "why"), ("partition", "ipc", "seed")),
    "holdings": (("site", "split", "class"), ("partition", "images", "site_images")),
    "sources": (("scheme", "source", "recipe", "model"), ("partition", "ipc", "accuracy", "auc", "test_images")),
    "rounds": (("scheme", "model"), ("partition", "seed", "round", "auc")),
    "privacy": (("scheme", "attack"), ("ipc", "auc")),
    "roc": (("scheme", "attack"), ("ipc", "fpr", "tpr")),
}
"""Required columns of text and of numbers, by the table's file name."""


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV, with text that looks like a formula quoted.

    >>> print(csv_text(pd.DataFrame({"class": ["=1+1", "-1", "b"], "images": [1, -2, 3]})), end="")
    class,images
    '=1+1,1
    -1,-2
    b,3
    """
    quoted = frame.copy()
    for name in quoted.columns:
        if quoted[name].dtype.kind == "O" or isinstance(quoted[name].dtype, pd.StringDtype):
            quoted[name] = quoted[name].map(_quoted)
    return str(quoted.rename(columns=cell).to_csv(index=False))


def read_table(path: Path, *, words: Iterable[str] = ()) -> pd.DataFrame:
    """Read a table of a run folder, which may be empty; ``words`` are further text columns.

    Raises:
        RunFolderError: the file does not exist, or is not as the run wrote it.
    """
    if not path.is_file():
        raise RunFolderError(
            f"{path.parent} holds no finished run.",
            expected=f"a folder with {path.name}",
            mend="run the simulation to its end first, or name another folder",
        )
    texts, numbers = COLUMNS.get(path.stem, ((), ()))
    try:
        # Only an empty cell is blank: a site or a class may be called NA.
        frame = pd.read_csv(
            path, dtype=dict.fromkeys((*WORDS, *words), str), keep_default_na=False, na_values=[""], encoding="utf-8"
        )
    except pd.errors.EmptyDataError:
        if path.stat().st_size > 1:
            raise _changed_error(path, expected="a table", actual="no columns") from None
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        raise _changed_error(path, expected="a table as CSV", actual=error) from error
    lacking = [name for name in (*texts, *numbers) if name not in frame.columns]
    if lacking:
        named = ", ".join(lacking[:5]) + (" and others" if len(lacking) > 5 else "")
        columns = ", ".join(map(str, frame.columns[:5]))[:200]
        raise _changed_error(path, expected=f"columns with commas between them, {named} among them", actual=columns)
    for name in numbers:
        odd = [] if frame[name].dtype.kind in "iuf" else [each for each in frame[name] if not _is_number(each)]
        if odd:
            raise _changed_error(path, expected=f"numbers in the column {name}", actual=repr(odd[0])[:80])
    for name in frame.columns:
        if frame[name].dtype.kind == "O" or isinstance(frame[name].dtype, pd.StringDtype):
            frame[name] = frame[name].map(_unquoted).astype(frame[name].dtype)  # an empty text column stays text
    return frame


def read_typed_table(path: Path) -> pd.DataFrame:
    """Read a table of a run folder as `read_table` does, its columns of numbers as float64, blank where there are none.

    Raises:
        RunFolderError: there is no such file, or it is not as the run wrote it.
    """
    frame = read_table(path)
    numbers = [*COLUMNS.get(path.stem, ((), ()))[1], *(name for name in NUMBERS if name in frame)]
    return frame if frame.empty else frame.astype(dict.fromkeys(numbers, "float64"))


def _changed_error(path: Path, *, expected: str, actual: object) -> RunFolderError:
    return RunFolderError(
        f"{path} is not as the run wrote it.",
        expected=expected,
        found=actual,
        mend="run the simulation again: it rewrites its tables and repeats no computation",
    )


def _is_number(value: Any) -> bool:
    with contextlib.suppress(TypeError, ValueError):
        return float(value) is not None
    return False


def _quoted(value: Any) -> Any:
    return value if _is_number(value) else cell(value)


def _unquoted(value: Any) -> Any:
    """Return text without the quote that `csv_text` added.

    >>> _unquoted("'=1+1"), _unquoted("'tis")
    ('=1+1', "'tis")
    """
    return value[1:] if isinstance(value, str) and value[:1] == "'" and cell(value[1:]) == value else value
