"""The outcome of a job on Ray."""

import pickle
from typing import Any

import ray

from fedistill.transport.backend.failure import DIED, Failure, from_exception

RETRIES = 2
"""Times Ray starts a job again after the process that ran it died."""


def result_of(ref: Any) -> tuple[float, Any]:
    """Return the seconds that a finished Ray task computed, and its result or a `Failure`. Never raises."""
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
