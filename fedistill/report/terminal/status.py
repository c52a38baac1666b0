"""How far a run in another terminal is, read from its folder; nothing in it is touched."""

import json
import os
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedistill.core.locks import try_lock
from fedistill.errors import RunFolderError
from fedistill.report.terminal.eta import Tally, clock
from fedistill.study.folder.event_log import older_words, read_events, unread_words


def print_status(folder: Path, console: Console) -> None:
    """What is done, running and left, and about how long it still takes.

    Raises:
        RunFolderError: it is no run, or has not said yet what it is going to do.
    """
    folder = folder.resolve()
    if not (folder / "simulation.toml").is_file():
        raise RunFolderError(f"{folder} is no run of FeDistill.", mend="name a run folder, such as runs/quickstart")
    if not (folder / "plan.json").is_file():
        raise RunFolderError(f"{folder} has no plan.json: its run has not come so far yet.", mend="ask again later")
    tally, now = _tally(folder / "plan.json"), time.time()
    running = in_use(folder)
    log = read_events(folder, growing=running)
    for event in log.events:
        tally.add(event)
    times = [event.time for event in log.events if event.time]
    finished = not running and len(tally.scored) == len(tally.arms) and (folder / "comparison.csv").is_file()
    state = "finished" if finished else "running" if running else "stopped; run it again to resume"
    console.print(f"[bold]{escape(tally.name)}[/]: {state}", highlight=False)
    if tally.jobs:
        console.print(_table(tally))
    console.print(f"{len(tally.scored)} of {len(tally.arms)} results are there.", highlight=False)
    if running:
        for (point, job), doing in tally.running.items():
            steps = f" {doing.step}/{doing.steps}" if doing.step and doing.steps else ""
            label = f"{point}: {job}" if point else job
            console.print(f"  {label}: {doing.stage}{steps}", markup=False, highlight=False)
        words = tally.estimate(now).words
        last = f"last sign of life {clock(now - max(times))} ago" if times else "no sign of life yet"
        console.print("; ".join(filter(None, (last, words))), markup=False, highlight=False)
    for job, why in tally.failed.items():
        console.print(f"failed: {job}: {why}", style="yellow", markup=False, highlight=False)
    for words in filter(None, (unread_words(log.unreadable), older_words(log.older))):
        console.print(f"{words}.", style="dim", markup=False, highlight=False)


def _tally(path: Path) -> Tally:
    try:
        return Tally(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} is not as the run wrote it.", found=error, mend="run the simulation again: it resumes"
        ) from error


def in_use(folder: Path) -> bool:
    """Whether a process of this machine has the folder."""
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


def _table(tally: Tally) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("jobs of")
    names = ("done", "running", "left", "failed")
    rows = tally.by_scheme()
    shown = [i for i, name in enumerate(names) if name != "failed" or any(row[i] for row in rows.values())]
    for i in shown:
        table.add_column(names[i], justify="right")
    for scheme, row in rows.items():
        table.add_row(escape(scheme), *[str(row[i]) for i in shown])
    return table
