"""What distillation is likely to reach on a data set, foretold from random subsets of it and from runs on other sets.

Networks are trained on random subsets alone, as the runs it rests on trained theirs; where they end up on the line of
`fedistill.study.feasibility.indicator`, which is laid through the other sets, is the prediction.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedistill.core.events import OnEvent, ignore
from fedistill.core.files import write_atomic
from fedistill.study.feasibility.indicator import bounds_of, fit_line, indicator, leave_one_out
from fedistill.study.feasibility.reference_runs import NEEDED, Basis
from fedistill.study.folder.tables_on_disk import csv_text
from fedistill.study.run import Finished, run

PREDICTION = ["scheme", "metric", "random", "predicted", "low", "high", "n_sets", "loo_error", "beyond"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What random subsets foretell.

    Args:
        finished: the run on random subsets.
        table: see `foretold`.
    """

    basis: Basis
    finished: Finished
    table: pd.DataFrame


def predict(
    basis: Basis,
    *,
    out: Path | None = None,
    engine: str | None = None,
    data_root: str | None = None,
    workers: int | None = None,
    on_event: OnEvent = ignore,
) -> Prediction:
    """Train on random subsets, and foretell what distilled images reach.

    The run folder gets, beside its usual tables, prediction.csv, and of what it rests on indicator.csv and
    indicator_points.csv.

    Args:
        basis: of `find_basis`.
        out: the run folder, default ``runs/NAME``; run again, it resumes. The rest as for `fedistill.study.run`.

    Raises:
        UserError: the data or the folder cannot be; nothing was done.
        RunError: the run could not be finished.
    """
    simulation = basis.simulation
    finished = run(
        simulation,
        out=out or Path("runs") / simulation.name,
        engine=engine,
        data_root=data_root,
        workers=workers,
        on_event=on_event,
    )
    table = foretold(basis.points, finished.rows)
    tables = {"prediction": table, "indicator": indicator(basis.points), "indicator_points": basis.points}
    for name, frame in tables.items():
        write_atomic(finished.root / f"{name}.csv", csv_text(frame))
    return Prediction(basis, finished, table)


def foretold(points: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The prediction, a row for each scheme and metric.

    Args:
        points: of one kind and ipc, by `evidence.points`, of other data sets.
        rows: of results.csv, networks on random subsets of the data set.

    Returns:
        ``random``, mean over networks; ``predicted`` with the 95 % prediction interval ``low, high``; ``n_sets`` that
        it rests on; ``loo_error``, mean absolute error on these when each is left out; ``beyond``, whether ``random``
        lies outside what these sets span, where the line is no more than a guess. Blank with fewer than five sets.
    """
    lines = []
    for (scheme, metric), group in points.groupby(["scheme", "metric"], sort=False):
        x, y = (group[side].to_numpy(np.float64) for side in ("random", "distilled"))
        at = float(rows.loc[rows["scheme"] == "random", str(metric)].mean(skipna=False))
        bounds = bounds_of(str(metric))
        line = fit_line(x, y, bounds) if len(x) >= NEEDED else None
        blank = float("nan")
        values: list[Any] = [blank] * 3 + [len(x), blank, None]
        if line is not None and np.isfinite(at):
            low, high = line.band(at)
            error = float(leave_one_out(x, y, bounds).mean())
            values = [float(line.at(at)), float(low), float(high), len(x), error, not x.min() <= at <= x.max()]
        lines.append(dict(zip(PREDICTION, [scheme, metric, at, *values], strict=True)))
    return pd.DataFrame(lines, columns=PREDICTION)
