"""One job as the dispatcher keeps it, and what became of it on Ray."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray

from fedistill.transport.backend.compute_time import Lane
from fedistill.transport.backend.events import Event
from fedistill.transport.backend.failure import DIED, Failure, from_exception

RETRIES = 2
"""Times Ray starts a job again after the process that ran it died."""


@dataclass(eq=False)
class RayTask:
    """A job in the queue, and later on Ray.

    Args:
        lane: whose it is; the lanes take turns, so that a short question need not wait behind long distillations.
        payload: makes the pickled (function, arguments) when the job is handed to Ray.
        done: takes the result or a Failure, in the driver.
        shared: references to the values that ``worker.Slot`` stands for.
        app: see ``worker.Order``.
    """

    lane: Lane
    job: str
    payload: Callable[[], bytes]
    done: Callable[[Any], None]
    options: dict[str, Any]
    threads: int = 1
    about: Event = field(default_factory=dict)
    deadline_s: float | None = None
    silence_s: float | None = None
    shared: tuple[Any, ...] = ()
    app: str = ""
    silences: int = 0
    token: str = ""
    ref: Any = None
    started: float | None = None
    heard: float = 0.0

    @property
    def num_gpus(self) -> float:
        """Return the number of GPUs that Ray sets aside."""
        return float(self.options["num_gpus"])

    @property
    def num_cpus(self) -> float:
        """Return the number of CPUs that Ray sets aside."""
        return float(self.options["num_cpus"])


def ray_options(num_cpus: float, num_gpus: float, memory: int | None = None) -> dict[str, Any]:
    """Return Ray's options for the resources of one job."""
    options: dict[str, Any] = {"num_cpus": num_cpus, "num_gpus": num_gpus}
    return options if memory is None else {**options, "memory": memory}


def result_of(ref: Any) -> tuple[float, Any]:
    """Return (compute seconds, result or Failure) of a finished Ray task. Never raises."""
    seconds = 0.0
    try:
        seconds, result = ray.get(ref)
        return seconds, pickle.loads(result)
    except Exception as error:
        return seconds, _failure(error)


def _failure(error: Exception) -> Failure:
    if isinstance(error, ray.exceptions.RayTaskError):  # the worker could not even begin, such as without fedistill
        return from_exception(error.cause if isinstance(error.cause, Exception) else error)
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        line = "the machine ran out of memory and Ray ended the job; give fewer workers or smaller batches"
        return Failure(DIED, line, from_exception(error).line)
    if isinstance(error, ray.exceptions.RayError):
        line = f"the process that ran the job died, {1 + RETRIES} times (killed, crashed, or its machine was lost)"
        return Failure(DIED, line, from_exception(error).line)
    return from_exception(error)  # a result that cannot be unpickled here
