"""The one file that uses private names of Flower.

A Flower ``Message`` takes its sender from a process-wide identity, and its id from the SuperLink. Outside Flower's own
runtimes there is neither, so the grids of this package set both here. How Flower encodes a message, which is how large
it is on its way, comes from here too. ``tests/transport/test_flower_internals.py`` holds these names against the range
of Flower that ``pyproject.toml`` allows.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from flwr.app import Message

from fedistill.errors import RunError

try:
    from flwr.common.serde import array_to_proto as array_to_proto
    from flwr.common.serde import config_record_to_proto as config_record_to_proto
    from flwr.common.serde import metric_record_to_proto as metric_record_to_proto
    from flwr.common.serde_utils import error_to_proto as error_to_proto
    from flwr.common.serde_utils import metadata_to_proto as metadata_to_proto
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity
except ImportError as error:  # pragma: no cover - only with a Flower we do not allow
    raise RunError(
        "this Flower has moved the private names that FeDistill's simulation needs",
        expected="flwr from 1.41 up to, not including, 1.43",
        found=f"flwr {version('flwr')}: {error}",
        mend="pip install 'flwr[simulation]>=1.41,<1.43'",
    ) from error

SERVER_ID = 0
"""The server's own address: no site has it, since sites count from 1."""

CONNECTED = "SuperNode ID"
"""Stands in a SuperNode's log once it is connected."""
REFUSED = "Failed to activate SuperNode"
"""Stands in a SuperNode's log where its key is not known, or an earlier node with it has died and is not yet missed."""

_TASK_ID = 1  # Flower's number for a task; nothing reads it here, but it must be set


def become_server(run_id: int) -> None:
    """Let this process create messages: those it sends now come from the server of this run."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, SERVER_ID, _TASK_ID


@contextmanager
def acting_as(run_id: int, node_id: int) -> Iterator[None]:
    """Within the block this process is the given site; afterwards it is again what it was."""
    names = ("_run_id", "_node_id", "_task_id")
    before = [getattr(TaskIdentity, name) for name in names]
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, node_id, _TASK_ID
    try:
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(TaskIdentity, name, value)


def stamped(message: Message, message_id: str) -> Message:
    """Return the message as sent: a copy that shares the content and has its own metadata.

    The caller's message gets the id too, as Flower does, but may be sent again without disturbing the first sending.
    """
    message.metadata.__dict__["_message_id"] = message_id
    sent = copy.copy(message)
    sent.__dict__["_metadata"] = copy.copy(message.metadata)
    return sent


def empty_run(run_id: int) -> Run:
    """Return Flower's description of a run, with its id and nothing else."""
    return Run.create_empty(run_id)


_STATUS = "fedistill exit status"


def words_with_status(status: int, text: str) -> str:
    """Return an exception's words with the exit status in them: of what a ServerApp raises, Flower keeps the words."""
    return f"{_STATUS} {status}: {text}"


def status_in_words(words: str) -> tuple[int | None, str]:
    """Return the status and the text that `words_with_status` has put into Flower's words; (None, all of them) else.

    >>> status_in_words(f"ServerApp failed with exception: {words_with_status(2, 'no such file')}")
    (2, 'no such file')
    """
    match = re.search(rf"{_STATUS} (\d): (.*)", words, re.DOTALL)
    return (None, words) if match is None else (int(match[1]), match[2])
