"""Server-side work as Ray tasks beside those of the sites, in the same queue."""

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import ray

from fedistill.transport.backend.dispatch import Dispatcher
from fedistill.transport.backend.events import Event
from fedistill.transport.backend.executor import SharedValue, as_result, require_importable
from fedistill.transport.backend.job import run_function
from fedistill.transport.backend.ray_task import RayTask, ray_options
from fedistill.transport.backend.worker import Slot


class RayExecutor:
    """An ``Executor`` over the dispatcher that also carries the sites' jobs; the two take turns.

    No deadline and no limit on silence: how long a training stage may take is for the simulation's budget to say.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
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
        about: Event | None = None,
    ) -> None:
        """Queue ``function(*args)`` as a Ray task; see ``Executor``."""
        require_importable(function)
        options = ray_options(num_cpus, num_gpus)
        self._dispatcher.require_room(f"server stage {key!r}", options)
        shared = tuple(each.handle for each in args if isinstance(each, SharedValue))
        numbers = iter(range(len(shared)))
        slots = tuple(Slot(next(numbers)) if isinstance(each, SharedValue) else each for each in args)
        self._pending += 1
        self._dispatcher.submit(
            RayTask(
                lane="server",
                job=key,
                about=about or {},
                payload=lambda: pickle.dumps((run_function, (threads, function, *slots))),
                done=partial(self._take, key),
                options=options,
                threads=threads,
                shared=shared,
            )
        )

    def share(self, value: Any) -> SharedValue:
        """Put a value into Ray's object store; see ``Executor``."""
        return SharedValue(ray.put(pickle.dumps(value)))

    def poll(self) -> list[tuple[str, Any]]:
        """Return what is finished; see ``Executor``. Waits a moment at most."""
        if self._pending > len(self._done):
            self._dispatcher.step()
        done, self._done = self._done, []
        self._pending -= len(done)
        return done

    def _take(self, key: str, outcome: Any) -> None:
        self._done.append((key, as_result(outcome)))
