"""Attacks' ROC curves, both axes logarithmic: how many are named while hardly anybody is accused wrongly."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fedistill.report.figures.frontier import frontier_points, name_of
from fedistill.report.figures.labels import PointLabel
from fedistill.report.figures.panels import Looks
from fedistill.report.figures.svg import INK, MUTED, Labels, Panel, panel
from fedistill.report.run_data import WHAT, Recorded
from fedistill.report.terminal.table import lines_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICKS = (0.1, 1.0, 10.0, 100.0)

STYLES = ("-", "--", ":", "-.")

LABELLED = 3
"""Curves with their names beside them: those that name most."""

LEAST = 1e-3
"""Rates below are not drawn: so few non-members say nothing of them."""


def roc_panels(run: Recorded, found: Looks) -> list[Panel]:
    """A panel with the strongest attack on every scheme, a line each; none where no curve was kept."""
    points = frontier_points(run)
    if points.empty or run.roc.empty:
        return []
    several = points["ipc"].nunique() > 2
    curves: dict[str, tuple[str, np.ndarray]] = {}
    for line in lines_of(points):
        mine = run.roc
        for name in (*WHAT, "attack"):
            mine = mine[mine[name].isna() if pd.isna(line[name]) or line[name] == "" else _same(mine[name], line[name])]
        mine = mine.drop_duplicates(["fpr", "tpr"])
        mine = mine[(mine["fpr"] >= LEAST) & (mine["tpr"] > 0)]
        if len(mine):
            values = mine[["fpr", "tpr"]].sort_values(["fpr", "tpr"]).to_numpy(np.float64)
            curves[name_of(line, several=several)] = (str(line["scheme"]), 100 * values)

    def draw(axis: "Axes") -> Labels:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.plot([100 * LEAST, 100], [100 * LEAST, 100], color=MUTED, linestyle="--", linewidth=0.9)
        drawn: list[str] = []
        for scheme, values in curves.values():
            style = STYLES[drawn.count(scheme) % len(STYLES)]  # dc from noise and dc from real images share a colour
            axis.plot(values[:, 0], values[:, 1], color=found[scheme].colour, linestyle=style, linewidth=1.2)
            drawn.append(scheme)
        axis.set_xlabel("wrongly accused, %")
        for ticks, limits in ((axis.set_xticks, axis.set_xlim), (axis.set_yticks, axis.set_ylim)):
            ticks(TICKS, [f"{tick:g}" for tick in TICKS])
            ticks([], minor=True)
            limits(100 * LEAST, 130)
        # The rest lie so close together that words would hide them; the table has them all.
        labels = [
            PointLabel(name, INK, 1.0, at[name], 0.0) for name in sorted(at, key=lambda each: -at[each])[:LABELLED]
        ]
        return Labels(labels, curves=[values for _, values in curves.values()])

    at = {name: float(np.interp(1.0, values[:, 0], values[:, 1])) for name, (_, values) in curves.items()}
    told = "; ".join(f"{name} {value:.1f} %" for name, value in at.items())
    alt = f"ROC curves of the strongest attack on every scheme. Members named at 1 % wrongly accused: {told}."
    return [panel("roc", "Members named, %, against wrongly accused", alt, draw, height=2.9)] if curves else []


def _same(column: pd.Series, value: object) -> pd.Series:
    """Where a column has a value; numbers of one table may be words in another."""
    numbers = pd.to_numeric(pd.Series([value]), errors="coerce").iloc[0]
    return column == value if pd.isna(numbers) else pd.to_numeric(column, errors="coerce") == numbers
