"""A sweep: every point a row, every scheme a mark at its largest budget."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedistill.report.figures.palette import Looks, legend
from fedistill.report.figures.panel import Chart, Panel, row_height, set_rows
from fedistill.report.figures.quality import draw_mark
from fedistill.report.format import word
from fedistill.report.frames import METRICS, at_largest, lines_of, sweep_means, swept

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 22
"""Letters of a point's words that have room beside a figure; longer ones are numbered."""


def over_points(compared: pd.DataFrame, points: Sequence[tuple[str, ...]], known: Looks, *, name: str) -> Chart:
    """Return a figure of some points of a sweep: a panel a metric, mean over redraws of who holds what.

    Args:
        compared: comparison.csv of a sweep.
        points: the words of their settings, in the order of its columns.
        known: each scheme's look.
        name: what the panels' names begin with.
    """
    columns = swept(compared)
    means = sweep_means(compared)
    words_of: Any = [tuple(map(word, values)) for values in means[columns].itertuples(index=False)]
    means = means.assign(point=words_of)
    means = means[means["point"].isin(points)]
    largest = pd.concat([at_largest(own) for _, own in means.groupby("point", sort=False)] or [means])
    words = [", ".join(point) for point in points]
    numbered = max(map(len, words), default=0) > LONGEST
    rows = [str(number) for number in range(1, len(points) + 1)] if numbered else words
    schemes = list(dict.fromkeys(largest["scheme"]))
    caption = "Every point of the sweep, each scheme at its largest budget. Bars: standard deviation over redraws."
    if numbered:
        caption += " Points: " + "; ".join(f"{row}: {each}" for row, each in zip(rows, words, strict=True)) + "."

    def draw(axis: "Axes", metric: str, title: str) -> None:
        apart = min(0.16, 0.7 / len(schemes))
        for number, scheme in enumerate(schemes):
            own = largest[largest["scheme"] == scheme]
            places = [points.index(point) + apart * (number - (len(schemes) - 1) / 2) for point in own["point"]]
            draw_mark(axis, 100 * own[metric], places, known[scheme], xerr=100 * own[f"{metric}_spread"])
        set_rows(axis, rows, f"{title}, %")

    panels = []
    for metric, title in METRICS.items():
        if metric in largest:
            values = "; ".join(
                f"{', '.join(line['point'])}: {line['scheme']} {100 * line[metric]:.1f} %" for line in lines_of(largest)
            )
            alt = f"{title} at every point of the sweep. {values}."
            height = row_height(len(points)) + 0.08 * len(points) * len(schemes)
            draw_it = partial(draw, metric=metric, title=title)
            panels.append(Panel(f"{name}-{metric}".replace("_", "-"), title, alt, draw_it, height))
    return Chart(panels, caption, legend(known, schemes))
