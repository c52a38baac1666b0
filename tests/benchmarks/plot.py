"""AUC against seconds, plain's curve and FeDistill's end, as a PNG."""

from pathlib import Path
from typing import Any

from benchmarks.compare import MARGIN
from fedistill.files import write_atomic

PLAIN, OURS = "#0072B2", "#D55E00"  # of Okabe and Ito's colours, which the colour-blind can tell apart


def draw(title: str, found: dict[str, Any], path: Path) -> None:
    """Draw one budget's comparison as `quality` found it: thin lines are seeds, the thick one their mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained", dpi=150)
    axis = figure.subplots()
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
    axis.set_xlabel("seconds of processor time, which other work on the machine does not lengthen")
    axis.set_ylabel("AUC on the test split, %")
    axis.set_title(title, fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, loc="lower right", fontsize=9)
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))
