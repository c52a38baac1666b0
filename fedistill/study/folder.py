"""The run folder: whose it is, what an earlier run left in it, and every file the driver writes there."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from fedistill.errors import PlanError, RunFolderError
from fedistill.files import write_atomic
from fedistill.plan import Simulation
from fedistill.plan.find import read_toml

PLAN = "simulation.toml"
RESULTS = (
    PLAN,
    "results.csv",
    "results.parquet",
    "comparison.csv",
    "sites.csv",
    "rounds.csv",
    "traffic.csv",
    "report.html",
    "comparison.png",
    "communication.png",
    "events.jsonl",
    "environment.json",
    "releases",
    "grids",
    "failures",
)
"""What a run leaves beside ``work/``; moved together when settings change."""


class RunFolder:
    """A folder that belongs to one simulation. Make one with `opened`."""

    def __init__(self, root: Path, simulation: Simulation) -> None:
        self.root = root
        self.simulation = simulation

    @property
    def work(self) -> Path:
        return self.root / "work"

    def event(self, event: dict[str, Any]) -> None:
        """Append one event; the driver alone writes them."""
        names = ("time", "run", "job", "site", "stage", "step", "steps", "seconds", "message")
        line = {name: {**event, "run": self.simulation.name}.get(name) for name in names}
        with (self.root / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Write NAME.csv."""
        write_atomic(self.root / f"{name}.csv", frame.to_csv(index=False))

    def results(self, frame: pd.DataFrame) -> None:
        """Write results.csv and results.parquet."""
        self.table("results", frame)
        write_atomic(self.root / "results.parquet", lambda path: frame.to_parquet(path, index=False))

    def release(self, site: str, scheme: str, seed: int, partition: int, data: bytes, *, keep: bool, name: str) -> None:
        """Keep a Release, or of real images its SHA-256 alone, and never both."""
        redraw = f"-partition{partition}" if partition else ""
        path = self.root / "releases" / site / f"{scheme}-seed{seed}{redraw}.safetensors"
        other = path.with_suffix(".sha256")
        if keep:
            write_atomic(path, data)
            other.unlink(missing_ok=True)
        else:
            write_atomic(other, f"{name}  {path.name}\n")
            path.unlink(missing_ok=True)

    def failure(self, name: str, text: str) -> Path:
        """Keep a traceback."""
        path = self.root / "failures" / f"{name.replace(' ', '-')}.txt"
        write_atomic(path, text)
        return path

    def json(self, name: str, content: dict[str, Any]) -> None:
        """Write NAME.json."""
        write_atomic(self.root / f"{name}.json", json.dumps(content, indent=2, sort_keys=True) + "\n")


@contextmanager
def opened(root: Path, simulation: Simulation, *, fresh: bool) -> Iterator[RunFolder]:
    """Take a folder for a simulation, and keep others out of it until the end.

    Args:
        fresh: set the folder aside as ``NAME.old-N`` first.

    Raises:
        RunFolderError: it is another simulation's, holds something else, or is in use. Nothing was changed in it.
    """
    root = root.resolve()
    _require_ours(root, simulation)
    if fresh and root.exists():
        with _locked(root):
            pass  # in use, it may not be moved
        root.rename(_free(root.parent, f"{root.name}.old-"))
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root):
        _set_earlier_aside(root, simulation)
        if not (root / PLAN).exists():
            write_atomic(root / PLAN, described(simulation))
        yield RunFolder(root, simulation)


def described(simulation: Simulation) -> str:
    """A simulation's TOML with everything resolved: `fedistill run` on it repeats the run."""
    import tomli_w

    return tomli_w.dumps(simulation.model_dump(mode="json", exclude_none=True))


def _require_ours(root: Path, simulation: Simulation) -> None:
    if root.exists() and not root.is_dir():
        raise RunFolderError(f"{root} is no folder.", mend="choose another --out")
    # A folder with nothing in it but a lock is what a run leaves that stopped before it began.
    if not root.exists() or all(path.name == ".lock" for path in root.iterdir()):
        return
    if not (root / PLAN).is_file():
        raise RunFolderError(
            f"{root} is not empty, and no run of FeDistill.",
            expected=f"an empty folder, or one with a {PLAN}",
            found=", ".join(sorted(path.name for path in root.iterdir())[:5]),
            mend="choose another --out",
        )
    try:
        owner = read_toml(root / PLAN).get("name")
    except PlanError as error:
        raise RunFolderError(f"{root / PLAN} cannot be read.", found=str(error), mend="choose another --out") from error
    if owner != simulation.name:
        raise RunFolderError(
            f"{root} belongs to another simulation.",
            expected=simulation.name,
            found=owner,
            mend="choose another --out",
        )


def _set_earlier_aside(root: Path, simulation: Simulation) -> None:
    """Results of other settings under the same name go to earlier/N; work/ stays, for equal stages to be found."""
    plan = root / PLAN
    if not plan.exists() or plan.read_text(encoding="utf-8") == described(simulation):
        return
    aside = _free(root / "earlier", "")
    aside.mkdir(parents=True)
    # The plan goes last: as long as it is there, a run that was stopped here sees what is left to move.
    for name in (*[name for name in RESULTS if name != PLAN], PLAN):
        if (root / name).exists():
            shutil.move(root / name, aside / name)


def _free(folder: Path, stem: str) -> Path:
    n = 1
    while (folder / f"{stem}{n}").exists():
        n += 1
    return folder / f"{stem}{n}"


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """A lock the system frees when the process ends, however it ends."""
    with (root / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RunFolderError(
                f"{root} is in use.",
                found=f"process {file.read().strip()}",
                mend="wait for it, or choose another --out",
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
