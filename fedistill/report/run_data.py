"""A run folder, read back: everything a report needs, and nothing that only the run's own process knew."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fedistill.config import Plan, load_plan
from fedistill.core.events import Event
from fedistill.data import parse_source
from fedistill.errors import RunFolderError
from fedistill.report.terminal.table import first_point, swept, whole_pools
from fedistill.study.folder.event_log import EventLog, read_events
from fedistill.study.folder.tables_on_disk import read_table

WHAT = ("scheme", "ipc", "rounds", "epsilon", "start")
"""What tells one thing that was attacked from another, over all points of a sweep."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """A finished run.

    Args:
        text: of simulation.toml; plan: what it says.
        rows, compared, by_site: results.csv, comparison.csv, sites.csv.
        holdings, sources, rounds, privacy, roc: their tables; empty where the run has none.
        log: events.jsonl.
        environment, timing: of their files; empty where there are none.
    """

    folder: Path
    text: str
    plan: Plan
    rows: pd.DataFrame
    compared: pd.DataFrame
    by_site: pd.DataFrame
    holdings: pd.DataFrame
    sources: pd.DataFrame
    rounds: pd.DataFrame
    privacy: pd.DataFrame
    roc: pd.DataFrame
    log: EventLog
    environment: Mapping[str, Any]
    timing: Mapping[str, Any]

    @property
    def events(self) -> tuple[Event, ...]:
        return self.log.events

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def dataset(self) -> str:
        """The first point's, as the tables call it."""
        return str(self.rows["dataset"].iloc[0])

    @property
    def datasets(self) -> list[str]:
        """Every point's."""
        return list(dict.fromkeys(self.rows["dataset"]))

    @property
    def phantom(self) -> bool:
        """Whether any of its images are drawn: then nothing in it is about medicine."""
        return any(
            parse_source(name).drawn for point in self.plan.points for name in point.simulation.federation.datasets()
        )

    @property
    def sites(self) -> tuple[str, ...]:
        return self.plan.first.federation.sites

    def pictured(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Of comparison.csv, the lines that figures show: the first point, partition, recipe and model, whole pools."""
        lines = whole_pools(first_point(frame))
        lines = lines[lines["scheme"] != "majority"]
        for column in ("partition", "recipe", "model"):
            if len(lines):
                lines = lines[lines[column] == lines[column].iloc[0]]
        return lines

    @property
    def shown(self) -> pd.DataFrame:
        return self.pictured(self.compared)

    @property
    def majority(self) -> Mapping[Any, Any]:
        """comparison.csv's line of who always names the commonest class."""
        return first_point(self.compared).iloc[0].to_dict()

    def at_first_point(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A table's rows of the sweep's first point; all where nothing is swept."""
        first = self.shown
        for column in swept(self.compared):
            if column in frame and len(first):
                frame = frame[frame[column].astype(str) == str(first[column].iloc[0])]
        return frame


def read_recorded(folder: Path) -> Recorded:
    """What a run folder holds.

    Raises:
        RunFolderError: it is no finished run, or its files are not as the run wrote them.
        PlanError: its simulation.toml is not one that this version knows.
    """
    folder = folder.resolve()
    if not (folder / "simulation.toml").is_file():
        raise RunFolderError(
            f"{folder} is no run of FeDistill.", expected="a folder with simulation.toml", mend="name a run folder"
        )
    plan = load_plan(str(folder / "simulation.toml"))
    return Recorded(
        folder=folder,
        text=(folder / "simulation.toml").read_text(encoding="utf-8"),
        plan=plan,
        rows=_table(folder / "results.csv"),
        compared=_table(folder / "comparison.csv"),
        by_site=_table(folder / "sites.csv"),
        holdings=_table(folder / "holdings.csv", needed=False),
        sources=_table(folder / "sources.csv", needed=False),
        rounds=_table(folder / "rounds.csv", needed=False),
        privacy=_attacked(folder / "privacy.csv"),
        roc=_attacked(folder / "roc.csv"),
        log=read_events(folder),
        environment=_json(folder / "environment.json"),
        timing=_json(folder / "timing.json"),
    )


def _table(path: Path, *, needed: bool = True) -> pd.DataFrame:
    return read_table(path) if needed or path.is_file() else pd.DataFrame()


def _attacked(path: Path) -> pd.DataFrame:
    """privacy.csv or roc.csv; runs of before schemes with rounds were attacked do not name them."""
    frame = _table(path, needed=False)
    return frame if frame.empty or "rounds" in frame else frame.assign(rounds=float("nan"))


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} is not as the run wrote it.",
            found=error,
            mend="run the simulation again: nothing is computed twice",
        ) from error
