"""Everything in the driver's own process, one task a step: ``--engine inline``. The readable twin of Ray's."""

import pickle
import time
from collections import deque
from typing import Any

from fedistill.core.events import Event, OnEvent, ignore
from fedistill.transport.backend.base import BackendTask, Lanes, Shared
from fedistill.transport.backend.compute_time import Busy
from fedistill.transport.backend.events import KEPT, delivered_to, emitter
from fedistill.transport.backend.failure import Failure
from fedistill.transport.backend.job import attempt, load


class InlineBackend:
    """Runs the next waiting task whenever `step` is called.

    A task cannot be interrupted from within its own process, so there are no deadlines here: one that hangs, hangs the
    run. CPUs, GPUs and memory are not set aside.

    Args:
        on_event: receives each event as it happens, since nobody can ask while a task runs here.
    """

    workers = 1

    def __init__(self, on_event: OnEvent = ignore) -> None:
        self.busy = Busy()
        self._on_event = on_event
        self._lanes = Lanes()
        self._events: deque[Event] = deque(maxlen=KEPT)

    def require_room(self, who: str, options: dict[str, Any]) -> None:
        """Do nothing: nothing is set aside."""

    def submit(self, task: BackendTask) -> None:
        """Queue a task."""
        self._lanes.put(task)

    def cancel(self, task: BackendTask) -> None:
        """Forget a task that has not been run."""
        self._lanes.remove(task)

    def step(self) -> None:
        """Run the next task to its end."""
        task = self._lanes.next()
        if task is None:
            return
        with delivered_to(self._sink, task.about):
            emitter(task.job)(Event("started"))
            outcome = attempt(load, task.app) if task.app else None
            if not isinstance(outcome, Failure):
                args = tuple(each.handle if isinstance(each, Shared) else each for each in task.args)
                if task.lane == "server":
                    # Copies, as on Ray: a function that writes to its arguments must not change the driver's.
                    args = pickle.loads(pickle.dumps(args))
                start = time.perf_counter()
                outcome = attempt(task.function, *args)
                self.busy.add(task.lane, time.perf_counter() - start)
        task.done(outcome)

    def share(self, value: Any) -> Shared:
        """Return the value itself: it is here already."""
        return Shared(value)

    def events(self) -> list[Event]:
        """Return all events since the last call, oldest first."""
        events = list(self._events)
        self._events.clear()
        return events

    def _sink(self, event: Event) -> None:
        self._events.append(event)
        self._on_event(event)
