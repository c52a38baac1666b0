"""indicator.png: random subsets against distilled images, a point a data set, the line through them and its band."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedistill.core.files import write_atomic
from fedistill.errors import SettingError
from fedistill.report.figures.figure import COLOURS, MARKERS
from fedistill.report.figures.labels import PointLabel, write_labels
from fedistill.study.feasibility.indicator import FEWEST, bounds_of, fit_line, indicator, require_one_kind
from fedistill.study.feasibility.reference_runs import short
from fedistill.study.feasibility.run_metrics import METRICS, points, read_runs
from fedistill.study.folder.tables_on_disk import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"auc": "AUC", "accuracy": "accuracy"}
PHANTOMS = "phantoms: this tests the machinery, it says nothing about medicine"


def write_indicators(folders: Sequence[Path], out: Path) -> list[Path]:
    """What finished runs, together, say of the indicator; the files written.

    They are indicator.csv, indicator_points.csv, and a figure for every budget and kind of runs with three sets or
    more: indicator-ipcK.png, of further kinds indicator-ipcK-2.png and so on.

    Raises:
        UserError: a folder holds no finished run.
    """
    found = points(read_runs(folders))
    table = indicator(found)
    written = []
    for name, frame in (("indicator", table), ("indicator_points", found)):
        written.append(out / f"{name}.csv")
        write_atomic(written[-1], csv_text(frame))
    enough = table[table["n_sets"] >= FEWEST].drop_duplicates(["kind", "ipc"])
    for ipc, kinds in enough.groupby("ipc")["kind"]:
        for number, kind in enumerate(kinds, 1):
            mine, known = (frame[(frame["kind"] == kind) & (frame["ipc"] == ipc)] for frame in (found, table))
            written.append(out / f"indicator-ipc{ipc}{f'-{number}' if number > 1 else ''}.png")
            draw_indicator(mine, known, written[-1])
    return written


def draw_indicator(
    points: pd.DataFrame, table: pd.DataFrame, path: Path, *, predicted: pd.DataFrame | None = None, name: str = ""
) -> None:
    """Draw the points of one kind and budget: a panel for each metric and scheme.

    Args:
        points: of `study.evidence.points`; table: of `study.indicator.indicator`, for r and its interval.
        predicted: of `study.predict.foretold`, drawn as a star with its interval; ``name``: of what set.

    Raises:
        SettingError: there is nothing to draw, or the points are of several kinds or budgets.
    """
    from matplotlib.figure import Figure

    if points.empty or points["kind"].nunique() > 1 or points["ipc"].nunique() > 1:
        found = f"{points['kind'].nunique()} kinds, {points['ipc'].nunique()} budgets"
        raise SettingError("One figure shows one kind of runs at one budget.", expected="1 kind, 1 budget", found=found)
    columns = list(dict.fromkeys(zip(points["scheme"], points["settings"], strict=True)))
    metrics = [metric for metric in METRICS if (points["metric"] == metric).any()]
    # A single scheme's metrics stand side by side, several schemes' one below the other.
    across, down = (len(metrics), 1) if len(columns) == 1 else (len(columns), len(metrics))
    figure = Figure(figsize=(max(6.4, 3.7 * across), 1.1 + 3.8 * down), layout="constrained", dpi=150)
    panels = iter(figure.subplots(down, across, squeeze=False).flat)
    labels = []
    for metric in metrics:
        for number, column in enumerate(columns):
            here = (_of(points, *column, metric), _of(table, *column, metric), _of(predicted, column[0], None, metric))
            axis = next(panels)
            if here[0].empty:  # accuracy, where a scheme was run on multi-label sets alone
                axis.set_axis_off()
                continue
            labels.append((axis, _draw(axis, *here, metric, number, name)))
    figure.suptitle(_title(points, characters=15 + 45 * across), fontsize=9.5)
    figure.draw_without_rendering()  # where everything is, is known only now
    figure.set_layout_engine("none")
    for axis, (points_of, curves) in labels:
        write_labels(axis, points_of, [], curves)
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))


def _of(frame: pd.DataFrame | None, scheme: str, settings: str | None, metric: str) -> pd.DataFrame:
    if frame is None:
        return pd.DataFrame()
    mine = frame[(frame["scheme"] == scheme) & (frame["metric"] == metric)]
    return mine if settings is None else mine[mine["settings"] == settings]


def _title(points: pd.DataFrame, *, characters: int) -> str:
    from textwrap import fill

    lines = [f"ipc {points['ipc'].iloc[0]}: does a random subset foretell what distilled images reach?"]
    kind = str(points["kind"].iloc[0])
    # Lines of about one length: no number is left alone on the last.
    lines.append(fill(kind, characters if len(kind) <= characters else min(characters, len(kind) // 2 + 12)))
    return "\n".join([*lines, PHANTOMS] if points["phantom"].iloc[0] else lines)


def _draw(
    axis: "Axes", mine: pd.DataFrame, known: pd.DataFrame, predicted: pd.DataFrame, metric: str, number: int, name: str
) -> tuple[list[PointLabel], list[np.ndarray]]:
    """One panel, in %; the labels still to be placed, and the curves they should not cover."""
    require_one_kind(mine)
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    x, y = (mine[side].to_numpy(np.float64) for side in ("random", "distilled"))
    seen = np.concatenate([x, y])
    lines = predicted.to_dict("records") if len(predicted) else []
    if lines and np.isfinite(lines[0]["predicted"]):
        seen = np.append(seen, [lines[0][side] for side in ("random", "low", "high")])
    room = 0.12 * max(0.1, float(np.ptp(seen)))  # for labels
    low, high = max(0.0, seen.min() - room), min(1.0, seen.max() + room)
    line = fit_line(x, y, bounds_of(metric)) if len(x) >= FEWEST else None
    ends = [100 * low, 100 * high]
    alike = "both alike" if line is None else "both alike; shaded: 95 % of further sets"
    axis.plot(ends, ends, color="#777", linestyle="--", linewidth=1, label=alike)
    curves: list[np.ndarray] = []
    if line is not None:
        along = np.linspace(low, high, 101)
        below, above = line.band(along)
        axis.plot(100 * along, 100 * line.at(along), color=colour, linewidth=1.4, label=_r(known))
        axis.fill_between(100 * along, 100 * below, 100 * above, color=colour, alpha=0.13, linewidth=0)
        curves.append(np.stack([100 * along, 100 * line.at(along)], 1))
    axis.plot(100 * x, 100 * y, linestyle="none", marker=marker, color=colour, markersize=5.5)
    labels = [
        PointLabel(short(dataset), "#222", 100 * u, 100 * v, 0.0)
        for dataset, u, v in zip(mine["dataset"], x, y, strict=True)
    ]
    for each in lines:
        if np.isfinite(each["predicted"]):
            labels.append(_draw_predicted(axis, each, name))
    axis.set_xlim(100 * low, 100 * high)
    axis.set_ylim(100 * low, 100 * high)
    axis.set_aspect("equal")
    axis.set_xlabel(f"random: {NAMES[metric]}, %", fontsize=9)
    axis.set_ylabel(f"{mine['scheme'].iloc[0]}: {NAMES[metric]}, %", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    # Above the panel: within it, there is no place that points, bars and band always leave free.
    axis.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), frameon=False, fontsize=7)
    return labels, curves


def _draw_predicted(axis: "Axes", each: dict[Any, Any], name: str) -> PointLabel:
    at, low, middle, high = (100 * each[side] for side in ("random", "low", "predicted", "high"))
    # A clipped interval may end at the middle; its arms are never negative.
    arms = max(0.0, middle - low), max(0.0, high - middle)
    axis.errorbar([at], [middle], [[arms[0]], [arms[1]]], fmt="*", color="black", markersize=9, capsize=3, linewidth=1)
    return PointLabel(f"{short(name)}: predicted", "black", at, middle, max(arms))


def _r(known: pd.DataFrame) -> str:
    """
    >>> _r(pd.DataFrame([{"pearson": 0.912, "pearson_low": 0.5, "pearson_high": 0.99, "n_sets": 8}]))
    'r = 0.91 (0.50 to 0.99), 8 sets'
    """
    if known.empty:
        return "line"
    line = known.iloc[0]
    between = f"{line['pearson_low']:.2f} to {line['pearson_high']:.2f}"
    return f"r = {line['pearson']:.2f} ({between}), {line['n_sets']:.0f} sets"
