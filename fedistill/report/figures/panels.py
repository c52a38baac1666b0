"""What a run's figures show: quality against images per class, against bytes, and against random images."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedistill.report.figures.communication import budget_of, round_size
from fedistill.report.figures.labels import LineLabel, PointLabel
from fedistill.report.figures.style import Look
from fedistill.report.figures.svg import INK, MUTED, RULE, Labels, Panel, panel
from fedistill.report.run_data import Recorded
from fedistill.report.terminal.table import lines_of, size_of, why_blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = {"auc": "AUC", "balanced_accuracy": "Balanced accuracy", "accuracy": "Accuracy"}

LINES = {"full": ("all images shared", "--"), "local": ("each site alone", "-.")}
"""Schemes without a budget that stand as a line across."""

COMMONEST = "always the commonest class"

Looks = Mapping[str, Look]


def in_percent(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of comparison.csv with metrics and ``METRIC_spread`` in %: standard deviation, within and between seeds
    together; and ``bytes``, both ways.
    """
    numbers = [*METRICS, *(f"{m}_{kind}" for m in METRICS for kind in ("within", "between")), "bytes_up", "bytes_down"]
    made = lines.reindex(columns=list(dict.fromkeys([*lines.columns, *numbers]))).astype(dict.fromkeys(numbers, float))
    for metric in METRICS:
        squares = made[[f"{metric}_within", f"{metric}_between"]].fillna(0) ** 2
        made[f"{metric}_spread"] = 100 * squares.sum(axis=1) ** 0.5
        made[metric] *= 100
    return made.assign(bytes=made["bytes_up"] + made["bytes_down"])


def by_ipc(run: Recorded, found: Looks, *, name: str = "ipc") -> list[Panel]:
    """A panel a metric; none where no scheme has images per class."""
    lines = in_percent(run.shown)
    budgets = sorted(lines["ipc"].dropna().unique())
    several = [s for s in dict.fromkeys(lines["scheme"]) if (lines.loc[lines["scheme"] == s, "ipc"].notna()).any()]
    if not budgets:
        return []

    def draw(axis: "Axes", metric: str) -> Labels:
        drawn: list[np.ndarray] = []
        for number, scheme in enumerate(several):
            mine, look = lines[lines["scheme"] == scheme], found[scheme]
            offset = (number - (len(several) - 1) / 2) * min(0.14, 0.7 / len(several))
            places = [budgets.index(ipc) + offset for ipc in mine["ipc"]]
            drawn += _bars(places, mine, metric)
            axis.plot(places, mine[metric], look.line, color=look.colour, linewidth=0.8, alpha=0.45)
            _points(axis, places, mine, metric, look, line="")
        across = _across(axis, lines[lines["scheme"].isin(LINES)], run.majority, metric)
        axis.set_xticks(range(len(budgets)), [f"{ipc:g}" for ipc in budgets])
        axis.set_xlim(-0.6, len(budgets) - 0.4)
        axis.set_xlabel("images per class that each site shares")
        axis.margins(y=0.1)
        return Labels(lines=across, curves=drawn)

    return [
        panel(
            f"{name}-{metric}",
            f"{title}, %",
            f"{title} on the test split against images per class: {_told(lines, metric)}.",
            lambda axis, metric=metric: draw(axis, metric),  # type: ignore[misc]
        )
        for metric, title in METRICS.items()
    ]


def by_bytes(run: Recorded, found: Looks, *, name: str = "bytes") -> list[Panel]:
    """A panel a metric, logarithmic; none where nothing was counted."""
    lines = in_percent(run.shown)
    lines = lines[lines["bytes"].notna()]
    paid = lines[lines["bytes"] > 0]
    if paid.empty:
        return []

    def draw(axis: "Axes", metric: str) -> Labels:
        labels, curves = [], []
        for scheme in dict.fromkeys(paid["scheme"]):
            mine, look = paid[paid["scheme"] == scheme].sort_values("bytes"), found[scheme]
            mine = mine[mine[metric].notna()]
            _points(axis, mine["bytes"], mine, metric, look, line=look.line)
            curves.append(mine[["bytes", metric]].to_numpy(float))
            for line in lines_of(mine):
                words = budget_of(line) or scheme
                labels.append(PointLabel(words, look.colour, line["bytes"], line[metric], line[f"{metric}_spread"]))
        free = lines[(lines["bytes"] == 0) & lines[metric].notna()]
        across = _across(axis, free, run.majority, metric)
        scale(axis, paid["bytes"].tolist())
        axis.set_xlabel("bytes to and from all sites")
        axis.margins(x=0.14, y=0.14)
        return Labels(labels, across, curves)

    return [
        panel(
            f"{name}-{metric}",
            f"{title}, %",
            f"{title} on the test split against bytes: {_told(paid, metric, sizes=True)}.",
            lambda axis, metric=metric: draw(axis, metric),  # type: ignore[misc]
            height=2.6,
        )
        for metric, title in METRICS.items()
    ]


