"""Status of a run in another terminal, read from its folder; nothing in it is touched."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from fedistill.core.locks import try_lock
from fedistill.errors import RunFolderError
from fedistill.report.format import duration
from fedistill.report.table import Head
from fedistill.report.terminal.eta import RunProgress
from fedistill.report.terminal.table import print_rows
from fedistill.study.folder.event_log import EventLog, older_words, read_events, unread_words


@dataclass(frozen=True, eq=False)
class RunStatus:
    """A run's progress, as its folder shows it at one moment.

    Args:
        so_far: what is done, running, left and failed.
        log: its events.
        running: whether a process of this machine works on it.
        finished: whether all is there.
        now: when this was asked, in seconds since 1970.
    """

    so_far: RunProgress
    log: EventLog
    running: bool
    finished: bool
    now: float

    @property
    def state(self) -> str:
        """Return its state in words."""
        return "finished" if self.finished else "running" if self.running else "stopped; run it again to resume"

    @property
    def silent(self) -> float | None:
        """Return the seconds since the last event; None if there is none."""
        times = [event.time for event in self.log.events if event.time]
        return self.now - max(times) if times else None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; jobs by scheme as done, running, left, failed."""
        names = ("done", "running", "left", "failed")
        return {
            "name": self.so_far.name,
            "state": self.state.partition(";")[0],
            "jobs": {scheme: dict(zip(names, row, strict=False)) for scheme, row in self.so_far.by_scheme().items()},
            "results": len(self.so_far.scored),
            "results_wanted": len(self.so_far.arms),
            "failed": {str(job): why for job, why in self.so_far.failed.items()},
            "silent_seconds": self.silent,
            "estimate": self.so_far.estimate(self.now).words if self.running else "",
        }


def status_of(folder: Path) -> RunStatus:
    """Return how far a run is.

    Raises:
        RunFolderError: it is no run, or has not said yet what it is going to do.
    """
    folder = folder.resolve()
    if not (folder / "simulation.toml").is_file():
        raise RunFolderError(f"{folder} is no run of FeDistill.", mend="name a run folder, such as runs/quickstart")
    if not (folder / "plan.json").is_file():
        raise RunFolderError(f"{folder} has no plan.json: its run has not come so far yet.", mend="ask again later")
    so_far, now = _so_far(folder / "plan.json"), time.time()
    running = in_use(folder)
    log = read_events(folder, growing=running)
    for event in log.events:
        so_far.add(event)
    finished = not running and len(so_far.scored) == len(so_far.arms) and (folder / "comparison.csv").is_file()
    return RunStatus(so_far, log, running, finished, now)


def print_status(folder: Path, console: Console) -> None:
    """Print what is done, running and left, and about how long it still takes.

    Raises:
        RunFolderError: it is no run, or has not said yet what it is going to do.
    """
    status = status_of(folder)
    so_far, silent = status.so_far, status.silent
    console.print(f"[bold]{escape(so_far.name)}[/]: {status.state}", highlight=False)
    if so_far.jobs:
        _print_jobs(so_far, console)
    console.print(f"{len(so_far.scored)} of {len(so_far.arms)} results are there.", highlight=False)
    if status.running:
        for (point, job), doing in so_far.running.items():
            steps = f" {doing.step}/{doing.steps}" if doing.step and doing.steps else ""
            label = f"{point}: {job}" if point else job
            console.print(f"  {label}: {doing.stage}{steps}", markup=False, highlight=False)
        last = "no sign of life yet" if silent is None else f"last sign of life {duration(silent)} ago"
        words = so_far.estimate(status.now).words
        console.print("; ".join(filter(None, (last, words))), markup=False, highlight=False)
    for job, why in so_far.failed.items():
        console.print(f"failed: {job}: {why}", style="yellow", markup=False, highlight=False)
    for words in filter(None, (unread_words(status.log.unreadable), older_words(status.log.older))):
        console.print(f"{words}.", style="dim", markup=False, highlight=False)


def _so_far(path: Path) -> RunProgress:
    try:
        return RunProgress(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} is not as the run wrote it.", found=error, mend="run the simulation again: it resumes"
        ) from error


def in_use(folder: Path) -> bool:
    """Say whether a process of this machine has the folder."""
    try:
        with (folder / ".lock").open(encoding="utf-8") as file:
            if not _alive(int(file.read())):  # so that the lock of a run that begins just now is not in its way
                return False
            return not try_lock(file.fileno(), shared=True)
    except (OSError, ValueError):
        return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def _print_jobs(so_far: RunProgress, console: Console) -> None:
    rows, names = so_far.by_scheme(), ["done", "running", "left", "failed"]
    names = names if any(failed for *_, failed in rows.values()) else names[:-1]
    heads = [Head("jobs of", number=False), *map(Head, names)]
    print_rows(console, heads, [[scheme, *map(str, row[: len(names)])] for scheme, row in rows.items()])
