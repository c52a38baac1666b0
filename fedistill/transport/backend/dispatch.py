"""A queue of jobs in front of Ray: how many are out at once, who is next, and when a job is given up.

Ray itself would take any number of tasks, but a task it holds cannot be reordered, has no deadline, and keeps its
message in memory.
"""

import os
import pickle
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from fedistill.core.events import Event, Kind, now
from fedistill.transport.backend.base import BackendTask, Lanes, Shared
from fedistill.transport.backend.cards import Cards, wants_card
from fedistill.transport.backend.compute_time import Busy
from fedistill.transport.backend.events import KEPT, Mailbox
from fedistill.transport.backend.failure import DEADLINE, NO_ROOM, SILENT, Failure, from_exception
from fedistill.transport.backend.machines import Machines
from fedistill.transport.backend.ray_result import RETRIES, result_of
from fedistill.transport.backend.worker import Order, Slot, work

LISTEN_EVERY = 0.2  # seconds between two looks into the mailbox: a look costs about a millisecond
LOOK_EVERY = 2.0  # and between two looks at which machines are up, which costs as much
# Seconds that a card's process may be idle while other jobs wait for its CPU, its memory or a part of its card; and
# where nothing at all runs, which is so while the others' processes start as well.
IDLE, STALLED = 60.0, 10.0


@dataclass(eq=False)
class Attempt:
    """A job that Ray has.

    Args:
        token: marks its events; started: when its process began, on the driver's clock; heard: its last event.
    """

    task: BackendTask
    token: str
    started: float | None = None
    heard: float = 0.0


