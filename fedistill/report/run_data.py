"""A run folder, read back: everything a report needs, and nothing that only the run's own process knew."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from fedistill.config import Federation, Plan, load_plan
from fedistill.core.events import Event
from fedistill.data import parse_source
from fedistill.errors import RunFolderError
from fedistill.report.format import is_blank, word
from fedistill.report.frames import first_of, first_point, schemes, swept, whole_pools
from fedistill.study.folder.event_log import EventLog, read_events
from fedistill.study.folder.tables_on_disk import read_typed_table

ATTACKED = ("scheme", "ipc", "rounds", "epsilon", "start")
"""Columns that tell one thing that was attacked from another, over all points of a sweep."""

TABLES = {
    "rows": "results",
    "compared": "comparison",
    "by_site": "sites",
    "holdings": "holdings",
    "sources": "sources",
    "rounds": "rounds",
    "privacy": "privacy",
    "roc": "roc",
}
"""Tables of a run by their names here and in its folder; without the first three it is no finished run."""


@dataclass(frozen=True, eq=False)
class RunData:
    """A finished run.

    In its tables numbers are float64, blank where there are none, and swept settings are words, as `format.word` has
    them.

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
        """Return the events of the log."""
        return self.log.events

    @property
    def name(self) -> str:
        """Return the plan's name."""
        return self.plan.name

    @property
    def dataset(self) -> str:
        """Return the first point's data set, as the tables call it."""
        return self.datasets[0]

    @cached_property
    def datasets(self) -> list[str]:
        """List every point's data set, each once."""
        return list(dict.fromkeys(self.rows["dataset"].map(str)))

    @cached_property
    def phantom(self) -> bool:
        """Return whether any of its images are drawn: then nothing in it is about medicine."""
        return any(is_phantom(point.simulation.federation) for point in self.plan.points)

    @property
    def sites(self) -> tuple[str, ...]:
        """Return the names of the first point's sites."""
        return self.plan.first.federation.sites

    @cached_property
    def swept(self) -> list[str]:
        """Return the columns of swept settings."""
        return swept(self.compared)

    @cached_property
    def whole(self) -> pd.DataFrame:
        """Return the lines of comparison.csv that no site was left out of."""
        return whole_pools(self.compared)

    @cached_property
    def shown(self) -> pd.DataFrame:
        """Return the lines of comparison.csv for figures: the first point, partition, recipe and model; whole pools."""
        return first_of(schemes(first_point(self.whole)))

    @cached_property
    def majority(self) -> Mapping[Any, Any]:
        """Return comparison.csv's line of who always names the commonest class; empty without one."""
        lines: list[dict[Any, Any]] = self.compared[self.compared["scheme"] == "majority"].iloc[:1].to_dict("records")
        return lines[0] if lines else {}

    def at_first_point(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return a table's rows of the sweep's first point; all where nothing is swept."""
        for column in self.swept:
            if column in frame and len(self.shown):
                frame = frame[frame[column] == self.shown[column].iloc[0]]
        return frame


def read_run(folder: Path) -> RunData:
    """Return what a run folder holds.

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
    settings = list(plan.columns()[0])
    tables = {name: _table(folder / f"{file}.csv", settings) for name, file in TABLES.items()}
    return RunData(
        folder=folder,
        text=(folder / "simulation.toml").read_text(encoding="utf-8"),
        plan=plan,
        log=read_events(folder),
        environment=_json(folder / "environment.json"),
        timing=_json(folder / "timing.json"),
        **tables,
    )


def is_phantom(federation: Federation) -> bool:
    """Say whether any of a federation's images are drawn."""
    return any(parse_source(name).drawn for name in federation.datasets())


def points_of(run: RunData) -> list[tuple[str, ...]]:
    """Return for every point of a sweep the words of its settings, as the tables have them."""
    return [tuple(word(value) for value in values.values()) for values in run.plan.columns()]


def _table(path: Path, settings: list[str]) -> pd.DataFrame:
    """Return a table; an empty one where a run has none and need not have it."""
    if not path.is_file() and path.stem not in ("results", "comparison", "sites"):
        return pd.DataFrame()
    frame = read_typed_table(path)
    for name in settings:
        if name in frame:
            frame[name] = [None if is_blank(value) else word(value) for value in frame[name]]
    if path.stem in ("privacy", "roc") and len(frame) and "rounds" not in frame:
        frame["rounds"] = float("nan")  # runs of before schemes with rounds were attacked do not name them
    return frame


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} is not as the run wrote it.",
            found=error,
            mend="run the simulation again: nothing is computed twice",
        ) from error
