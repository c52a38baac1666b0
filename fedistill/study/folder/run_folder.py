"""The run folder: its plan, the results of earlier runs in it, and all files that the driver writes there."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from fedistill.config import Plan
from fedistill.config.find import read_toml
from fedistill.config.literals import written, written_key
from fedistill.core.events import Event
from fedistill.core.files import write_atomic
from fedistill.core.locks import try_lock
from fedistill.errors import PlanError, RunFolderError
from fedistill.study.folder.event_log import append_event
from fedistill.study.folder.tables_on_disk import csv_text

PLAN = "simulation.toml"
RESULTS = (
    PLAN,
    "results.csv",
    "results.parquet",
    "comparison.csv",
    "sites.csv",
    "sources.csv",
    "holdings.csv",
    "rounds.csv",
    "traffic.csv",
    "guarantees.csv",
    "privacy.csv",
    "roc.csv",
    "screens.csv",
    "report.html",
    "comparison.png",
    "sweep*.png",
    "communication.png",
    "frontier.png",
    "indicator.csv",
    "indicator_points.csv",
    "indicator*.png",
    "prediction.csv",
    "left_out.csv",
    "events.jsonl",
    "plan.json",
    "networks.json",
    "environment.json",
    "timing.json",
    "releases",
    "grids",
    "failures",
)
"""Patterns of a run's files beside ``work/``; they are moved together when settings change."""

LONGEST_NAME = 200
"""Most bytes of a file's name: most file systems allow 255, and the suffix of an atomic write takes some."""


class RunFolder:
    """A folder that belongs to one plan; open one with `open_run_folder`.

    Args:
        point: subfolder for the Releases and failures of one point of a sweep.
    """

    def __init__(self, root: Path, plan: Plan, point: str = "") -> None:
        self.root, self.plan = root, plan
        self._point = point

    def of_point(self, number: int) -> "RunFolder":
        """Return the folder for one point, with its own subfolders for Releases and failures."""
        return RunFolder(self.root, self.plan, self.plan.folder_of(number))

    @property
    def work(self) -> Path:
        """Path of the run's own store."""
        return self.root / "work"

    def event(self, event: Event) -> None:
        """Append one event; the driver alone writes them."""
        append_event(self.root, event)

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Write NAME.csv."""
        write_atomic(self.root / f"{name}.csv", csv_text(frame))

    def results(self, frame: pd.DataFrame) -> None:
        """Write results.csv and results.parquet."""
        self.table("results", frame)
        write_atomic(self.root / "results.parquet", lambda path: frame.to_parquet(path, index=False))

    def release(self, site: str, scheme: str, seed: int, partition: int, data: bytes, *, keep: bool, name: str) -> None:
        """Store a Release; of real images (``keep`` false) only its SHA-256. Never store both."""
        redraw = f"-partition{partition}" if partition else ""
        path = self.root / "releases" / self._point / site / f"{scheme}-seed{seed}{redraw}.safetensors"
        other = path.with_suffix(".sha256")
        if keep:
            write_atomic(path, data)
            other.unlink(missing_ok=True)
        else:
            write_atomic(other, f"{name}  {path.name}\n")
            path.unlink(missing_ok=True)

    def failure(self, name: str, text: str) -> Path:
        """Store a traceback in ``failures``; return its path."""
        plain = re.sub(r"[ /\0]", "-", name).encode(errors="replace")[:LONGEST_NAME].decode(errors="ignore")
        path = self.root / "failures" / self._point / f"{plain}.txt"
        write_atomic(path, text)
        return path

    def json(self, name: str, content: dict[str, Any]) -> None:
        """Write NAME.json."""
        write_atomic(self.root / f"{name}.json", json.dumps(content, indent=2, sort_keys=True) + "\n")


@contextmanager
def open_run_folder(root: Path, plan: Plan, *, fresh: bool) -> Iterator[RunFolder]:
    """Open and lock a folder for a plan; ``fresh`` first sets it aside as ``NAME.old-N``.

    Raises:
        RunFolderError: the folder belongs to another simulation, holds other files, or is in use. It is unchanged.
    """
    root = root.resolve()
    _require_ours(root, plan)
    if fresh and root.exists():
        with _locked(root):
            pass  # a folder in use must not be moved
        root.rename(_free(root.parent, f"{root.name}.old-"))
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root):
        _set_earlier_aside(root, plan)
        if not (root / PLAN).exists():
            write_atomic(root / PLAN, described(plan))
        yield RunFolder(root, plan)


def described(plan: Plan) -> str:
    """Return a plan's TOML with everything resolved: `fedistill run` on it repeats the run.

    For a sweep, it is the first point followed by the swept settings.
    """
    import tomli_w

    text = tomli_w.dumps(plan.first.model_dump(mode="json", exclude_none=True))
    if plan.sweep:
        # Not by tomli_w, which puts lists of tables last: the order of these lines is the order of the points.
        lines = [f"{written_key(key)} = {written(values)}\n" for key, values in plan.sweep.items()]
        text += "\n[sweep]\n" + "".join(lines)
    return text


def _require_ours(root: Path, plan: Plan) -> None:
    if root.exists() and not root.is_dir():
        raise RunFolderError(f"{root} is not a folder.", mend="choose another --out")
    # A run that stops before it begins leaves a folder with nothing but a lock.
    if not root.exists() or all(path.name == ".lock" for path in root.iterdir()):
        return
    if not (root / PLAN).is_file():
        raise RunFolderError(
            f"{root} is not empty, and is no run of FeDistill.",
            expected=f"an empty folder, or one with a {PLAN}",
            found=", ".join(sorted(path.name for path in root.iterdir())[:5]),
            mend="choose another --out",
        )
    try:
        owner = read_toml(root / PLAN).get("name")
    except PlanError as error:
        raise RunFolderError(f"{root / PLAN} cannot be read.", found=str(error), mend="choose another --out") from error
    if owner != plan.name:
        raise RunFolderError(
            f"{root} belongs to another simulation.",
            expected=plan.name,
            found=owner,
            mend="choose another --out",
        )


def _set_earlier_aside(root: Path, plan: Plan) -> None:
    """Move results of other settings under the same name to earlier/N; work/ stays, so that equal work is reused."""
    earlier = root / PLAN
    if not earlier.exists() or earlier.read_text(encoding="utf-8") == described(plan):
        return
    aside = _free(root / "earlier", "")
    aside.mkdir(parents=True)
    # Move the plan last: while it is there, a run that was interrupted here knows what is left to move.
    for name in (*[name for name in RESULTS if name != PLAN], PLAN):
        for path in root.glob(name):
            shutil.move(path, aside / path.name)


def _free(folder: Path, stem: str) -> Path:
    n = 1
    while (folder / f"{stem}{n}").exists():
        n += 1
    return folder / f"{stem}{n}"


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold a lock that the system releases when the process ends, however it ends."""
    with (root / ".lock").open("a+") as file:
        try:
            free = try_lock(file.fileno())
        except OSError:
            free = False
        if not free:
            file.seek(0)
            raise RunFolderError(
                f"{root} is in use.",
                found=f"process {file.read().strip()}",
                mend="wait for it, or choose another --out",
            )
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
