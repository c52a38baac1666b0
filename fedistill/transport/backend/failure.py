"""Failures of jobs as data, which cross process borders where an exception might not."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

RAISED = 2
"""Flower's own code for a handler that raised. The codes below are FeDistill's."""
DEADLINE = 100
"""The job was cancelled because it ran longer than ``deadline_s``."""
SILENT = 101
"""The job was cancelled, twice, because it sent no event for ``silence_s``."""
DIED = 102
"""The process that ran the job died, and so did those that tried again."""
CANCELLED = 103
"""The job was given up by whoever had asked for it."""
NO_ROOM = 104
"""The cluster has lost the machines that could have run the job."""
WAITS = 105
"""The answer is ready, and people at the site have not looked at it yet."""

_machine: ContextVar[str] = ContextVar("fedistill_machine", default="")

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


@dataclass(frozen=True)
class Failure:
    """A job that gave no result.

    Args:
        code: why; line: one readable line; trace: the whole traceback, where there is one.
        error: the exception's class, where it was one.
    """

    code: int
    line: str
    trace: str = ""
    error: str = ""

    @property
    def reason(self) -> str:
        """Return the readable line, then the traceback."""
        return f"{self.line}\n\n{self.trace}" if self.trace else self.line


def from_exception(error: BaseException) -> Failure:
    r"""Describe an exception, and name the machine where that is not the one that everybody sits at.

    >>> from_exception(ValueError("two\n  lines")).line
    'ValueError: two; lines'
    >>> with happening_on("node-b"):
    ...     from_exception(ValueError("no such file")).line
    'ValueError: no such file (on machine node-b)'
    """
    parts = [part.strip() for part in _ANSI.sub("", str(error)).splitlines() if part.strip()]
    line = f"{type(error).__name__}: {'; '.join(parts)}" if parts else type(error).__name__
    line += f" (on machine {machine})" if (machine := _machine.get()) else ""
    trace = _ANSI.sub("", "".join(traceback.format_exception(error)))
    return Failure(RAISED, line, trace.rstrip(), type(error).__name__)


def class_of(line: str) -> str:
    """Return the exception's class from a line that `from_exception` has written.

    >>> class_of(from_exception(ValueError("a: b")).line), class_of(from_exception(KeyboardInterrupt()).line)
    ('ValueError', 'KeyboardInterrupt')
    """
    return line.partition(":")[0].partition(" ")[0]


@contextmanager
def happening_on(machine: str) -> Iterator[None]:
    """Within the block failures name this machine; one of several may lack data that the others have."""
    token = _machine.set(machine)
    try:
        yield
    finally:
        _machine.reset(token)
