"""events.jsonl: the events of a run, one line each. Only the driver writes it; anybody may read it meanwhile."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedistill.core.json_lines import Lines, append_line, read_lines

NAME = "events.jsonl"
NOTE = "note"
"""Stage of warnings about the data before any work."""

NUMBERS = ("time", "step", "steps", "seconds")
WORDS = ("run", "job", "site", "stage", "message")


def append_event(folder: Path, event: Mapping[str, Any]) -> None:
    """Append one event to a run folder's log."""
    append_line(folder / NAME, event)


def read_events(folder: Path, *, growing: bool = False) -> Lines:
    """Read a run folder's events, oldest first, and count the lines that are none.

    ``growing`` says that the run may be writing at the same time.
    """
    return read_lines(folder / NAME, growing=growing, fits=is_event)


def is_event(record: Mapping[str, Any]) -> bool:
    """Return whether an object is an event: all of its known fields have the right type.

    >>> is_event({"job": "a", "time": 1.5, "seconds": None}), is_event({"job": "a", "time": "1.5"})
    (True, False)
    """
    numbers = (record.get(name) for name in NUMBERS)
    words = (record.get(name) for name in WORDS)
    return all(_possible(each) for each in numbers) and all(each is None or isinstance(each, str) for each in words)


def _possible(value: Any) -> bool:
    if value is None:
        return True
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value < 1e11  # seconds since 1970, up to the year 5138


def unread_words(count: int) -> str:
    """Return a sentence on the number of unreadable lines; empty for none.

    >>> unread_words(1)
    '1 line of events.jsonl cannot be read and is passed over: something stopped a run while it wrote'
    """
    if not count:
        return ""
    lines = (
        f"{count} lines of {NAME} cannot be read and are" if count > 1 else f"1 line of {NAME} cannot be read and is"
    )
    return f"{lines} passed over: something stopped a run while it wrote"
