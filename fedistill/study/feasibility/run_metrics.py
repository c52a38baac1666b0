"""What finished runs measured with random subsets and with distilled images, data set by data set, kind by kind."""

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
from fedistill.study.feasibility.comparability import Kind, kind_of, set_named
from fedistill.study.folder.tables_on_disk import read_table

METRICS = ("auc", "accuracy")

POINTS = "kind phantom scheme settings ipc metric dataset random distilled full chance runs".split()
"""Columns of `points`."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One data set in one run, by one model.

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
    """Run folders in a folder whose tables are written."""
    return [p.parent for p in sorted(folder.glob("*/simulation.toml")) if (p.parent / "results.csv").is_file()]


def read_runs(folders: Iterable[Path], *, notes: list[str] | None = None) -> list[Measured]:
    """What finished runs measured.

    Args:
        notes: where given, what cannot be used is noted there and passed over.

    Raises:
        UserError: a folder that holds no finished run, or one that cannot be read, where ``notes`` is None.
    """
    found: list[Measured] = []
    for folder in folders:
        try:
            found += _read_run(folder, [] if notes is None else notes)
        except UserError as error:
            if notes is None:
                raise
            notes.append(f"{folder} is passed over: {error.what}")
    return found


def _read_run(folder: Path, notes: list[str]) -> list[Measured]:
    if not (folder / "simulation.toml").is_file() or not (folder / "results.csv").is_file():
        raise RunFolderError(
            f"{folder} holds no finished run.",
            expected="a folder with simulation.toml and results.csv",
            mend="run the simulation to its end first, or name another folder",
        )
    plan = load_plan(str((folder / "simulation.toml").resolve()))
    # As text, for what is swept is compared by its words: "1" may be a number or a list of one.
    swept = {name for values in plan.columns() for name in values}
    rows = read_table(folder / "results.csv", words=swept)
    found = []
    for point, values in zip(plan.points, plan.columns(), strict=True):
        simulation = point.simulation
        mine = _whole_pools(_of_point(rows, values), simulation)
        if simulation.federation.dataset is None:
            notes.append(f"{folder} is passed over: its sites bring data sets of their own.")
            continue
        for model in simulation.models:
            dataset, kind = set_named(simulation.federation.dataset), kind_of(simulation, model)
            here = mine[mine["model"] == model]
            found.append(Measured(kind, dataset, simulation, here, folder, swept=len(plan.points) > 1))
    return found


def _of_point(rows: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """A point's rows, by the columns that a sweep adds."""
    for name, value in values.items():
        rows = rows[[_same(text, value) for text in rows[name]]]
    return rows


def _same(text: Any, value: Any) -> bool:
    """Whether a cell of a table is this value: a column of 1 and 2.5 has 1.0 in it."""
    if str(text) == str(value):
        return True
    try:
        return float(text) == float(value)
    except ValueError:
        return False


def _whole_pools(rows: pd.DataFrame, simulation: Simulation) -> pd.DataFrame:
    """Rows of the common recipe that every site has its part in: a smaller pool is another budget."""
    rows = rows[rows["recipe"] == "common"]
    for column in ("site", "left_out"):
        if column in rows:
            rows = rows[rows[column].isna() | (rows[column] == "")]
    central = np.array([scheme_named(scheme).one_place for scheme in rows["scheme"]], dtype=np.bool_)
    return rows[central | (rows["n_sites"] == len(simulation.federation.sites)).to_numpy()]


def points(measured: Sequence[Measured]) -> pd.DataFrame:
    """A row for each kind, distilling scheme with its settings, ipc, metric and data set.

    Returns:
        ``kind`` in words, ``phantom``, ``scheme, settings, ipc, metric, dataset``; ``random, distilled, full``: means
        over all networks of a run and then over ``runs``, how many there were (``full`` blank where none trained on
        it); ``chance``: what knows nothing reaches, 0.5 of AUC and 1 / classes of accuracy. Networks are trained on as
        many images of each class: one that learns nothing names every class as often, however common it is in the test
        split. Multi-label sets have no accuracy here: most findings are absent, and theirs is another quantity.
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
    """Whether a scheme's images are synthetic, a number of them for each class."""
    known = scheme_named(scheme)
    return known.method is not None and known.has_budget and not known.real


def _mean(rows: pd.DataFrame, scheme: str, ipc: int | None, metric: str) -> float:
    """Over networks; NaN where there are none, or one of them diverged."""
    mine = rows[(rows["scheme"] == scheme) & (rows["ipc"].isna() if ipc is None else rows["ipc"] == ipc)]
    return float(mine[metric].mean(skipna=False)) if len(mine) else float("nan")


def _settings(simulation: Simulation, scheme: str, ipc: int) -> str:
    """A scheme's settings for one budget, as the file gives them."""
    given = dict(simulation.settings(scheme))
    tables = given.pop("ipc", {})
    return json.dumps({**given, **tables.get(str(ipc), {})}, sort_keys=True)
