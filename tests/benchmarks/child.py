"""A process per side: FeDistill's own processes tune their memory allocator, which textbook code does not.

So the sides are never measured in one process. Each waits for its turn, prepares a piece of work once and does it as
often as it is told, with the same number of threads as the other.
"""

import gc
import multiprocessing
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

Work = Callable[[], Any]


@dataclass(frozen=True)
class Run:
    """One call of the work.

    Args:
        wall, cpu: seconds; cpu is summed over the process's threads, and blind to what else the machine does.
        before, peak: bytes the process had resident at most, before the call and up to its end.
        made: what the work returned, where it was asked for.
    """

    wall: float
    cpu: float
    before: int
    peak: int
    made: Any = None


class Child:
    """A process of one side; a context manager, which ends it."""

    def __init__(self, *, ours: bool, threads: int) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit this process's memory and allocator
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, ours, threads), daemon=True)
        self._process.start()
        theirs.close()

    def prepare(self, maker: Callable[[], Work]) -> None:
        """Have it make the work (`maker` crosses by pickle: a module's function, or a partial of one)."""
        self._ask(("prepare", maker))

    def run(self, *, keep: bool = False) -> Run:
        """Have it do the work once."""
        found: Run = self._ask(("run", keep))
        return found

    def _ask(self, order: tuple[str, Any]) -> Any:
        try:
            self._pipe.send(order)
            well, answer = self._pipe.recv()
        except (EOFError, BrokenPipeError) as error:
            self._process.join()
            raise RuntimeError(f"A benchmark's process ended, exit code {self._process.exitcode}.") from error
        if not well:
            raise RuntimeError(f"A benchmark's process failed:\n{answer}")
        return answer

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()  # which ends its loop, unless it is at work
        self._process.join(timeout=0 if error else 10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _serve(pipe: Connection, ours: bool, threads: int) -> None:
    settle(ours=ours, threads=threads)
    work: Work | None = None
    while True:
        try:
            what, argument = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer: Any = None
            if what == "prepare":
                work = argument()
            else:
                assert work is not None
                answer = timed(work, keep=argument)
            pipe.send((True, answer))
        except Exception:
            pipe.send((False, traceback.format_exc()))


def settle(*, ours: bool, threads: int) -> None:
    """Make this process one of FeDistill's, or leave it as Python made it; before any work."""
    if ours:
        from fedistill.core.malloc import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(threads)


def timed(work: Work, *, keep: bool) -> Run:
    """Do the work and take its time and peak."""
    gc.collect()  # so that no call pays for the one before
    before, wall, cpu = peak_bytes(), time.perf_counter(), time.process_time()
    made = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Run(wall, cpu, before, peak_bytes(), made if keep else None)


def peak_bytes() -> int:
    """The most this process has had resident at once.

    Linux's VmHWM; elsewhere ru_maxrss, which on Linux a child inherits from the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