def over_random(run: Recorded, found: Looks, *, name: str = "difference") -> list[Panel]:
    """The 95 % interval of every scheme's difference in AUC to random images, in points; none where none is known."""
    lines = run.shown
    if "auc_vs_random_low" not in lines:
        return []
    lines = lines[lines["auc_vs_random_low"].notna()]
    if lines.empty:
        return []
    low, high = (100 * lines[f"auc_vs_random_{end}"].to_numpy(float) for end in ("low", "high"))
    middle = 100 * _gain(run, lines)
    names = [" ".join(filter(None, (line["scheme"], budget_of(line)))) for line in lines_of(lines)]

    def draw(axis: "Axes") -> None:
        rows = np.arange(len(lines))
        axis.axvline(0, color=INK, linewidth=0.9)
        for row, scheme in zip(rows, lines["scheme"], strict=True):
            look = found[scheme]
            axis.plot([low[row], high[row]], [row, row], color=look.colour, linewidth=2.2, solid_capstyle="round")
            axis.plot([middle[row]], [row], look.marker, color=look.colour, markerfacecolor=look.face, markersize=4.5)
        horizontal(axis, names, "points of AUC above random images")

    told = [f"{who} {a:+.1f} to {b:+.1f}" for who, a, b in zip(names, low, high, strict=True)]
    alt = f"95 % intervals of the difference in AUC to random images, in points: {'; '.join(told)}."
    return [panel(name, "Difference to random images", alt, draw, height=row_height(len(names)))]


def _gain(run: Recorded, lines: pd.DataFrame) -> np.ndarray:
    """AUC less that of random images at the same ipc, or the largest one."""
    randoms = run.shown[run.shown["scheme"] == "random"].set_index("ipc")["auc"].astype(float)
    opposite = lines["ipc"].fillna(randoms.index.max()).map(randoms)
    return lines["auc"].to_numpy(float) - opposite.to_numpy(float)


def horizontal(axis: "Axes", names: Sequence[str], label: str) -> None:
    """Rows with names at the left, from the top, and values along x."""
    axis.set_yticks(range(len(names)), [shortened(name) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", labelcolor=INK)
    axis.grid(visible=True, axis="x")
    axis.grid(visible=False, axis="y")
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(axis="x", size=0)
    axis.set_xlabel(label)


def row_height(rows: int) -> float:
    """Inches of a figure of rows."""
    return 0.62 + 0.2 * rows


def shortened(name: str, letters: int = 22) -> str:
    """
    >>> shortened("St Mary"), shortened("a very long name of a hospital")
    ('St Mary', 'a very long name of a…')
    """
    return name if len(name) <= letters else f"{name[: letters - 1].rstrip()}…"


def scale(axis: "Axes", sizes: Sequence[float]) -> None:
    """A logarithmic axis of bytes."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    narrow = len(sizes) > 0 and max(sizes) < 30 * min(sizes)  # too few powers of ten to read values from
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=6))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: round_size(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(axis="x", which="minor", size=0)


def _points(axis: "Axes", places: Any, mine: pd.DataFrame, metric: str, look: Look, *, line: str) -> None:
    axis.errorbar(
        places,
        mine[metric],
        mine[f"{metric}_spread"],
        fmt=look.marker + line,
        color=look.colour,
        markerfacecolor=look.face,
        markersize=4.5,
        linewidth=1,
        elinewidth=1,
    )


def _bars(places: Iterable[float], mine: pd.DataFrame, metric: str) -> list[np.ndarray]:
    """Where bars are, and a line through their middles: what words should not cover."""
    x = np.array(list(places), float)
    y, spread = mine[metric].to_numpy(float), mine[f"{metric}_spread"].to_numpy(float)
    known = np.isfinite(y)
    x, y, spread = x[known], y[known], spread[known]
    bars = [np.array([[at, low], [at, high]]) for at, low, high in zip(x, y - spread, y + spread, strict=True)]
    return [*bars, np.stack([x, y], 1)]


def _across(axis: "Axes", lines: pd.DataFrame, majority: Mapping[Any, Any], metric: str) -> list[LineLabel]:
    """Lines across the axes, for what has no place along it; their words."""
    labels = []
    for line in lines_of(lines[lines[metric].notna()]):
        words, dashes = LINES.get(line["scheme"], (line["scheme"], "-."))
        axis.axhline(line[metric], color=INK, linestyle=dashes, linewidth=0.9)
        labels.append(LineLabel(" ".join(filter(None, (words, budget_of(line)))), INK, line[metric]))
    value = 100 * float(majority.get(metric, float("nan")))
    if np.isfinite(value):
        axis.axhline(value, color=MUTED, linestyle=":", linewidth=0.9)
        labels.append(LineLabel(COMMONEST, MUTED, value))
    axis.spines["bottom"].set_color(RULE)
    return labels


def _told(lines: pd.DataFrame, metric: str, *, sizes: bool = False) -> str:
    """The values of a panel in words."""
    parts = []
    for scheme in dict.fromkeys(lines["scheme"]):
        values = [_value(line, metric, sizes) for line in lines_of(lines[lines["scheme"] == scheme])]
        parts.append(f"{scheme} {', '.join(values)}")
    return "; ".join(parts)


def _value(line: Mapping[str, Any], metric: str, sizes: bool) -> str:
    text = why_blank(line, metric) if pd.isna(line[metric]) else f"{line[metric]:.1f} %"
    if budget_of(line):
        text += f" at {budget_of(line)}"
    return f"{text} ({size_of(line['bytes'])})" if sizes else text


def legend(found: Looks, schemes: Iterable[str]) -> list[tuple[str, Look]]:
    """Who is in a figure, each once, in the table's order."""
    return [(scheme, found[scheme]) for scheme in found if scheme in set(schemes)]
