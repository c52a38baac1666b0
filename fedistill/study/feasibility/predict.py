"""Prediction of distillation's quality on a data set, from random subsets of it and runs on other sets.

Networks are trained on random subsets only, by the recipe of the reference runs; their quality, put into the line of
`fedistill.study.feasibility.indicator` through the other sets, gives the prediction.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedistill.core.events import OnEvent, ignore
from fedistill.core.files import write_atomic
from fedistill.study.feasibility.indicator import bounds_of, fit_line, foretold_by_others, indicator, leave_one_out
from fedistill.study.feasibility.reference_runs import NEEDED, Basis
from fedistill.study.folder.tables_on_disk import csv_text
from fedistill.study.run import Finished, run

PREDICTION = ["scheme", "metric", "random", "predicted", "low", "high", "n_sets", "loo_error", "beyond"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """A prediction from random subsets.

    Args:
        finished: the run on random subsets.
        table: see `prediction_table`.
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
    """Train on random subsets, and predict the quality of distilled images.

    The run folder gets prediction.csv beside its usual tables, and of the reference runs indicator.csv,
    indicator_points.csv and left_out.csv (see `left_out_table`). ``basis`` is of `find_basis`; ``out`` is the run
    folder, default ``runs/NAME``, where the same call resumes; for the rest see `fedistill.study.run`.

    Raises:
        UserError: the data or the folder is invalid; nothing was done.
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
    table = prediction_table(basis.points, finished.rows)
    tables = {
        "prediction": table,
        "indicator": indicator(basis.points),
        "indicator_points": basis.points,
        "left_out": left_out_table(basis.points),
    }
    for name, frame in tables.items():
        write_atomic(finished.root / f"{name}.csv", csv_text(frame))
    return Prediction(basis, finished, table)


def prediction_table(points: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the prediction, a row for each scheme and metric.

    Args:
        points: of `fedistill.study.feasibility.run_metrics.points`, of one kind and ipc on other data sets.
        rows: of results.csv, for networks on random subsets of the data set.

    Returns:
        ``random``, mean over networks; ``predicted`` with the 95 % prediction interval ``low, high``; ``n_sets``, the
        number of other sets; ``loo_error``, the mean leave-one-out error; ``beyond``, whether ``random`` is outside
        the range of the other sets, so that the line extrapolates. Blank with fewer than five sets.
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


def left_out_table(points: pd.DataFrame) -> pd.DataFrame:
    """Return what would have been predicted for each reference set from all the others, and how wrong it would be.

    Args:
        points: as for `prediction_table`.

    Returns:
        A row for each scheme, metric and set, with ``random`` and ``distilled`` as they were measured; ``predicted``
        from the other sets; and ``error``, predicted less distilled.
    """
    parts = []
    for (scheme, metric), group in points.groupby(["scheme", "metric"], sort=False):
        x, y = (group[side].to_numpy(np.float64) for side in ("random", "distilled"))
        predicted = foretold_by_others(x, y, bounds_of(str(metric)))
        known = {"dataset": group["dataset"].to_numpy(), "random": x, "distilled": y}
        parts.append(pd.DataFrame({"scheme": scheme, "metric": metric, **known, "predicted": predicted}))
    columns = ["scheme", "metric", "dataset", "random", "distilled", "predicted"]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return frame.assign(error=frame["predicted"] - frame["distilled"])
