"""The indicator: does a small random subset foretell what distilled images reach?

A figure has a point a data set, and the line through them with its band.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedistill.core.files import write_atomic
from fedistill.errors import SettingError
from fedistill.report.figures.labels import PointLabel
from fedistill.report.figures.palette import INK, MUTED, SERIES
from fedistill.report.figures.panel import TALL, Chart, Labels, Panel, save_png
from fedistill.report.format import percent
from fedistill.report.frames import METRICS, lines_of
from fedistill.study.feasibility.indicator import FEWEST, bounds_of, fit_line, indicator, require_one_kind
from fedistill.study.feasibility.reference_runs import short
from fedistill.study.feasibility.run_metrics import METRICS as MEASURED
from fedistill.study.feasibility.run_metrics import points, read_runs
from fedistill.study.folder.tables_on_disk import csv_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "does a random subset foretell what distilled images reach?"
OF_PHANTOMS = "phantoms: this tests the machinery, it says nothing about medicine"


def write_indicators(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write what finished runs, together, say of the indicator; return the files.

    They are indicator.csv, indicator_points.csv, and a figure for every budget and kind of runs with three sets or
    more: indicator-ipcK.png, of further kinds indicator-ipcK-2.png and so on.

    Raises:
        UserError: a folder holds no finished run.
    """
    measured = points(read_runs(folders))
    table = indicator(measured)
    written = []
    for name, frame in (("indicator", table), ("indicator_points", measured)):
        written.append(out / f"{name}.csv")
        write_atomic(written[-1], csv_text(frame))
    enough = table[table["n_sets"] >= FEWEST].drop_duplicates(["kind", "ipc"])
    for ipc, kinds in enough.groupby("ipc")["kind"]:
        for number, kind in enumerate(kinds, 1):
            own, known = (frame[(frame["kind"] == kind) & (frame["ipc"] == ipc)] for frame in (measured, table))
            written.append(out / f"indicator-ipc{ipc}{f'-{number}' if number > 1 else ''}.png")
            draw_indicator(own, known, written[-1])
    return written


def draw_indicator(
    measured: pd.DataFrame, table: pd.DataFrame, path: Path, *, predicted: pd.DataFrame | None = None, name: str = ""
) -> None:
    """Write a PNG of the points of one kind and budget: a panel for each scheme and metric.

    Args:
        measured: of `study.feasibility.run_metrics.points`.
        table: of `study.feasibility.indicator.indicator`.
        path: of the PNG.
        predicted: as `foretold` takes it.
        name: of the data set that is predicted.

    Raises:
        SettingError: there is nothing to draw, or the points are of several kinds or budgets.
    """
    if measured.empty or measured["kind"].nunique() > 1 or measured["ipc"].nunique() > 1:
        found = f"{measured['kind'].nunique()} kinds, {measured['ipc'].nunique()} budgets"
        raise SettingError("One figure shows one kind of runs at one budget.", expected="1 kind, 1 budget", found=found)
    heading = [f"ipc {measured['ipc'].iloc[0]}: {QUESTION}", str(measured["kind"].iloc[0])]
    heading += [OF_PHANTOMS] * bool(measured["phantom"].iloc[0])
    panels = foretold(measured, table, name="indicator", predicted=predicted, predicted_set=name)
    save_png(path, "\n".join(heading), panels)


def indicator_charts(known: pd.DataFrame, name: str) -> list[Chart]:
    """Return a figure for every kind of runs and budget with three data sets or more.

    Args:
        known: of `study.feasibility.run_metrics.points`, all of phantoms or all of real images.
        name: what the panels' names begin with.
    """
    if known.empty:
        return []
    table = indicator(known)
    charts = []
    for number, line in enumerate(lines_of(table[table["n_sets"] >= FEWEST].drop_duplicates(["kind", "ipc"]))):
        own, about = (f[(f["kind"] == line["kind"]) & (f["ipc"] == line["ipc"])] for f in (known, table))
        caption = (
            f"ipc {line['ipc']}: {line['kind']}. A point a data set; the line through them with the band that 95 % of "
            "further sets would fall into; dashed, where distilled and random images reach the same."
        )
        enough = [p for p in foretold(own, about, name=f"{name}-i{number}") if "r = " in p.title]
        charts.append(Chart(enough, caption))
    return charts


