"""A sweep's figure: every point a row, every scheme a mark; phantoms and real images in figures of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from fedistill.config import Federation
from fedistill.data import parse_source
from fedistill.report.figures.panels import METRICS, Looks, horizontal, legend, row_height
from fedistill.report.figures.style import Look
from fedistill.report.figures.svg import Panel, panel
from fedistill.report.figures.sweep import means
from fedistill.report.html.render import MARK
from fedistill.report.run_data import Recorded
from fedistill.report.terminal.table import lines_of, swept, word

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 22
"""Letters of a point's words that have room beside a figure; longer ones are numbered."""


@dataclass(frozen=True)
class Part:
    """A figure: its panels, what is said of it, and who is in it; ``mark``: what stands before that."""

    panels: Sequence[Panel]
    caption: str
    legend: Sequence[tuple[str, Look]] = ()
    mark: str = ""


def over_points(run: Recorded, found: Looks) -> list[Part]:
    """The figures of a sweep: one, or one for phantoms and one for real images; none where nothing is swept."""
    if not swept(run.compared):
        return []
    frame = means(run.compared)
    phantoms = phantom_points(run)
    parts = []
    for phantom in (False, True):
        points = [point for point in dict.fromkeys(frame["point"]) if phantoms[point] == phantom]
        if points:
            mine = frame[frame["point"].isin(points)]
            parts.append(_part(mine, points, found, phantom))
    return parts


def phantom_points(run: Recorded) -> dict[str, bool]:
    """By a point's words, whether its images are drawn."""
    names = [", ".join(word(value) for value in values.values()) for values in run.plan.columns()]
    kinds = [drawn(point.simulation.federation) for point in run.plan.points]
    return dict(zip(names, kinds, strict=True))


def drawn(federation: Federation) -> bool:
    """Whether any of its images are phantoms."""
    return any(parse_source(name).drawn for name in federation.datasets())


def _part(frame: pd.DataFrame, points: Sequence[str], found: Looks, phantom: bool) -> Part:
    largest = frame.drop_duplicates(["point", "scheme"], keep="last")
    numbered = max(map(len, points)) > LONGEST
    rows = [str(number) for number in range(1, len(points) + 1)] if numbered else list(points)
    name = f"sweep-{'phantom' if phantom else 'real'}"
    made = [
        _panel(f"{name}-{metric}".replace("_", "-"), title, metric, largest, points, rows, found)
        for metric, title in METRICS.items()
        if metric in largest
    ]
    caption = "Every point of the sweep, each scheme at its largest budget. Bars: standard deviation over redraws."
    if numbered:
        caption += " Points: " + "; ".join(f"{row}: {point}" for row, point in zip(rows, points, strict=True)) + "."
    return Part(made, caption, legend(found, largest["scheme"]), MARK if phantom else "")


def _panel(
    name: str,
    title: str,
    metric: str,
    largest: pd.DataFrame,
    points: Sequence[str],
    rows: Sequence[str],
    found: Mapping[str, Look],
) -> Panel:
    schemes = list(dict.fromkeys(largest["scheme"]))

    def draw(axis: "Axes") -> None:
        for number, scheme in enumerate(schemes):
            look = found[scheme]
            mine = largest[largest["scheme"] == scheme]
            offset = (number - (len(schemes) - 1) / 2) * min(0.16, 0.7 / len(schemes))
            axis.errorbar(
                100 * mine[metric],
                [points.index(point) + offset for point in mine["point"]],
                xerr=100 * mine[f"{metric}_spread"],
                fmt=look.marker,
                color=look.colour,
                markerfacecolor=look.face,
                markersize=4.5,
                elinewidth=1,
            )
        horizontal(axis, rows, f"{title}, %")

    told = "; ".join(f"{line['point']}: {line['scheme']} {100 * line[metric]:.1f} %" for line in lines_of(largest))
    height = row_height(len(points)) + 0.08 * len(points) * len(schemes)
    return panel(name, title, f"{title} at every point of the sweep. {told}.", draw, height=height)
