"""One job as the dispatcher keeps it, and what became of it on Ray."""

import pickle
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

import ray

from fedistill.federation.events import Event
from fedistill.federation.failure import DIED, Failure, from_exception

RETRIES = 2
"""Times Ray starts a job again after the process that ran it died."""


@dataclass(eq=False)
class Task:
    """A job in the queue, and later on Ray.

    Args:
        lane: whose it is; the lanes take turns, so that a short question need not wait behind long distillations.
        payload: makes the pickled (function, arguments) when the job is handed to Ray.
        done: takes the result or a Failure, in the driver.
        alone: no two jobs with the same value (other than None) are out at once.
        shared: references to the values that ``worker.Slot`` stands for.
    """

    lane: Literal["site", "question", "server"]
    job: str
    payload: Callable[[], bytes]
    done: Callable[[Any], None]
    options: dict[str, Any]
    threads: int = 1
    about: Event = field(default_factory=dict)
    deadline_s: float | None = None
    silence_s: float | None = None
    alone: Hashable = None
    shared: tuple[Any, ...] = ()
    silences: int = 0
    token: str = ""
    ref: Any = None
    started: float | None = None
    heard: float = 0.0

    @property
    def num_gpus(self) -> float:
        return float(self.options["num_gpus"])


def ray_options(num_cpus: float, num_gpus: float, memory: int | None = None) -> dict[str, Any]:
    """Ray's options for what one job sets aside."""
    options: dict[str, Any] = {"num_cpus": num_cpus, "num_gpus": num_gpus}
    return options if memory is None else {**options, "memory": memory}


def result_of(ref: Any) -> Any:
    """The result of a task that is ready, or a Failure. Never raises for what befell the task."""
    try:
        return pickle.loads(ray.get(ref))
    except ray.exceptions.RayTaskError as error:  # the worker could not even begin, such as without fedistill
        return from_exception(error.cause if isinstance(error.cause, Exception) else error)
    except ray.exceptions.OutOfMemoryError as error:
        line = "the machine ran out of memory and Ray ended the job; give fewer workers or smaller batches"
        return Failure(DIED, line, from_exception(error).line)
    except ray.exceptions.RayError as error:
        line = f"the process that ran the job died, {1 + RETRIES} times (killed, crashed, or its machine was lost)"
        return Failure(DIED, line, from_exception(error).line)
    except Exception as error:  # a result that cannot be unpickled here
        return from_exception(error)
