"""Server-side work, such as training on a finished pool: on the Ray of the sites, or one item per poll without it."""

import pickle
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fedistill.errors import RunError
from fedistill.transport.backend.compute_time import Busy
from fedistill.transport.backend.events import Event, Sink, delivered_to, emitter
from fedistill.transport.backend.failure import Failure
from fedistill.transport.backend.job import attempt, run_function


@dataclass(frozen=True)
class SharedValue:
    """A value many items take: the executor that made it knows what ``handle`` is."""

    handle: Any


class Executor(Protocol):
    """Runs module-level functions. The same function, arguments and threads give the same result on both kinds."""

    def submit(
        self,
        key: str,
        function: Callable[..., Any],
        *args: Any,
        num_cpus: float = 1,
        num_gpus: float = 0,
        threads: int = 1,
        about: Event | None = None,
    ) -> None:
        """Queue ``function(*args)``. ``key`` names it in ``poll`` and in its events, into which ``about`` goes as well.

        Raises:
            RunError: when the function cannot be imported by its name elsewhere.
            PlanError: when no machine has so much.
        """

    def share(self, value: Any) -> SharedValue:
        """Store a big value (arrays, tensors) once per machine. Given as an argument, it arrives as the value."""

    def poll(self) -> list[tuple[str, Any]]:
        """Return what is finished: (key, result), or (key, RunError) with the traceback as the error's note."""


class InlineExecutor:
    """Runs one item, in the driver's process, each time it is polled.

    Args:
        sink: called with each event.
        busy: where the seconds that items compute are entered.
    """

    def __init__(self, *, sink: Sink = lambda event: None, busy: Busy | None = None) -> None:
        self._sink = sink
        self._busy = busy or Busy()
        self._waiting: deque[tuple[str, Callable[..., Any], tuple[Any, ...], int, Event]] = deque()

    def submit(
        self,
        key: str,
        function: Callable[..., Any],
        *args: Any,
        num_cpus: float = 1,
        num_gpus: float = 0,
        threads: int = 1,
        about: Event | None = None,
    ) -> None:
        """Queue ``function(*args)``; see ``Executor``."""
        require_importable(function)
        self._waiting.append((key, function, args, threads, about or {}))

    def share(self, value: Any) -> SharedValue:
        """Wrap a value for arguments; see ``Executor``."""
        return SharedValue(value)

    def poll(self) -> list[tuple[str, Any]]:
        """Run the next item and return its result; see ``Executor``."""
        if not self._waiting:
            return []
        key, function, args, threads, about = self._waiting.popleft()
        values = tuple(each.handle if isinstance(each, SharedValue) else each for each in args)
        with delivered_to(lambda event: self._sink({**about, **event})):
            emitter(key)({"stage": "started"})
            # Copies, as on Ray: a function that writes to its arguments must not change the driver's.
            values = pickle.loads(pickle.dumps(values))
            start = time.perf_counter()
            outcome = attempt(run_function, threads, function, *values)
            self._busy.add("server", time.perf_counter() - start)
        return [(key, as_result(outcome))]


def require_importable(function: Callable[..., Any]) -> None:
    """Raise RunError for a lambda, a function within a function, or one of the script that was started."""
    name = getattr(function, "__qualname__", repr(function))
    module = getattr(function, "__module__", None)
    if module in (None, "__main__") or "<" in name:
        raise RunError(
            "Work for another process must be a function that it can import.",
            expected="a function at the top of a module",
            found=f"{module}.{name}",
            mend="move it to the top level of a module that is not the script itself",
        )


def as_result(outcome: Any) -> Any:
    """Convert a Failure to the RunError that ``poll`` returns; return anything else unchanged."""
    if not isinstance(outcome, Failure):
        return outcome
    error = RunError(outcome.line)
    if outcome.trace:
        error.add_note(outcome.trace)
    return error
