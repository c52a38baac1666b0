"""From a NAME to a TOML file: an existing path, ./simulations, the checkout's, the shipped ones."""

import math
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fedistill.core.limits import DEEPEST, require_shallow
from fedistill.errors import PlanError, nearest

PACKAGE = Path(__file__).resolve().parents[1]

LARGEST_FILE = 1 << 20  # bytes; a thousand sites, each with settings of its own, take a tenth
LONGEST_KEY = 200  # dots
_SEGMENT = re.compile(r"[^=\[\]{},#\n]+")
EXPECTED = f"at most {DEEPEST} tables and lists within each other, and finite numbers of at most 64 bits"


def folders(kind: str) -> list[Path]:
    """Return the folders where files of this kind (``sites`` or ``simulations``) are looked for, first to last."""
    wanted = [Path.cwd() / kind, PACKAGE.parent / kind, PACKAGE / "content" / kind]
    checkout = (PACKAGE.parent / "pyproject.toml").is_file()  # installed, the package's parent is site-packages
    return [f for f in dict.fromkeys(wanted) if f.is_dir() and (f != PACKAGE.parent / kind or checkout)]


def names(kind: str) -> dict[str, Path]:
    """Return every NAME of this kind, with its file."""
    paths: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.glob("*.toml")):
            paths.setdefault(path.stem, path)
    return paths


def find(kind: str, name: str, *, beside: Path | None = None) -> Path:
    """Return the file that a NAME or path stands for.

    Args:
        kind: ``sites`` or ``simulations``.
        name: a NAME, or a path.
        beside: a folder that a relative path may also start from.

    Raises:
        PlanError: there is none.
    """
    for base in (Path.cwd(), beside):
        if base is not None and _is_file(base / name):
            return (base / name).resolve()
    known = names(kind)
    if name in known:
        return known[name].resolve()
    what = {"sites": "federation", "simulations": "simulation"}[kind]
    if name and os.path.isdir(name):  # noqa: PTH112 - a name too long for any path is none
        raise PlanError(
            f"There is no {what} {name[:200]!r}: it is a folder.",
            expected=f"a file, or a name from {kind}/",
            mend=f"name the file in it, such as {Path(name) / 'simulation.toml'}"
            if kind == "simulations"
            else "name the file in it",
        )
    raise PlanError(
        f"There is no {what} {name[:200]!r}.", expected=f"a path, or a name from {kind}/", mend=nearest(name, known)
    )


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        PlanError: it is not TOML, the message names file and line; or no such file can be meant: it is too large, too
            deep, or has numbers that are none.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise PlanError(
                f"{path} is too large to be such a file.",
                expected=f"at most {LARGEST_FILE >> 20} MiB",
                found=f"{path.stat().st_size:,} bytes",
            )
        return toml(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path} is not TOML.", found=str(error), mend="correct that line") from error
    except (UnicodeDecodeError, OSError) as error:
        raise PlanError(f"{path} cannot be read.", expected="a text file in UTF-8", found=str(error)) from error
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{path} is invalid.", expected=EXPECTED, found=str(error)[:200]) from error


def toml(text: str) -> dict[str, Any]:
    """Parse TOML within limits, for the content is walked through, copied and written out again.

    Raises:
        ValueError: it is no TOML (TOMLDecodeError), or beyond `EXPECTED`.
        RecursionError: far beyond.

    >>> toml("a = [1, 2]")
    {'a': [1, 2]}
    >>> toml("seed = 0x1_0000_0000_0000_0000")
    Traceback (most recent call last):
    ValueError: a number of more than 64 bits
    """
    if any(segment[0].count(".") > LONGEST_KEY for segment in _SEGMENT.finditer(text)):
        raise ValueError("a key of too many parts")  # tomllib takes time with the square of their number
    read = tomllib.loads(text)
    require_shallow(read, _within)
    return read


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, int) and value.bit_length() > 63:
        raise ValueError("a number of more than 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} where a number belongs")
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for any file
        return False
