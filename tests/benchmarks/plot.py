"""AUC against seconds, plain's curve and FeDistill's end, as a PNG: a panel for each image set and budget."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.compare import MARGIN
from benchmarks.tables import listed
from fedistill.core.files import write_atomic

PLAIN, OURS = "#0072B2", "#D55E00"  # of Okabe and Ito's colours, which the colour-blind can tell apart
WIDEST = 2  # panels side by side: more of them cannot be read on a page


def draw(quality: dict[str, Any], path: Path) -> None:
    """Draw what `quality` found, by source as in the results."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    found = list(_panels(quality))
    columns = min(len(found), WIDEST)
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(7.5 if columns == 1 else 5.5 * columns, 4.2 * rows), layout="constrained", dpi=150)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for (title, panel), axis in zip(found, axes, strict=False):
        _panel(axis, title, panel)
    for empty in axes[len(found) :]:
        empty.set_visible(False)
    figure.supxlabel("seconds of processor time", fontsize=10)
    figure.supylabel("AUC on the test split, %", fontsize=10)
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))


def _panels(quality: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for source, part in quality.items():
        for ipc, found in part["found"].items():
            yield f"{source}, DC, {ipc} image{'s' * (ipc != '1')} per class, width {listed(found['width'])}", found


def _panel(axis: Any, title: str, found: dict[str, Any]) -> None:
    """Thin lines are seeds, the thick one their mean."""
    from matplotlib.ticker import LogFormatter

    marks, ours = found["plain"], found["FeDistill"]
    for s in range(len(found["seeds"])):
        spent = [mark["samples"]["cpu"][s] for mark in marks]
        each = [100 * sum(mark["samples"]["auc"][s]) / len(mark["samples"]["auc"][s]) for mark in marks]
        axis.plot(spent, each, color=PLAIN, linewidth=0.7, alpha=0.4)
        scores = [100 * value for value in ours["samples"]["auc"][s]]
        axis.plot([ours["samples"]["cpu"][s]] * len(scores), scores, ".", color=OURS, markersize=4, alpha=0.35)
    axis.plot(
        [mark["cpu"] for mark in marks], [100 * mark["auc"] for mark in marks], "o-", color=PLAIN, markersize=4,
        label="plain loop, published schedule" + ("" if found["whole schedule"] else ", cut"),
    )  # fmt: skip
    axis.plot(
        [ours["cpu"]], [100 * ours["auc"]], "D", color=OURS, markersize=8,
        label="FeDistill, whole run (dots: networks)",
    )  # fmt: skip
    least = 100 * (marks[-1]["auc"] - MARGIN)
    axis.axhline(least, color="#777", linestyle=":", linewidth=1.2)
    axis.annotate(
        "plain's end less 2 points", (0.99, least), (0, -10), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", fontsize=8, color="#777",
    )  # fmt: skip
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.5)))  # labels only where a decade is not full
    axis.set_title(title, fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.legend(framealpha=0.8, edgecolor="none", loc="best", fontsize=9)
