"""The metrics of finished runs with random subsets and with distilled images, by data set and kind of runs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedistill.config import Simulation, load_plan
from fedistill.config.scheme import scheme_named
from fedistill.data import describe
from fedistill.errors import RunFolderError, UserError
from fedistill.study.feasibility.comparability import Kind, canonical_name, kind_of
from fedistill.study.folder.tables_on_disk import read_table

METRICS = ("auc", "accuracy")

POINTS = "kind phantom scheme settings ipc metric dataset random distilled full chance runs".split()
"""Columns of `points`."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A data set in one run, measured by one model.

    Args:
        dataset: see `kind.set_named`.
        rows: of results.csv: common recipe, whole pools of all sites.
        swept: whether the run has more than this.
    """

    kind: Kind
    dataset: str
    simulation: Simulation
    rows: pd.DataFrame
    folder: Path
    swept: bool


def finished_runs(folder: Path) -> list[Path]:
    """Return the folders of finished runs in a folder."""
    return [p.parent for p in sorted(folder.glob("*/simulation.toml")) if (p.parent / "results.csv").is_file()]


def read_runs(folders: Iterable[Path], *, notes: list[str] | None = None) -> list[Measured]:
    """Read finished runs, one result for each data set and model of a run.

    If ``notes`` is given, runs that cannot be used are noted there and skipped.

    Raises:
        UserError: a folder holds no readable finished run, and ``notes`` is None.
    """
    measured: list[Measured] = []
    for folder in folders:
        try:
            measured += _read_run(folder, [] if notes is None else notes)
        except UserError as error:
            if notes is None:
                raise
            notes.append(f"{folder} is skipped: {error.what}")
    return measured


def _read_run(folder: Path, notes: list[str]) -> list[Measured]:
    if not (folder / "simulation.toml").is_file() or not (folder / "results.csv").is_file():
        raise RunFolderError(
            f"{folder} holds no finished run.",
            expected="a folder with simulation.toml and results.csv",
            mend="run the simulation to its end first, or name another folder",
        )
    plan = load_plan(str((folder / "simulation.toml").resolve()))
    # Swept values are compared as text: "1" may be a number or a list of one.
    swept = {name for values in plan.columns() for name in values}
    rows = read_table(folder / "results.csv", words=swept)
    measured = []
    for point, values in zip(plan.points, plan.columns(), strict=True):
        simulation = point.simulation
        own = _whole_pools(_of_point(rows, values), simulation)
        if simulation.federation.dataset is None:
            notes.append(f"{folder} is skipped: its sites bring data sets of their own.")
            continue
        for model in simulation.models:
            dataset, kind = canonical_name(simulation.federation.dataset), kind_of(simulation, model)
            of_model = own[own["model"] == model]
            measured.append(Measured(kind, dataset, simulation, of_model, folder, swept=len(plan.points) > 1))
    return measured


def _of_point(rows: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """Return a point's rows, by the columns that a sweep adds."""
    for name, value in values.items():
        rows = rows[[_is_same(text, value) for text in rows[name]]]
    return rows


def _is_same(text: Any, value: Any) -> bool:
    """Return whether a cell of a table is this value: a column with 1 and 2.5 has 1.0 in it."""
    if str(text) == str(value):
        return True
    try:
        return float(text) == float(value)
    except ValueError:
        return False


def _whole_pools(rows: pd.DataFrame, simulation: Simulation) -> pd.DataFrame:
    """Return the rows of the common recipe to which all sites contribute: a smaller pool is another budget."""
    rows = rows[rows["recipe"] == "common"]
    for column in ("site", "left_out"):
        if column in rows:
            rows = rows[rows[column].isna() | (rows[column] == "")]
    central = np.array([scheme_named(scheme).one_place for scheme in rows["scheme"]], dtype=np.bool_)
    return rows[central | (rows["n_sites"] == len(simulation.federation.sites)).to_numpy()]


def points(measured: Sequence[Measured]) -> pd.DataFrame:
    """Return a row for each kind, distilling scheme with its settings, ipc, metric and data set.

    Returns:
        ``kind`` as text, ``phantom``, ``scheme, settings, ipc, metric, dataset``; ``random, distilled, full``: means
        over all networks of a run and then over the number of ``runs`` (``full`` is blank if none trained on it);
        ``chance``: 0.5 for AUC and 1 / classes for accuracy, because networks are trained on equally many images of
        each class, and an untrained one predicts each class equally often. Multi-label sets have no accuracy here:
        most findings are absent, which makes it another quantity.
    """
    lines: list[dict[str, Any]] = []
    for each in measured:
        card = describe(each.dataset)
        metrics = METRICS[:1] if card.task.startswith("multi-label") else METRICS
        for scheme in each.simulation.scheme:
            if not distils(scheme):
                continue
            for ipc in each.simulation.ipc:
                for metric in metrics:
                    chance = 0.5 if metric == "auc" else 1 / card.n_classes
                    random, distilled = (_mean(each.rows, name, ipc, metric) for name in ("random", scheme))
                    if np.isnan(random) or np.isnan(distilled):
                        continue
                    known: Any = (each.kind.words, each.kind.phantom, scheme, _settings(each.simulation, scheme, ipc))
                    full = _mean(each.rows, "full", None, metric)
                    values = (*known, ipc, metric, each.dataset, random, distilled, full, chance)
                    lines.append(dict(zip(POINTS[:-1], values, strict=True)))
    if not lines:
        return pd.DataFrame(columns=POINTS)
    groups = pd.DataFrame(lines).groupby(POINTS[:7], sort=False)
    frame = groups.mean().assign(runs=groups.size()).reset_index()
    return frame[POINTS]


def distils(scheme: str) -> bool:
    """Return whether a scheme's images are synthetic, with a budget for each class."""
    known = scheme_named(scheme)
    return known.method is not None and known.has_budget and not known.real


def _mean(rows: pd.DataFrame, scheme: str, ipc: int | None, metric: str) -> float:
    """Return the mean over networks; NaN if there are none, or one diverged."""
    values = rows[(rows["scheme"] == scheme) & (rows["ipc"].isna() if ipc is None else rows["ipc"] == ipc)]
    return float(values[metric].mean(skipna=False)) if len(values) else float("nan")


def _settings(simulation: Simulation, scheme: str, ipc: int) -> str:
    """Return a scheme's settings for one budget, as the file gives them, as JSON."""
    given = dict(simulation.settings(scheme))
    tables = given.pop("ipc", {})
    return json.dumps({**given, **tables.get(str(ipc), {})}, sort_keys=True)
