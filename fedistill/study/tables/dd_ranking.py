"""DD-Ranking's two differences (Li et al., arXiv 2505.13300): how far below full data, how far above random images.

An accuracy depends on the data set and the recipe as much as on the images. Compared under one recipe with networks
trained on all data, and with networks trained on as many random images, it measures the value of distillation.
"""

from typing import Any

import pandas as pd

METRICS = ("auc", "accuracy")


def add_gains(frame: pd.DataFrame) -> pd.DataFrame:
    """Return comparison.csv's frame with ``METRIC_gap_to_full`` and ``METRIC_gain_over_random`` for AUC and accuracy.

    The gap is full minus the row's value; the gain is the row's value minus random's at the same ipc (schemes without a
    budget: at the largest). Both compare within the same partition and model under the common recipe. They are blank
    for other recipes, whose gain is not the images', for a row compared with itself, and for what was not run.

    >>> line = {"partition": 0, "model": "convnet", "recipe": "common", "rounds": None, "left_out": ""}
    >>> known = [("full", None, 0.9), ("random", 10, 0.7), ("dc", 10, 0.8)]
    >>> frame = pd.DataFrame([{**line, "scheme": s, "ipc": k, "auc": a, "accuracy": a} for s, k, a in known])
    >>> frame["ipc"] = frame["ipc"].astype("Int64")
    >>> add_gains(frame)[["auc_gap_to_full", "auc_gain_over_random"]].round(2).values.tolist()
    [[nan, 0.2], [0.2, nan], [0.1, 0.1]]
    """
    lines = frame.to_dict("records")
    of_scheme: dict[tuple[Any, ...], dict[Any, Any]] = {}
    for line in lines:
        whole = pd.isna(line["left_out"]) or line["left_out"] == ""
        if line["scheme"] in ("full", "random") and line["recipe"] == "common" and whole:
            of_scheme[(line["partition"], line["model"], line["scheme"], _budget(line))] = line
    budgets = [ipc for *_, scheme, ipc in of_scheme if scheme == "random"]
    opposites = []
    for line in lines:
        full: dict[Any, Any] = {}
        random: dict[Any, Any] = {}
        if line["recipe"] == "common":
            where, ipc = (line["partition"], line["model"]), _budget(line)
            full = of_scheme.get((*where, "full", None), {})
            random = of_scheme.get((*where, "random", max(budgets, default=None) if ipc is None else ipc), {})
        opposites.append((full if full is not line else {}, random if random is not line else {}))
    gains = {}
    for metric in METRICS:
        blank = float("nan")
        pairs = list(zip(lines, opposites, strict=True))
        gains[f"{metric}_gap_to_full"] = [full.get(metric, blank) - line[metric] for line, (full, _) in pairs]
        gains[f"{metric}_gain_over_random"] = [line[metric] - random.get(metric, blank) for line, (_, random) in pairs]
    return frame.assign(**gains)


def _budget(line: dict[Any, Any]) -> int | None:
    return None if pd.isna(line["ipc"]) else int(line["ipc"])
