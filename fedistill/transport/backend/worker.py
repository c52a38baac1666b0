"""The code inside a Ray worker. Ray knows only ``work``; everything else travels as bytes.

Bytes, so that the process is set up (threads, import path) before the first numpy or torch is imported for the job,
and so that handlers get and give plain writable copies, as they would without Ray.
"""

import os
import pickle
import sys
import time
from dataclasses import dataclass
from typing import Any

import ray

from fedistill.core.events import Event
from fedistill.core.malloc import keep_freed_memory
from fedistill.transport.backend.events import About, delivered_to, emitter
from fedistill.transport.backend.failure import from_exception, happening_on
from fedistill.transport.backend.job import load
from fedistill.transport.backend.machines import this_machine


@dataclass(frozen=True)
class Order:
    """The parameters of one attempt at a job, beside the work itself.

    Args:
        job: the job's name, in its events.
        token: marks this attempt at the job.
        threads: for every library that reads its thread count from the environment when first loaded.
        path: the driver's import path: what is importable there is to be importable in the worker.
        about: goes into every event: whose job it is, and for which point of a sweep.
        app: "module:attribute" of what the job will load, imported before its seconds are counted; empty for nothing.
        named: whether failures name the machine that they happened on.
    """

    job: str
    token: str
    threads: int
    path: tuple[str, ...]
    about: About
    app: str = ""
    named: bool = False


@dataclass(frozen=True)
class Slot:
    """Stands in the arguments for the shared value of that number."""

    number: int


def work(order: Order, mailbox: Any, payload: bytes, *shared: bytes) -> tuple[float, bytes]:
    """Run one pickled (function, arguments); return the seconds it computed, and its pickled result or Failure."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(order.threads)
    keep_freed_memory()
    sys.path.extend(entry for entry in order.path if entry not in sys.path)
    last_post: list[Any] = []
    seconds = 0.0

    def post(event: Event) -> None:
        last_post[:] = [mailbox.post.remote(order.token, event)]

    machine = this_machine() if order.named else ""
    with delivered_to(post, order.about), happening_on(machine):
        # First of all: deadlines count from here.
        emitter(order.job)(Event("started", message=f"on {machine}" if machine else ""))
        try:
            import torch  # noqa: F401 - in a fresh process this takes seconds, and they are a start, not yet work

            if order.app:
                load(order.app)
            function, arguments = _unpacked(payload, shared)  # likewise: unpickling imports
            ray.wait(last_post, timeout=5)  # told even if the job kills its process at once
            start = time.perf_counter()
            try:
                value = function(*arguments)
            finally:
                seconds = time.perf_counter() - start
            result = pickle.dumps(value)
        except (Exception, SystemExit) as error:
            result = pickle.dumps(from_exception(error))
    ray.wait(last_post, timeout=5)  # a job's events come before its result
    return seconds, result


class CardWorker:
    """The process that drives a card: it does the jobs of `fedistill.transport.backend.cards` one after another.

    It sees the card that Ray gave it, and no other. Between jobs it keeps what makes the next one's start short: the
    connection to the card, compiled kernels, and recorded graphs (`fedistill.training.card`).
    """

    def __init__(self) -> None:
        self._works = True

    def work(self, order: Order, mailbox: Any, payload: bytes, *shared: bytes) -> tuple[float, bytes]:
        """Do as `work` does, with the card of this process."""
        if not self._works:
            os._exit(1)  # the last job has spoilt the process, not this one: Ray starts another, and asks that
        outcome = work(order, mailbox, payload, *shared)
        from fedistill.training.card import settle  # not before the job's threads are set

        self._works = settle()
        return outcome


def _unpacked(payload: bytes, shared: tuple[bytes, ...]) -> tuple[Any, list[Any]]:
    function, arguments = pickle.loads(payload)
    return function, [pickle.loads(shared[each.number]) if isinstance(each, Slot) else each for each in arguments]
