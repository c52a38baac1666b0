"""Log entries of a deployed site about every request, whether or not it is then answered."""

import json
from collections.abc import Iterator
from typing import Any

from flwr.app import ConfigRecord, Message

from fedistill.core.events import Event
from fedistill.core.text import printable

LONGEST_VALUE = 2000
"""Most characters of each logged value: settings fit, and no request fills a disk."""
MOST_VALUES, MOST_JOBS = 50, 1000


def request_events(message: Message, *, run_id: int) -> Iterator[Event]:
    """Yield a request's log entry, with run, node, kind and every plain value, and one for each job in it.

    Networks and Releases in the request are counted, not logged. ``run_id`` is the message's Flower run.
    """
    values: dict[str, Any] = {}
    for record_name, record in message.content.items() if message.has_content() else ():
        for name, value in record.items() if isinstance(record, ConfigRecord) else (("arrays", len(record)),):
            if len(values) < MOST_VALUES:
                values[printable(f"{record_name}.{name}", most=100)] = _plain(value)
    jobs = _jobs(values.pop("request.jobs", None), message)
    about = {"kind": message.metadata.message_type, "from_node": message.metadata.src_node_id, **values}
    if jobs:
        about["jobs"] = len(jobs)
    for each in (about, *jobs[:MOST_JOBS]):
        yield Event("asked", run=run_id, message=printable(_text(each), most=4000))


def _jobs(listed: Any, message: Message) -> list[Any]:
    """Return the jobs of a request for Releases; the app, not the log, refuses unreadable ones."""
    if listed is None:
        return []
    try:
        jobs = json.loads(str(message.content.config_records["request"]["jobs"]))
    except (ValueError, RecursionError):
        return [listed]
    return jobs if isinstance(jobs, list) else [jobs]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return printable(value, most=LONGEST_VALUE)
    return printable(repr(value)[: 2 * LONGEST_VALUE], most=LONGEST_VALUE)
