"""communication.png: AUC and accuracy against the bytes that crossed the sites' boundaries, scheme by scheme."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedistill.core.files import write_atomic
from fedistill.report.figures.figure import COLOURS, MARKERS
from fedistill.report.figures.labels import LineLabel, PointLabel, write_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METRICS = {"auc": "AUC", "accuracy": "accuracy"}


def draw_communication(frame: pd.DataFrame, dataset: str, path: Path) -> None:
    """Draw what comparison.csv says of the first recipe, model and partition.

    Points of one scheme are joined, from its least bytes to its most; bars are the spread over networks and seeds
    together. What takes no byte is a dashed line, always naming the commonest class a dotted one. A line whose bytes or
    metric was not measured is not drawn.
    """
    from matplotlib.figure import Figure

    lines = _lines(frame)
    majority = frame[frame["scheme"] == "majority"]
    schemes = list(dict.fromkeys(lines.loc[lines["bytes"] > 0, "scheme"]))
    figure = Figure(figsize=(8.5, 3.6), layout="constrained", dpi=150)
    labels = []
    for axis, metric in zip(figure.subplots(1, 2), METRICS, strict=True):
        across = list(_draw_free(axis, lines, majority, metric))
        series = [_points(lines, scheme, metric) for scheme in schemes]
        points = [label for i, mine in enumerate(series) for label in _draw_points(axis, mine, schemes[i], i, metric)]
        labels.append((axis, points, across, [mine[["bytes", metric]].to_numpy() for mine in series]))
        _dress(axis, METRICS[metric], lines.loc[lines["bytes"] > 0, "bytes"].tolist())
    if schemes:
        rows = -(-len(schemes) // 7)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside lower center", ncols=-(-len(schemes) // rows), frameon=False, fontsize=8
        )
    figure.suptitle(f"{dataset}: what quality costs in communication", fontsize=11)
    figure.draw_without_rendering()  # where everything is, is known only now
    figure.set_layout_engine("none")
    for each in labels:
        write_labels(*each)
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))


def _lines(frame: pd.DataFrame) -> pd.DataFrame:
    """The lines to draw: ``scheme, ipc, rounds``, ``bytes`` in all, metrics and ``METRIC_spread`` in %."""
    lines = frame[frame["scheme"] != "majority"]
    for column in ("partition", "recipe", "model"):
        if len(lines):
            lines = lines[lines[column] == lines[column].iloc[0]]
    spreads = [f"{metric}_{kind}" for metric in METRICS for kind in ("within", "between")]
    numbers = ["ipc", "rounds", "bytes_up", "bytes_down", *METRICS, *spreads]
    lines = lines.reindex(columns=["scheme", *numbers]).astype(dict.fromkeys(numbers, "Float64"))
    lines = lines.astype(dict.fromkeys(numbers, "float64"))  # by way of Float64, which knows all kinds of blanks
    lines["bytes"] = lines["bytes_up"] + lines["bytes_down"]
    for metric in METRICS:
        lines[metric] *= 100
        squares = lines[[f"{metric}_within", f"{metric}_between"]].fillna(0) ** 2
        lines[f"{metric}_spread"] = 100 * squares.sum(axis=1) ** 0.5
    return lines[lines["bytes"].notna()]


def _points(lines: pd.DataFrame, scheme: str, metric: str) -> pd.DataFrame:
    """A scheme's lines that have a place, from its least bytes to its most."""
    mine = lines[(lines["scheme"] == scheme) & (lines["bytes"] > 0) & lines[metric].notna()]
    return mine.sort_values("bytes")


def _draw_points(axis: "Axes", mine: pd.DataFrame, scheme: str, number: int, metric: str) -> Iterator[PointLabel]:
    # The eighth scheme has the first one's colour, but a hollow marker of another form and a dashed line.
    colour, again = COLOURS[number % len(COLOURS)], number // len(COLOURS)
    axis.errorbar(
        mine["bytes"],
        mine[metric],
        mine[f"{metric}_spread"],
        fmt=MARKERS[(number + again) % len(MARKERS)] + ("--" if again else "-"),
        color=colour,
        markerfacecolor="white" if again else colour,
        markersize=5,
        linewidth=1,
        elinewidth=0.8,
        capsize=2,
        label=scheme,
    )
    for line in mine.to_dict("records"):
        yield PointLabel(budget_of(line) or scheme, colour, line["bytes"], line[metric], line[f"{metric}_spread"])


def _draw_free(axis: "Axes", lines: pd.DataFrame, majority: pd.DataFrame, metric: str) -> Iterator[LineLabel]:
    """What takes no bytes, as lines across."""
    for line in lines[(lines["bytes"] == 0) & lines[metric].notna()].to_dict("records"):
        axis.axhline(line[metric], color="#444", linestyle="--", linewidth=1)
        words = ", ".join(filter(None, (line["scheme"], budget_of(line))))
        yield LineLabel(f"{words}: no bytes", "#444", line[metric])
    for value in 100 * majority[metric].dropna().astype("float64"):
        axis.axhline(value, color="#999", linestyle=":", linewidth=1)
        yield LineLabel("always the commonest class", "#777", value)


def _dress(axis: "Axes", metric: str, sizes: Sequence[float]) -> None:
    """Axes' scales, ticks and words."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    narrow = len(sizes) > 0 and max(sizes) < 30 * min(sizes)  # too few powers of ten to read values from
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: round_size(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0.12, y=0.12)
    axis.set_xlabel("bytes to and from all sites", fontsize=9)
    axis.set_ylabel(f"{metric} on the test split, %", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", alpha=0.25)


def budget_of(line: Mapping[Any, Any]) -> str:
    """A line's budget in words.

    >>> [budget_of({"ipc": ipc, "rounds": rounds}) for ipc, rounds in ((10.0, None), (None, 1.0), (None, 5.0))]
    ['ipc 10', '1 round', '5 rounds']
    """
    if pd.notna(line["ipc"]):
        return f"ipc {line['ipc']:g}"
    if pd.notna(line["rounds"]):
        return f"{line['rounds']:g} round{'' if line['rounds'] == 1 else 's'}"
    return ""


def round_size(value: float) -> str:
    """Bytes that a tick of an axis stands for.

    >>> [round_size(v) for v in (10, 2e3, 1e5, 1e8)]
    ['10 B', '2 kB', '100 kB', '100 MB']
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g} B"
