"""Files that only grow, a JSON object a line: whatever stopped a writer, reading goes on and the next line is whole."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Lines:
    """The lines of a file.

    Args:
        objects: of its lines, first come first.
        unreadable: lines that are none: cut, zeroed or otherwise damaged.
    """

    objects: tuple[dict[str, Any], ...]
    unreadable: int


def parse(raw: bytes) -> dict[str, Any]:
    """Return the object of a line.

    Raises:
        ValueError: it is no JSON object in UTF-8, or one that nobody wrote on purpose.

    >>> parse(b'{"job": "a"}'), parse(b"7")
    Traceback (most recent call last):
    ValueError: not a JSON object
    """
    try:
        value = json.loads(raw.decode())
    except RecursionError as error:
        raise ValueError("tables within tables without end") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def read_lines(
    path: Path, *, growing: bool = False, fits: Callable[[Mapping[str, Any]], bool] = lambda each: True
) -> Lines:
    """Read a file's objects, and count the lines that are none; no file is an empty one.

    Args:
        path: the file.
        growing: whether somebody may be writing its last line just now, which is then not counted as unreadable.
        fits: whether an object is one of those that belong there.
    """
    raws = (path.read_bytes() if path.is_file() else b"").split(b"\n")
    objects, unreadable = [], 0
    for number, raw in enumerate(raws, 1):
        if not raw.strip():
            continue
        try:
            value = parse(raw)
            whole = fits(value)
        except ValueError:
            whole = False
        if whole:
            objects.append(value)
        elif number < len(raws) or not growing:
            unreadable += 1
    return Lines(tuple(objects), unreadable)


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append an object to a file, made where there is none.

    Raises:
        OSError: it could not be written whole; nothing of it is in the file.
    """
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        append(file, json.dumps(content, default=str))
    finally:
        os.close(file)


def append(file: int, line: str, *, sync: bool = False) -> None:
    """Append a line to an open file, on a line of its own even where the last one has lost its end.

    Args:
        file: open to be read and appended to.
        line: the line, without its end.
        sync: whether it must be on the disk when this returns.

    Raises:
        OSError: it could not be written whole; nothing of it is in the file.
    """
    size = os.fstat(file).st_size
    torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
    data = (b"\n" if torn else b"") + line.encode() + b"\n"
    try:
        written = os.write(file, data)
        if written != len(data):
            raise OSError(f"{written} of {len(data)} bytes were written: is the disk full?")
        if sync:
            os.fsync(file)
    except OSError:
        os.ftruncate(file, size)  # no half line: it would stand in the way of every later one
        raise
