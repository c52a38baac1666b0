"""What a run computes on: a backend takes tasks, whoever's they are, and runs them in this process or on Ray.

Sites' jobs (`fedistill.transport.backend.site_grid`) and the server's own work
(`fedistill.transport.backend.server_work`) are queued on one backend and take turns.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fedistill.core.events import Event
from fedistill.transport.backend.compute_time import Busy, Lane
from fedistill.transport.backend.events import About


@dataclass(frozen=True)
class Shared:
    """A value that many tasks take; the backend that made it knows what ``handle`` is."""

    handle: Any


@dataclass(eq=False)
class BackendTask:
    """A function call in the queue of a backend.

    Args:
        lane: whose it is; the lanes take turns, so that a short question need not wait behind long distillations.
        job: its name in events.
        function, args: what to run; a `Shared` among the arguments arrives as its value.
        done: takes the result or a `Failure`, in the driver.
        num_cpus, num_gpus, memory: what Ray sets aside for it, memory in bytes.
        threads: of libraries that read their thread count when they are first loaded.
        about: fields of its events.
        app: "module:attribute" that it will load, imported before its seconds are counted; empty for nothing.
        deadline_s: seconds it may run, from its start; silence_s: without an event. Nobody keeps them inline.
    """

    lane: Lane
    job: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    done: Callable[[Any], None]
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory: int | None = None
    threads: int = 1
    about: About = field(default_factory=dict)
    app: str = ""
    deadline_s: float | None = None
    silence_s: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Ray's options for what it sets aside."""
        return ray_options(self.num_cpus, self.num_gpus, self.memory)


def ray_options(num_cpus: float, num_gpus: float, memory: int | None = None) -> dict[str, Any]:
    """Return Ray's options for what one task sets aside."""
    options: dict[str, Any] = {"num_cpus": num_cpus, "num_gpus": num_gpus}
    return options if memory is None else {**options, "memory": memory}


class Lanes:
    """Tasks that wait, in lanes that take turns; within a lane the first comes first."""

    def __init__(self) -> None:
        self._waiting: dict[Lane, deque[BackendTask]] = {"site": deque(), "question": deque(), "server": deque()}
        self._turns = deque(self._waiting)

    def put(self, task: BackendTask, *, first: bool = False) -> None:
        """Put a task at the end of its lane, or at its beginning."""
        lane = self._waiting[task.lane]
        lane.appendleft(task) if first else lane.append(task)

    def remove(self, task: BackendTask) -> None:
        """Take a waiting task out."""
        self._waiting[task.lane].remove(task)

    def next(self, may_start: Callable[[BackendTask], bool] = lambda task: True) -> BackendTask | None:
        """Take out the next task that may start; None where there is none."""
        for _ in range(len(self._turns)):
            lane = self._waiting[self._turns[0]]
            self._turns.rotate(-1)
            for task in lane:
                if may_start(task):
                    lane.remove(task)
                    return task
        return None

    def waiting(self) -> list[BackendTask]:
        """Return all that wait."""
        return [task for lane in self._waiting.values() for task in lane]

    def clear(self) -> None:
        """Forget all that wait."""
        for lane in self._waiting.values():
            lane.clear()


class Backend(Protocol):
    """Runs tasks. The same function, arguments and threads give the same result on every backend.

    Attributes:
        workers: CPUs that tasks share; busy: the seconds that tasks have computed so far.
    """

    workers: int
    busy: Busy

    def require_room(self, who: str, options: dict[str, Any]) -> None:
        """Raise PlanError when no single machine could ever run such a task."""

    def submit(self, task: BackendTask) -> None:
        """Queue a task. `step` starts it."""

    def cancel(self, task: BackendTask) -> None:
        """Forget a task, and stop it where it can be stopped. Its ``done`` is not called."""

    def step(self) -> None:
        """Get on for a moment: start what may start, and hand out what is done."""

    def share(self, value: Any) -> Shared:
        """Store a big value (arrays, tensors) once per machine."""

    def events(self) -> list[Event]:
        """Return all events since the last call, oldest first."""
