"""The server's own work, such as training on a finished pool, as tasks of the backend that runs the sites' jobs."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fedistill.errors import RunError
from fedistill.transport.backend.base import Backend, BackendTask, Shared, ray_options
from fedistill.transport.backend.events import About
from fedistill.transport.backend.failure import Failure
from fedistill.transport.backend.inline import InlineBackend
from fedistill.transport.backend.job import run_function


class ServerWork:
    """Runs module-level functions.

    No deadline and no limit on silence: how long a training may take is for the simulation's budget to say.

    Args:
        backend: in this process unless given.
    """

    def __init__(self, backend: Backend | None = None) -> None:
        self._backend = backend or InlineBackend()
        self._done: list[tuple[str, Any]] = []
        self._pending = 0

    def submit(
        self,
        key: str,
        function: Callable[..., Any],
        *args: Any,
        num_cpus: float = 1,
        num_gpus: float = 0,
        threads: int = 1,
        about: About | None = None,
    ) -> None:
        """Queue ``function(*args)``. ``key`` names it in ``poll`` and in its events, into which ``about`` goes as well.

        Raises:
            RunError: the function cannot be imported by its name elsewhere.
            PlanError: no machine has so much.
        """
        require_importable(function)
        self._backend.require_room(f"server stage {key!r}", ray_options(num_cpus, num_gpus))
        self._pending += 1
        self._backend.submit(
            BackendTask(
                "server",
                key,
                run_function,
                (threads, function, *args),
                partial(self._take, key),
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                threads=threads,
                about=about or {},
            )
        )

    def share(self, value: Any) -> Shared:
        """Store a big value (arrays, tensors) once per machine. Given as an argument, it arrives as the value."""
        return self._backend.share(value)

    def poll(self) -> list[tuple[str, Any]]:
        """Return what is finished: (key, result), or (key, RunError) with the traceback as the error's note."""
        if self._pending > len(self._done):
            self._backend.step()
        done, self._done = self._done, []
        self._pending -= len(done)
        return done

    def _take(self, key: str, outcome: Any) -> None:
        if isinstance(outcome, Failure):
            error = RunError(outcome.line)
            if outcome.trace:
                error.add_note(outcome.trace)
            outcome = error
        self._done.append((key, outcome))


def require_importable(function: Callable[..., Any]) -> None:
    """Raise RunError for a lambda, a function within a function, or one of the script that was started."""
    name = getattr(function, "__qualname__", repr(function))
    module = getattr(function, "__module__", None)
    if module in (None, "__main__") or "<" in name:
        raise RunError(
            "work for another process must be a function it can import",
            expected="a function at the top of a module",
            found=f"{module}.{name}",
            mend="move it to the top level of a module that is not the script itself",
        )
