"""Events on their way from a job to the driver.

An algorithm calls ``on_event(Event)`` and does no I/O. Where the event goes depends on who runs the job: a grid of this
package names a sink with ``delivered_to``; in Flower's own runtime nobody does, and events are dropped.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from fedistill.core.events import ALWAYS, Event, OnEvent, ignore

About = Mapping[str, Any]
"""Fields of `Event` that whoever runs a job knows of it: its site, its point, its repeat."""

EVERY_SECONDS = 0.5
KEPT = 10_000
"""Events kept while nobody collects them; then the oldest are dropped."""

_sink: ContextVar[OnEvent | None] = ContextVar("fedistill_event_sink", default=None)


def emitter(job: str, *, clock: Callable[[], float] = time.monotonic, **about: Any) -> OnEvent:
    """Return the ``on_event`` of one job. It adds ``job``, ``time`` and `about` to each event.

    At most one event per half second passes, since a distillation may report thousands of steps a second. Always
    passed: the first event, one of another kind, method or budget than the last, and the kinds of `ALWAYS`. What is
    held back is dropped, not delayed: the next event says the same with a higher ``step``.
    """
    sink = _sink.get()  # taken now, so the emitter also works from threads the job starts
    if sink is None:
        return ignore
    last_time: float | None = None
    last: tuple[Any, ...] = ()

    def emit(event: Event) -> None:
        nonlocal last_time, last
        now, what = clock(), (event.kind, event.method, event.ipc)
        due = last_time is None or now - last_time >= EVERY_SECONDS
        if due or what != last or event.kind in ALWAYS:
            last_time, last = now, what
            sink(replace(event, time=time.time(), job=job, **about))

    return emit


@contextmanager
def delivered_to(sink: OnEvent, about: About | None = None) -> Iterator[None]:
    """Within the block, emitters made in this thread send their events, with `about` in them, to ``sink``."""
    token = _sink.set(sink if not about else lambda event: sink(replace(event, **about)))
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
        """Return all events since the last time, oldest first."""
        drained = list(self._events)
        self._events.clear()
        return drained
