"""A queue of jobs in front of Ray: how many are out at once, who is next, and when a job is given up.

Ray itself would take any number of tasks, but a task it holds cannot be reordered, has no deadline, and keeps its
message in memory.
"""

import os
import sys
import time
import uuid
from collections import deque
from typing import Any

import ray

from fedistill.transport.backend.compute_time import Busy
from fedistill.transport.backend.events import KEPT, Event, Mailbox
from fedistill.transport.backend.failure import DEADLINE, NO_ROOM, SILENT, Failure, from_exception
from fedistill.transport.backend.machines import Machines
from fedistill.transport.backend.ray_task import RETRIES, RayTask, result_of
from fedistill.transport.backend.worker import Order, work

LISTEN_EVERY = 0.2  # seconds between two looks into the mailbox: a look costs about a millisecond
LOOK_EVERY = 2.0  # and between two looks at which machines are up, which costs as much


class Dispatcher:
    """A queue in front of Ray. At most twice as many jobs are with Ray as there are CPUs.

    So each CPU finds its next job ready, while the queue stays here. Everything happens in ``step``; there are no
    threads.

    Args:
        attached: to a cluster that others started, so that it matters which of its machines a job failed on.

    Attributes:
        busy: the seconds that jobs have computed.
    """

    def __init__(self, *, attached: bool = False) -> None:
        self.busy = Busy()
        self._machines, self._looked = Machines(), time.monotonic()
        self.workers = max(1, int(self._machines.total("CPU")))
        self._attached = attached
        self._waiting: dict[str, deque[RayTask]] = {"site": deque(), "question": deque(), "server": deque()}
        self._turns = deque(self._waiting)
        self._out: dict[Any, RayTask] = {}
        self._work = ray.remote(work)
        # A process keeps its GPU's memory, and the GPU it first saw, to its end: one process a job.
        self._work_on_gpu = ray.remote(max_calls=1)(work)
        self._path = tuple(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
        self._mailbox: Any = _mailbox()
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._listened = 0.0

    def require_room(self, who: str, options: dict[str, Any]) -> None:
        """Raise PlanError when no single machine could ever run such a job."""
        self._machines.require(who, options)

    def submit(self, task: RayTask) -> None:
        """Put a job at the end of its lane. ``step`` starts it."""
        self._waiting[task.lane].append(task)

    def cancel(self, task: RayTask) -> None:
        """Forget a job, and kill the process that runs it. ``done`` is not called."""
        if task.ref is None:
            self._waiting[task.lane].remove(task)
        elif self._out.pop(task.ref, None) is not None:
            # force ends the process at once; Ray does not retry what was cancelled.
            ray.cancel(task.ref, force=True)

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
            task = self._out.pop(ref)
            seconds, outcome = result_of(ref)
            self.busy.add(task.lane, seconds, cpus=task.num_cpus)
            task.done(outcome)
        self._enforce()
        self._look()
        self._launch()

    def events(self) -> list[Event]:
        """Return all events since the last call, oldest first."""
        self._listen(now=True)
        events = list(self._events)
        self._events.clear()
        return events

    def close(self) -> None:
        """Cancel everything."""
        for lane in self._waiting.values():
            lane.clear()
        for task in list(self._out.values()):
            self.cancel(task)

    def _launch(self) -> None:
        # Machines come and go, and with them how much may be out.
        limit = 2 * max(1, int(self._machines.total("CPU")))
        while len(self._out) < limit and (task := self._next()) is not None:
            try:
                payload = task.payload()
            except Exception as error:  # what cannot be sent spoils no other job
                task.done(from_exception(error))
                continue
            token = uuid.uuid4().hex
            order = Order(task.job, token, task.threads, self._path, task.about, task.app, named=self._attached)
            task.token, task.started = order.token, None
            remote = self._work_on_gpu if task.num_gpus else self._work
            named = remote.options(**task.options, max_retries=RETRIES, name=task.job)
            task.ref = named.remote(order, self._mailbox, payload, *task.shared)
            self._out[task.ref] = task

    def _next(self) -> RayTask | None:
        # Jobs that wait for a GPU must not keep those from starting that want none.
        gpus = 2 * self._machines.total("GPU") - sum(task.num_gpus for task in self._out.values())
        for _ in range(len(self._turns)):
            lane = self._waiting[self._turns[0]]
            self._turns.rotate(-1)
            for task in lane:
                if not task.num_gpus or task.num_gpus <= gpus:
                    lane.remove(task)
                    return task
        return None

    def _listen(self, *, now: bool) -> None:
        if not now and time.monotonic() - self._listened < LISTEN_EVERY:
            return
        try:
            posted = ray.get(self._mailbox.drain.remote(), timeout=10)
        except ray.exceptions.RayError:
            posted = []  # the mailbox is being restarted; progress is lost, no result is
        self._listened = time.monotonic()
        tasks = {task.token: task for task in self._out.values()}
        for token, event in posted:
            self._events.append(event)
            if token in tasks:
                task = tasks[token]
                # The driver's clock, for those of other machines may differ. Ray starting a job again after its
                # process died is a start like the first.
                task.heard = self._listened
                again = task.started is not None and event.get("stage") == "started"
                if again:
                    self._note(task, "its process died; it was started again", stage="started again")
                if again or task.started is None:
                    task.started = task.heard

    def _enforce(self) -> None:
        now = time.monotonic()
        for task in list(self._out.values()):
            if task.started is None:
                continue
            if task.deadline_s is not None and now - task.started > task.deadline_s:
                self._give_up(
                    task, Failure(DEADLINE, f"cancelled: it ran longer than deadline_s = {task.deadline_s:g}")
                )
            elif task.silence_s is not None and now - task.heard > task.silence_s:
                line = f"no event for silence_s = {task.silence_s:g}"
                task.silences += 1
                if task.silences > 1:
                    self._give_up(task, Failure(SILENT, f"cancelled twice: {line}"))
                else:
                    self._note(task, f"cancelled and tried again: {line}")
                    self.cancel(task)
                    task.ref = None
                    self._waiting[task.lane].appendleft(task)

    def _look(self) -> None:
        """Tell of machines that have gone or joined, and give up what none of those left could run."""
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = time.monotonic()
        for line in self._machines.look():
            self._events.append({"stage": "machine", "message": line, "time": time.time(), "job": "cluster"})
        for task in [*self._out.values(), *(task for lane in self._waiting.values() for task in lane)]:
            if not self._machines.fit(task.options):
                has, asks = self._machines.lacking(task.options)
                self._give_up(task, Failure(NO_ROOM, f"no machine is left that could run it: {asks}; there is {has}"))

    def _give_up(self, task: RayTask, failure: Failure) -> None:
        self._note(task, failure.line)
        self.cancel(task)
        task.done(failure)

    def _note(self, task: RayTask, message: str, *, stage: str = "cancelled") -> None:
        self._events.append({**task.about, "stage": stage, "message": message, "time": time.time(), "job": task.job})


def _mailbox() -> Any:
    """Create the actor that jobs post events to, on the cluster's head: another machine could be lost.

    It has a name of its own, for two runs may share a cluster, and takes no CPU, so it never keeps a job waiting.
    """
    head = {"node:__internal_head__": 0.001}  # which Ray gives its head, and no other machine
    named = ray.remote(Mailbox).options(
        name=f"fedistill-events-{uuid.uuid4().hex}", num_cpus=0, max_restarts=-1, resources=head
    )
    return named.remote()
