"""events.jsonl: the events of a run, one line each. Only the driver writes it; anybody may read it meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedistill.core.events import KINDS, Event
from fedistill.core.json_lines import append_line, read_lines

NAME = "events.jsonl"


@dataclass(frozen=True)
class EventLog:
    """The events of a run folder.

    Args:
        events: oldest first.
        unreadable: number of lines that are no event: cut, zeroed or otherwise damaged.
        older: number of lines of an older version, whose events named a method's step only in their text.
    """

    events: tuple[Event, ...] = ()
    unreadable: int = 0
    older: int = 0


def append_event(folder: Path, event: Event) -> None:
    """Append one event to a run folder's log.

    Raises:
        OSError: the line could not be written; no part of it is in the file.
    """
    append_line(folder / NAME, event.as_json())


def read_events(folder: Path, *, growing: bool = False) -> EventLog:
    """Return a run folder's events, and the number of lines that are none.

    ``growing`` says that the run may be writing, so that the last line may be incomplete.
    """
    lines = read_lines(folder / NAME, growing=growing, fits=is_event)
    events = tuple(read_event(each) for each in lines.objects)
    return EventLog(events, lines.unreadable, sum("kind" not in each for each in lines.objects))


def read_event(values: Mapping[str, Any]) -> Event:
    """Return the event of a line, of this version or an older one.

    Raises:
        ValueError: the line is no event.
    """
    return Event.from_json(values if "kind" in values else _of_older_version(values))


def is_event(values: Mapping[str, Any]) -> bool:
    """Return whether a line's object is an event.

    >>> is_event({"kind": "done", "time": 1.5, "seconds": None}), is_event({"kind": "done", "time": "1.5"})
    (True, False)
    """
    try:
        read_event(values)
    except ValueError:
        return False
    return True


_SERVER = "server: "
_PLAIN = ("time", "job", "site", "message", "step", "steps", "seconds", "loss", "validation_auc", "expert", "epoch")


def _of_older_version(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an older line's fields under their names of today.

    Such a line has ``stage`` in place of ``kind``, which may name a method (``dc ipc 10``) and is then read as a sign
    of life alone; ``run``, which is the plan's name and, of a sweep, the point's label; and the server's arms as jobs
    that begin with ``server:``.

    >>> _of_older_version({"run": "x: width=4", "stage": "scored", "job": "server: dc ipc 1"})
    {'job': 'dc ipc 1', 'kind': 'scored', 'point': 'width=4'}
    >>> _of_older_version({"run": "x", "stage": "dc ipc 1", "step": 3})
    {'step': 3, 'kind': 'distilling'}
    """
    stage, run = values.get("stage"), values.get("run")
    if not isinstance(stage, str) or not isinstance(run, str | None):
        raise ValueError("neither an event of this version nor of an older one")
    known = {name: values[name] for name in _PLAIN if values.get(name) is not None}
    if stage == "scored" and isinstance(known.get("job"), str):
        known["job"] = known["job"].removeprefix(_SERVER)  # as plan.json calls it
    point = (run or "").partition(": ")[2]
    return {**known, "kind": stage if stage in KINDS else "distilling", **({"point": point} if point else {})}


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


def older_words(count: int) -> str:
    """Say what lines of an older version do not tell; empty for none.

    >>> older_words(2)
    '2 lines of events.jsonl are of an older version and do not say which method a step was of: no curve has them'
    """
    lines = f"{count} lines of {NAME} are" if count > 1 else f"1 line of {NAME} is"
    words = "of an older version and do not say which method a step was of: no curve has them"
    return f"{lines} {words}" if count else ""