def foretold(
    measured: pd.DataFrame,
    table: pd.DataFrame,
    *,
    name: str,
    predicted: pd.DataFrame | None = None,
    predicted_set: str = "",
) -> list[Panel]:
    """Return a panel for each scheme and metric of one kind of runs at one budget.

    Args:
        measured: of `study.feasibility.run_metrics.points`.
        table: of `study.feasibility.indicator.indicator`.
        name: what the panels' names begin with.
        predicted: of `study.feasibility.predict.foretold`, drawn as a star with its interval.
        predicted_set: its data set.
    """
    panels = []
    groups = measured[measured["metric"].isin(MEASURED)].groupby(["scheme", "settings", "metric"], sort=False)
    for number, ((scheme, settings, metric), own) in enumerate(groups):
        require_one_kind(own)
        keys = (table["scheme"] == scheme) & (table["settings"] == settings) & (table["metric"] == metric)
        stars = []
        if predicted is not None:
            stars = lines_of(predicted[(predicted["scheme"] == scheme) & (predicted["metric"] == metric)])
            stars = [star for star in stars if np.isfinite(star["predicted"])]
        values = ", ".join(
            f"{short(line['dataset'])} {percent(line['random'])} and {percent(line['distilled'])}"
            for line in lines_of(own)
        )
        title = f"{scheme}, {METRICS[str(metric)]}{_correlation(table[keys])}"
        alt = f"{METRICS[str(metric)]} in % with random images and with {scheme}: {values}. {title}."
        draw = partial(_draw, own=own, stars=stars, predicted_set=predicted_set)
        panels.append(Panel(f"{name}-{number}", title, alt, draw, TALL))
    return panels


def _draw(axis: "Axes", own: pd.DataFrame, stars: Sequence[Mapping[str, Any]], predicted_set: str) -> Labels:
    x, y = (own[side].to_numpy(np.float64) for side in ("random", "distilled"))
    seen = np.concatenate([x, y, *([star[side] for side in ("random", "low", "high")] for star in stars)])
    room = 0.1 * max(0.1, float(np.ptp(seen)))  # for labels
    low, high = max(0.0, seen.min() - room), min(1.0, seen.max() + room)
    axis.plot([100 * low, 100 * high], [100 * low, 100 * high], color=MUTED, linestyle="--", linewidth=0.9)
    curves = []
    line = fit_line(x, y, bounds_of(str(own["metric"].iloc[0]))) if len(x) >= FEWEST else None
    if line is not None:
        along = np.linspace(low, high, 61)
        below, above = line.band(along)
        axis.fill_between(100 * along, 100 * below, 100 * above, color=SERIES[0], alpha=0.15, linewidth=0)
        axis.plot(100 * along, 100 * line.at(along), color=SERIES[0])
        curves.append(np.stack([100 * along, 100 * line.at(along)], 1))
    axis.plot(100 * x, 100 * y, linestyle="none", marker="o", color=SERIES[1])
    named = zip(own["dataset"], 100 * x, 100 * y, strict=True)
    labels = [PointLabel(short(str(who)), INK, float(u), float(v), 0.0) for who, u, v in named]
    for star in stars:
        at, least, middle, most = (100 * star[side] for side in ("random", "low", "predicted", "high"))
        # A clipped interval may end at the middle; its arms are never negative.
        arms = [max(0.0, middle - least)], [max(0.0, most - middle)]
        axis.errorbar([at], [middle], arms, fmt="*", color=INK, markersize=9, capsize=3, linewidth=1)
        labels.append(PointLabel(f"{short(predicted_set)}: predicted", INK, at, middle, max(arms)[0]))
    axis.set_xlim(100 * low, 100 * high)
    axis.set_ylim(100 * low, 100 * high)
    axis.set_xlabel("random images, %")
    axis.set_ylabel(f"{own['scheme'].iloc[0]}, %")
    return Labels(labels, curves=curves)


def _correlation(known: pd.DataFrame) -> str:
    """Return r with its interval; empty where it is not known.

    >>> _correlation(pd.DataFrame([{"pearson": 0.912, "pearson_low": 0.5, "pearson_high": 0.99, "n_sets": 8}]))
    ': r = 0.91 (0.50 to 0.99), 8 sets'
    """
    if known.empty or not np.isfinite(known["pearson"].iloc[0]):
        return ""
    line = known.iloc[0]
    between = f"{line['pearson_low']:.2f} to {line['pearson_high']:.2f}"
    return f": r = {line['pearson']:.2f} ({between}), {line['n_sets']:.0f} sets"
