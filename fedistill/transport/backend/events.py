"""Progress on its way from a job to the driver.

An algorithm calls ``on_event(dict)`` and does no I/O. Where the event goes depends on who runs the job: a grid of this
package names a sink with ``delivered_to``; in Flower's own runtime nobody does, and events are dropped.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Event = dict[str, Any]
Sink = Callable[[Event], None]

EVERY_SECONDS = 0.5
KEPT = 10_000
"""Events kept while nobody collects them; then the oldest are dropped."""

_sink: ContextVar[Sink | None] = ContextVar("fedistill_event_sink", default=None)


def emitter(job: str, *, clock: Callable[[], float] = time.monotonic) -> Sink:
    """Return the ``on_event`` of one job. It adds ``job`` and ``time`` (seconds since 1970) to each event.

    At most one event per half second passes, since a distillation may report thousands of steps a second. Always
    passed: the first event, one whose ``stage`` differs from the last, and one with the key ``final``. What is held
    back is dropped, not delayed: the next event says the same with a higher ``step``.
    """
    sink = _sink.get()  # taken now, so the emitter also works from threads the job starts
    if sink is None:
        return lambda event: None
    last_time: float | None = None
    last_stage: Any = None

    def emit(event: Event) -> None:
        nonlocal last_time, last_stage
        now = clock()
        stage = event.get("stage", last_stage)
        due = last_time is None or now - last_time >= EVERY_SECONDS
        if due or stage != last_stage or "final" in event:
            last_time, last_stage = now, stage
            sink({**event, "time": time.time(), "job": job})

    return emit


@contextmanager
def delivered_to(sink: Sink) -> Iterator[None]:
    """Within the block, emitters made in this thread send their events to ``sink``."""
    token = _sink.set(sink)
    try:
        yield
    finally:
        _sink.reset(token)


class Mailbox:
    """Holds events between jobs and driver. On Ray it is an actor that takes no CPU; nothing in it needs Ray."""

    def __init__(self) -> None:
        self._events: deque[tuple[str, Event]] = deque(maxlen=KEPT)

    def post(self, token: str, event: Event) -> None:
        """Add an event; ``token`` says which attempt at which job sent it."""
        self._events.append((token, event))

    def drain(self) -> list[tuple[str, Event]]:
        """Return all events since the last call, oldest first."""
        drained = list(self._events)
        self._events.clear()
        return drained
