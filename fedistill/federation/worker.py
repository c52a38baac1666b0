"""What runs inside a Ray worker. Only ``work`` is known to Ray; everything else travels as bytes.

Bytes, so that the process is set up (threads, import path) before the first numpy or torch is imported for the job,
and so that handlers get and give plain writable copies, as they would without Ray.
"""

import os
import pickle
import sys
from dataclasses import dataclass
from typing import Any

import ray

from fedistill.federation.events import Event, delivered_to, emitter
from fedistill.federation.failure import from_exception
from fedistill.memory import keep_freed_memory


@dataclass(frozen=True)
class Order:
    """What a worker needs to know beside the work itself.

    Args:
        job: the job's name, in its events.
        token: marks this attempt at the job.
        threads: for every library that reads its thread count from the environment when first loaded.
        path: the driver's import path: what is importable there is to be importable in the worker.
        about: goes into the event that says the job has started.
    """

    job: str
    token: str
    threads: int
    path: tuple[str, ...]
    about: Event


@dataclass(frozen=True)
class Slot:
    """Stands in the arguments for the shared value of that number."""

    number: int


def work(order: Order, mailbox: Any, payload: bytes, *shared: bytes) -> bytes:
    """Run one pickled (function, arguments); return its pickled result, or the pickled Failure."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(order.threads)
    keep_freed_memory()
    sys.path.extend(entry for entry in order.path if entry not in sys.path)
    last_post: list[Any] = []

    def post(event: Event) -> None:
        last_post[:] = [mailbox.post.remote(order.token, event)]

    with delivered_to(post):
        emitter(order.job)({"stage": "started", **order.about})  # first of all: deadlines count from here
        try:
            result = _run(payload, shared)
        except (Exception, SystemExit) as error:
            result = pickle.dumps(from_exception(error))
    ray.wait(last_post, timeout=5)  # a job's events come before its result
    return result


def _run(payload: bytes, shared: tuple[bytes, ...]) -> bytes:
    function, arguments = pickle.loads(payload)
    arguments = [pickle.loads(shared[each.number]) if isinstance(each, Slot) else each for each in arguments]
    return pickle.dumps(function(*arguments))