class Dispatcher:
    """A queue in front of Ray. At most twice as many jobs are with Ray as there are CPUs.

    So each CPU finds its next job ready, while the queue stays here. Jobs that want a whole GPU come beside these, one
    for each card. Everything happens in ``step``; there are no threads.

    Args:
        attached: to a cluster that others started, so that it matters which of its machines a job failed on.

    Attributes:
        busy: the seconds that jobs have computed.
    """

    def __init__(self, *, attached: bool = False) -> None:
        self.busy = Busy()
        self._machines, self._looked = Machines(), time.monotonic()
        self._cards = Cards(self._machines)
        self.workers = max(1, int(self._machines.total("CPU")))
        self._attached = attached
        self._lanes = Lanes()
        self._out: dict[Any, Attempt] = {}
        self._silent: set[BackendTask] = set()  # cancelled once for their silence
        self._work = ray.remote(work)
        # A process keeps its GPU's memory, and the GPU it first saw, to its end. So a job with part of one has its own.
        self._work_on_gpu = ray.remote(max_calls=1)(work)
        self._path = tuple(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
        self._mailbox: Any = _mailbox()
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._listened = 0.0

    def require_room(self, who: str, options: dict[str, Any]) -> None:
        """Raise PlanError when no single machine could ever run such a job."""
        self._machines.require(who, options)

    def submit(self, task: BackendTask) -> None:
        """Put a job at the end of its lane. ``step`` starts it."""
        self._lanes.put(task)

    def cancel(self, task: BackendTask) -> None:
        """Forget a job, and kill the process that runs it. ``done`` is not called."""
        self._silent.discard(task)
        for ref, attempt in self._out.items():
            if attempt.task is task:
                del self._out[ref]
                if wants_card(task):
                    self._cards.stop(task)
                else:
                    # force ends the process at once; Ray does not retry what was cancelled.
                    ray.cancel(ref, force=True)
                return
        self._lanes.remove(task)

    def share(self, value: Any) -> Shared:
        """Store a big value once per machine."""
        return Shared(ray.put(pickle.dumps(value)))

    def step(self, wait: float = 0.05) -> None:
        """Start what may start, take in what is done (waiting at most ``wait`` seconds), enforce the limits."""
        self._launch()
        ready: list[Any] = []
        if self._out:
            ready, _ = ray.wait(list(self._out), num_returns=1, timeout=wait)
        if ready:
            ready, _ = ray.wait(list(self._out), num_returns=len(self._out), timeout=0)
        self._listen(now=bool(ready))  # before the results: a job's events come first
        for ref in ready:
            task = self._out.pop(ref).task
            self._silent.discard(task)
            self._cards.done(task)
            seconds, outcome = result_of(ref)
            self.busy.add(task.lane, seconds, cpus=task.num_cpus)
            task.done(outcome)
        self._enforce()
        self._look()
        self._retire()
        self._launch()

    def events(self) -> list[Event]:
        """Return all events since the last call, oldest first."""
        self._listen(now=True)
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        """Cancel everything."""
        self._lanes.clear()
        for attempt in list(self._out.values()):
            self.cancel(attempt.task)
        self._cards.close()

    def _launch(self) -> None:
        while (task := self._lanes.next(self._may_start())) is not None:
            shared = tuple(each.handle for each in task.args if isinstance(each, Shared))
            numbers = iter(range(len(shared)))
            args = tuple(Slot(next(numbers)) if isinstance(each, Shared) else each for each in task.args)
            try:
                # Pickled now and not before: only what is under way is held twice.
                payload = pickle.dumps((task.function, args))
            except Exception as error:  # what cannot be sent spoils no other job
                task.done(from_exception(error))
                continue
            attempt = Attempt(task, uuid.uuid4().hex)
            order = Order(task.job, attempt.token, task.threads, self._path, task.about, task.app, named=self._attached)
            arguments = order, self._mailbox, payload, *shared
            if wants_card(task):
                ref = self._cards.start(task, *arguments)
            else:
                remote = self._work_on_gpu if task.num_gpus else self._work
                ref = remote.options(**task.options, max_retries=RETRIES, name=task.job).remote(*arguments)
            self._out[ref] = attempt

    def _may_start(self) -> Callable[[BackendTask], bool]:
        """Return which jobs may start now: those that wait for a GPU keep no other from starting."""
        # Machines come and go, and with them how much may be out.
        others = [attempt.task for attempt in self._out.values() if not wants_card(attempt.task)]
        room = len(others) < 2 * max(1, int(self._machines.total("CPU")))
        gpus = 2 * self._machines.total("GPU") - sum(task.num_gpus for task in others)
        card = self._cards.free()
        return lambda task: card if wants_card(task) else room and (not task.num_gpus or task.num_gpus <= gpus)

    def _listen(self, *, now: bool) -> None:
        if not now and time.monotonic() - self._listened < LISTEN_EVERY:
            return
        try:
            posted = ray.get(self._mailbox.drain.remote(), timeout=10)
        except ray.exceptions.RayError:
            posted = []  # the mailbox is being restarted; progress is lost, no result is
        self._listened = time.monotonic()
        attempts = {attempt.token: attempt for attempt in self._out.values()}
        for token, event in posted:
            self._events.append(event)
            if token in attempts:
                attempt = attempts[token]
                # The driver's clock, for those of other machines may differ. Ray starting a job again after its
                # process died is a start like the first.
                attempt.heard = self._listened
                again = attempt.started is not None and event.kind == "started"
                if again:
                    self._note(attempt.task, "its process died; it was started again", kind="started again")
                if again or attempt.started is None:
                    attempt.started = attempt.heard

    def _enforce(self) -> None:
        now = time.monotonic()
        for attempt in list(self._out.values()):
            task = attempt.task
            if attempt.started is None:
                continue
            if task.deadline_s is not None and now - attempt.started > task.deadline_s:
                self._give_up(
                    task, Failure(DEADLINE, f"cancelled: it ran longer than deadline_s = {task.deadline_s:g}")
                )
            elif task.silence_s is not None and now - attempt.heard > task.silence_s:
                line = f"no event for silence_s = {task.silence_s:g}"
                if task in self._silent:
                    self._give_up(task, Failure(SILENT, f"cancelled twice: {line}"))
                else:
                    self._note(task, f"cancelled and tried again: {line}")
                    self.cancel(task)
                    self._silent.add(task)
                    self._lanes.put(task, first=True)

    def _retire(self) -> None:
        """End processes of cards that are idle while other jobs wait: maybe for what is set aside there."""
        started = [attempt.started is not None for attempt in self._out.values()]
        if not all(started) or self._lanes.waiting():
            self._cards.retire(IDLE if any(started) else STALLED)

    def _look(self) -> None:
        """Tell of machines that have gone or joined, and give up what none of those left could run."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = time.monotonic()
        for line in self._machines.look():
            self._events.append(now("machine", message=line, job="cluster"))
        for task in [*(attempt.task for attempt in self._out.values()), *self._lanes.waiting()]:
            if not self._machines.fit(task.options):
                has, asks = self._machines.lacking(task.options)
                self._give_up(task, Failure(NO_ROOM, f"no machine is left that could run it: {asks}; there is {has}"))

    def _give_up(self, task: BackendTask, failure: Failure) -> None:
        self._note(task, failure.line)
        self.cancel(task)
        task.done(failure)

    def _note(self, task: BackendTask, message: str, *, kind: Kind = "cancelled") -> None:
        self._events.append(now(kind, message=message, job=task.job, **task.about))


def _mailbox() -> Any:
    """Create the actor that jobs post events to, on the cluster's head: another machine could be lost.

    It has a name of its own, for two runs may share a cluster, and takes no CPU, so it never keeps a job waiting.
    """
    head = {"node:__internal_head__": 0.001}  # which Ray gives its head, and no other machine
    named = ray.remote(Mailbox).options(
        name=f"fedistill-events-{uuid.uuid4().hex}", num_cpus=0, max_restarts=-1, resources=head
    )
    return named.remote()
