"""The indicator's figure for a page: does a small random subset foretell what distilled images reach, set by set?"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fedistill.report.figures.labels import PointLabel
from fedistill.report.figures.svg import INK, MUTED, SERIES, Labels, Panel, panel
from fedistill.report.figures.sweep_svg import Part
from fedistill.report.html.render import MARK
from fedistill.report.terminal.table import lines_of
from fedistill.study.feasibility.indicator import FEWEST, bounds_of, fit_line, indicator
from fedistill.study.feasibility.reference_runs import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"auc": "AUC", "accuracy": "Accuracy"}


def indicator_parts(known: pd.DataFrame, name: str) -> list[Part]:
    """A figure for every kind of runs and budget with three data sets or more.

    Args:
        known: of `study.evidence.points`, all of phantoms or all of real images.
        name: what the panels' names begin with.
    """
    if known.empty:
        return []
    table = indicator(known)
    mark = MARK if known["phantom"].any() else ""
    parts = []
    enough = table[table["n_sets"] >= FEWEST].drop_duplicates(["kind", "ipc"])
    for number, line in enumerate(lines_of(enough)):
        mine, about = (f[(f["kind"] == line["kind"]) & (f["ipc"] == line["ipc"])] for f in (known, table))
        caption = (
            f"ipc {line['ipc']}: {line['kind']}. A point a data set; the line through them with the band that 95 % of "
            "further sets would fall into; dashed, where distilled and random images reach the same."
        )
        parts.append(Part(foretold(mine, about, name=f"{name}-i{number}"), caption, (), mark))
    return parts


def foretold(points: pd.DataFrame, table: pd.DataFrame, *, name: str) -> list[Panel]:
    """A panel for each scheme and metric of one kind of runs at one budget that has three sets or more.

    Args:
        points: of `study.evidence.points`; table: of `study.indicator.indicator`.
        name: what the panels' names begin with.
    """
    made = []
    groups = points.groupby(["scheme", "settings", "metric"], sort=False)
    for number, ((scheme, settings, metric), mine) in enumerate(groups):
        known = table[
            (table["scheme"] == scheme) & (table["settings"] == settings) & (table["metric"] == metric)
        ].to_dict("records")
        if metric not in NAMES or len(mine) < FEWEST or not known:
            continue
        told = ", ".join(
            f"{short(line['dataset'])} {100 * line['random']:.1f} and {100 * line['distilled']:.1f}"
            for line in lines_of(mine)
        )
        line = known[0]
        r = f"r = {line['pearson']:.2f} ({line['pearson_low']:.2f} to {line['pearson_high']:.2f}), {len(mine)} sets"
        alt = f"{NAMES[str(metric)]} in % with random images and with {scheme}: {told}; {r}."
        title = f"{scheme}, {NAMES[str(metric)]}: {r}"
        made.append(_one(f"{name}-{number}", title, alt, mine, str(scheme), str(metric)))
    return made


def _one(name: str, title: str, alt: str, mine: pd.DataFrame, scheme: str, metric: str) -> Panel:
    x, y = (mine[side].to_numpy(np.float64) for side in ("random", "distilled"))
    both = np.concatenate([x, y])
    room = 0.08 * max(0.1, float(np.ptp(both)))
    low, high = max(0.0, both.min() - room), min(1.0, both.max() + room)

    def draw(axis: "Axes") -> Labels:
        axis.plot([100 * low, 100 * high], [100 * low, 100 * high], color=MUTED, linestyle="--", linewidth=0.9)
        curves = []
        line = fit_line(x, y, bounds_of(metric))
        if line is not None:
            along = np.linspace(low, high, 61)
            below, above = line.band(along)
            axis.fill_between(100 * along, 100 * below, 100 * above, color=SERIES[0], alpha=0.15, linewidth=0)
            axis.plot(100 * along, 100 * line.at(along), color=SERIES[0], linewidth=1.3)
            curves.append(np.stack([100 * along, 100 * line.at(along)], 1))
        axis.plot(100 * x, 100 * y, linestyle="none", marker="o", color=SERIES[1], markersize=4.5)
        axis.set_xlim(100 * low, 100 * high)
        axis.set_ylim(100 * low, 100 * high)
        axis.set_xlabel("random images, %")
        axis.set_ylabel(f"{scheme}, %")
        named = zip(mine["dataset"], 100 * x, 100 * y, strict=True)
        return Labels([PointLabel(short(str(who)), INK, float(u), float(v), 0.0) for who, u, v in named], curves=curves)

    return panel(name, title, alt, draw, height=2.9)
