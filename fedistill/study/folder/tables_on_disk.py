"""Tables as files: written so that no spreadsheet takes a name for a formula, and read back with their columns checked.

A run's own commands read its tables again. What somebody else has saved there meanwhile, such as a spreadsheet with
other marks between cells and in numbers, is noticed here and not as a wrong figure later.
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
"""Columns that are words, whatever they look like: a class may be called 1, and a site None."""

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
"""Of a table by its file's name, columns of words and of numbers that it has at least."""


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV; text that begins as a formula does is quoted, numbers stay numbers.

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
    """Read a table of a run folder; an empty one where nothing was in it to write.

    Args:
        words: further columns that are words.

    Raises:
        RunFolderError: there is no such file, or it is not as the run wrote it.
    """
    if not path.is_file():
        raise RunFolderError(
            f"{path.parent} holds no finished run.",
            expected=f"a folder with {path.name}",
            mend="run the simulation to its end first, or name another folder",
        )
    texts, numbers = COLUMNS.get(path.stem, ((), ()))
    try:
        # Blank alone is blank: a site or a class may be called NA.
        frame = pd.read_csv(
            path, dtype=dict.fromkeys((*WORDS, *words), str), keep_default_na=False, na_values=[""], encoding="utf-8"
        )
    except pd.errors.EmptyDataError:
        if path.stat().st_size > 1:
            raise _changed(path, expected="a table", found="no columns") from None
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        raise _changed(path, expected="a table as CSV", found=error) from error
    lacking = [name for name in (*texts, *numbers) if name not in frame.columns]
    if lacking:
        named = ", ".join(lacking[:5]) + (" and others" if len(lacking) > 5 else "")
        found = ", ".join(map(str, frame.columns[:5]))[:200]
        raise _changed(path, expected=f"columns with commas between them, {named} among them", found=found)
    for name in numbers:
        odd = [] if frame[name].dtype.kind in "iuf" else [each for each in frame[name] if not _is_number(each)]
        if odd:
            raise _changed(path, expected=f"numbers in the column {name}", found=repr(odd[0])[:80])
    for name in frame.columns:
        if frame[name].dtype.kind == "O" or isinstance(frame[name].dtype, pd.StringDtype):
            frame[name] = frame[name].map(_unquoted).astype(frame[name].dtype)  # blank all over, words stay words
    return frame


def read_typed_table(path: Path) -> pd.DataFrame:
    """Read a table of a run folder as `read_table` does, its columns of numbers as float64, blank where there are none.

    Raises:
        RunFolderError: there is no such file, or it is not as the run wrote it.
    """
    frame = read_table(path)
    numbers = [*COLUMNS.get(path.stem, ((), ()))[1], *(name for name in NUMBERS if name in frame)]
    return frame if frame.empty else frame.astype(dict.fromkeys(numbers, "float64"))


def _changed(path: Path, *, expected: str, found: object) -> RunFolderError:
    return RunFolderError(
        f"{path} is not as the run wrote it.",
        expected=expected,
        found=found,
        mend="run the simulation again, which writes its tables anew and computes nothing twice",
    )


def _is_number(value: Any) -> bool:
    with contextlib.suppress(TypeError, ValueError):
        return float(value) is not None
    return False


def _quoted(value: Any) -> Any:
    return value if _is_number(value) else cell(value)


def _unquoted(value: Any) -> Any:
    """Text as it was before it was quoted.

    >>> _unquoted("'=1+1"), _unquoted("'tis")
    ('=1+1', "'tis")
    """
    return value[1:] if isinstance(value, str) and value[:1] == "'" and cell(value[1:]) == value else value
