"""sweep.png: how AUC and accuracy of every scheme and budget change from point to point of a sweep."""

from pathlib import Path

import pandas as pd

from fedistill.core.files import write_atomic
from fedistill.report.figures.figure import COLOURS, MARKERS
from fedistill.report.terminal.table import swept, whole_pools, word

STYLES = ("-", "--", ":", "-.")


def draw_sweep(frame: pd.DataFrame, dataset: str, path: Path) -> None:
    """Draw what comparison.csv says of the common recipe and the first model: a line a scheme and budget, mean over
    partitions; bars are the standard deviation between partitions, where there are several.
    """
    from matplotlib.figure import Figure

    lines = means(frame)
    points = list(dict.fromkeys(lines["point"]))
    figure = Figure(figsize=(8.5, 4.2), layout="constrained", dpi=150)
    axes = figure.subplots(1, 2)
    schemes = list(dict.fromkeys(lines["scheme"]))
    for axis, metric, label in zip(axes, ("auc", "accuracy"), ("AUC", "accuracy"), strict=True):
        for i, scheme in enumerate(schemes):
            budgets = lines[lines["scheme"] == scheme].groupby("budget", sort=False)
            for k, (budget, mine) in enumerate(budgets):
                axis.errorbar(
                    [points.index(point) for point in mine["point"]],
                    100 * mine[metric],
                    100 * mine[f"{metric}_spread"],
                    fmt=MARKERS[i % len(MARKERS)] + STYLES[k % len(STYLES)],
                    color=COLOURS[i % len(COLOURS)],
                    markersize=5,
                    linewidth=1.2,
                    capsize=2,
                    label=f"{scheme} {budget}".strip(),
                )
        long = sum(map(len, points)) > 40
        axis.set_xticks(range(len(points)), points, rotation=30 if long else 0, ha="right" if long else "center")
        axis.tick_params(labelsize=8)
        axis.set_xlabel(", ".join(swept(frame)), fontsize=9)
        axis.set_ylabel(f"{label} on the test split, %", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(6, len(names)), frameon=False, fontsize=8)
    figure.suptitle(f"{dataset}: over the points of the sweep", fontsize=11)
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """A line a point, scheme and budget, in the table's order: ``point, scheme, budget``, and of each metric the mean
    over partitions and their standard deviation (``METRIC_spread``; 0 with one).
    """
    columns = swept(frame)
    lines = whole_pools(frame[frame["scheme"] != "majority"])
    for column in ("recipe", "model"):
        lines = lines[lines[column] == lines[column].iloc[0]]
    lines = lines.assign(
        point=[", ".join(map(word, values)) for values in lines[columns].itertuples(index=False)],
        budget=[_budget(ipc, rounds) for ipc, rounds in zip(lines["ipc"], lines["rounds"], strict=True)],
    )
    groups = lines.groupby(["point", "scheme", "budget"], sort=False)
    found = groups[["auc", "accuracy"]].mean()
    spread = groups[["auc", "accuracy"]].std(ddof=1).fillna(0).add_suffix("_spread")
    return found.join(spread).reset_index()


def _budget(ipc: float, rounds: float) -> str:
    if not pd.isna(ipc):
        return f"ipc {ipc:g}"
    return "" if pd.isna(rounds) else f"{rounds:g} rounds"
