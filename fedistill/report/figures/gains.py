"""Would each site have wanted to join? What global networks add to its own, on images it set aside."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from fedistill.report.figures.communication import budget_of
from fedistill.report.figures.panels import Looks, horizontal, row_height
from fedistill.report.figures.style import Look
from fedistill.report.figures.svg import INK, Panel, panel
from fedistill.report.run_data import Recorded
from fedistill.report.terminal.table import lines_of, whole_pools

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 30
"""Sites that a figure names; more stand in order of what they gain, without names."""


def gains(run: Recorded, found: Looks) -> list[Panel]:
    """A panel for every scheme, at its largest budget, all on one scale; none where no site compares itself."""
    values = per_site(run)
    if values.empty:
        return []
    low, high = min(0.0, 100 * values["gain_auc"].min()), max(0.0, 100 * values["gain_auc"].max())
    room = 0.06 * max(1.0, high - low)
    made = []
    for number, ((scheme, budget), mine) in enumerate(values.groupby(["scheme", "budget"], sort=False)):
        title = " ".join(filter(None, (str(scheme), str(budget))))
        told = ", ".join(f"{line['site']} {100 * line['gain_auc']:+.1f}" for line in lines_of(mine))
        alt = f"Gain in AUC over the site's own networks with {title}, in points: {told}."
        limits = (low - room, high + room)
        made.append(_one(f"gain-{number}", title, alt, mine, found[str(scheme)], limits))
    return made


def per_site(run: Recorded) -> pd.DataFrame:
    """``scheme, budget`` in words, ``site, gain_auc`` (mean over seeds): of each scheme its largest budget."""
    frame = run.at_first_point(run.by_site)
    if "gain_auc" not in frame:
        return pd.DataFrame()
    frame = whole_pools(frame[frame["gain_auc"].notna()])
    for column in ("partition", "recipe", "model"):
        if len(frame):
            frame = frame[frame[column] == frame[column].iloc[0]]
    parts = []
    for scheme in dict.fromkeys(frame["scheme"]):
        mine = frame[frame["scheme"] == scheme]
        for column in ("ipc", "rounds"):
            if mine[column].notna().any():
                mine = mine[mine[column] == mine[column].max()]
        means = mine.groupby("site", sort=False)["gain_auc"].mean().reset_index()
        budget = budget_of({"ipc": mine["ipc"].iloc[0], "rounds": mine["rounds"].iloc[0]})
        parts.append(means.assign(scheme=scheme, budget=budget))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _one(name: str, title: str, alt: str, mine: pd.DataFrame, look: Look, limits: tuple[float, float]) -> Panel:
    named = len(mine) <= NAMED
    shown = mine if named else mine.sort_values("gain_auc", ascending=False)
    values = (100 * shown["gain_auc"]).tolist()

    def draw(axis: "Axes") -> None:
        axis.axvline(0, color=INK, linewidth=0.9)
        rows = range(len(values))
        axis.hlines(rows, 0, values, color=look.colour, linewidth=1.6 if named else 0.8)
        marks: dict[str, Any] = {"color": look.colour, "markerfacecolor": look.face, "markersize": 4.5 if named else 2}
        axis.plot(values, rows, look.marker, linestyle="none", **marks)
        horizontal(axis, shown["site"].tolist() if named else [], "points of AUC above its own networks")
        axis.set_ylim(len(values) - 0.4, -0.6)
        axis.set_xlim(*limits)

    return panel(name, title, alt, draw, height=row_height(len(values)) if named else 2.6)
