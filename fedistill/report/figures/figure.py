"""comparison.png: every scheme's AUC and accuracy, budget by budget, with the spread over networks and seeds."""

from pathlib import Path

import pandas as pd

from fedistill.core.files import write_atomic

# Okabe and Ito's colours, which the colour-blind can tell apart; schemes take them in the order of the table.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WITHOUT_BUDGET = {"full": "all images shared", "local": "nothing shared"}
MARKERS = ("o", "s", "D", "^", "v", "P", "X")


def draw_comparison(frame: pd.DataFrame, dataset: str, path: Path) -> None:
    """Draw what comparison.csv says for the common recipe and the first model and partition."""
    from matplotlib.figure import Figure

    lines = frame[frame["scheme"] != "majority"]
    lines = lines[lines["left_out"].astype("object").fillna("") == ""]
    for column in ("partition", "recipe", "model"):
        lines = lines[lines[column] == lines[column].iloc[0]]
    majority = frame[frame["scheme"] == "majority"].iloc[0]
    budgets = sorted(lines["ipc"].dropna().unique())
    figure = Figure(figsize=(8.5, 3.6), layout="constrained", dpi=150)
    axes = figure.subplots(1, 2)
    for axis, metric, label in zip(axes, ("auc", "accuracy"), ("AUC", "accuracy"), strict=True):
        schemes = list(dict.fromkeys(lines.loc[lines["ipc"].notna(), "scheme"]))
        for i, scheme in enumerate(schemes):
            mine = lines[lines["scheme"] == scheme]
            spread = (mine[f"{metric}_within"].fillna(0) ** 2 + mine[f"{metric}_between"].fillna(0) ** 2) ** 0.5
            offset = (i - (len(schemes) - 1) / 2) * 0.12
            places = [budgets.index(b) + offset for b in mine["ipc"]]
            axis.errorbar(
                places,
                100 * mine[metric],
                100 * spread,
                fmt=MARKERS[i % len(MARKERS)],
                color=COLOURS[i % len(COLOURS)],
                capsize=3,
                label=scheme,
            )
        # Weights have a figure of their own, against bytes.
        for _, whole in lines[lines["scheme"].isin(tuple(WITHOUT_BUDGET))].iterrows():
            axis.axhline(100 * whole[metric], color="#444", linestyle="--", linewidth=1.2)
            axis.annotate(
                f"{whole['scheme']}: {WITHOUT_BUDGET[whole['scheme']]}", (0.01, 100 * whole[metric]), (0, 3),
                xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8, color="#444",
            )  # fmt: skip
        axis.axhline(100 * majority[metric], color="#999", linestyle=":", linewidth=1.2)
        axis.annotate(
            "always the commonest class", (0.01, 100 * majority[metric]), (0, 3),
            xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8, color="#777",
        )  # fmt: skip
        axis.set_xticks(range(len(budgets)), [f"{b:g}" for b in budgets])
        axis.set_xlim(-0.6, len(budgets) - 0.4)
        axis.set_xlabel("images per class that each hospital shares")
        axis.set_ylabel(f"{label} on the test split, %")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.25)
    if budgets:
        axes[0].legend(frameon=False, loc="best", fontsize=9)
    figure.suptitle(f"{dataset}: global networks trained on what the hospitals share", fontsize=11)
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))
