"""DD-Ranking's measures (Li et al., arXiv 2505.13300): how far below full data, how far above random images.

An accuracy depends on the data set and the recipe as much as on the images. Compared under one recipe with networks
trained on all data, and with networks trained on as many random images, it measures the value of distillation.

Soft labels raise random images as well. So the label-robust score takes hard labels to measure what the images have
kept of the data, and random images with soft labels to measure what the method gained beyond its labels.
"""

import math
from collections.abc import Mapping
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


WEIGHT = 0.5
"""Weight of the gain over random images in the label-robust score, against that of the gap to full data."""


def label_robust_score(full: float, hard: float, soft: float, random_soft: float) -> float:
    """Return DD-Ranking's label-robust score, 0 to 1; arguments are AUC or accuracy, 0 to 1.

    Args:
        full: of all data with hard labels.
        hard: of the method's images with hard labels.
        soft: of the same images with soft labels.
        random_soft: of as many random images with soft labels.

    >>> round(label_robust_score(0.9, 0.9, 0.8, 0.8), 4), round(label_robust_score(0.9, 0.7, 0.8, 0.7), 4)
    (0.2689, 0.2482)
    """
    alpha = WEIGHT * (soft - random_soft) - (1 - WEIGHT) * (full - hard)
    return (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))


def add_label_robust(frame: pd.DataFrame, pairs: Mapping[str, str]) -> pd.DataFrame:
    """Return the frame with ``METRIC_label_robust`` in the rows of schemes with soft labels, under the common recipe.

    Args:
        frame: of comparison.csv.
        pairs: the scheme with hard labels for each that has the same images with soft ones. Without one for ``random``
            there is nothing to hold a score against, and the frame is returned as it is.
    """
    random_soft = next((soft for soft, hard in pairs.items() if hard == "random"), None)
    if random_soft is None:
        return frame
    lines = frame.to_dict("records")
    known = {
        (line["partition"], line["model"], line["scheme"], _budget(line)): line
        for line in lines
        if line["recipe"] == "common" and (pd.isna(line["left_out"]) or line["left_out"] == "")
    }
    added: dict[str, list[float]] = {f"{metric}_label_robust": [] for metric in METRICS}
    for line in lines:
        where, ipc = (line["partition"], line["model"]), _budget(line)
        hard = known.get((*where, pairs.get(line["scheme"]), ipc))
        others = known.get((*where, "full", None)), hard, known.get((*where, random_soft, ipc))
        own = known.get((*where, line["scheme"], ipc)) is line
        for metric in METRICS:
            full, plain, opposite = (math.nan if each is None else each[metric] for each in others)
            score = label_robust_score(full, plain, line[metric], opposite) if own else math.nan
            added[f"{metric}_label_robust"].append(score)
    return frame.assign(**added)


def _budget(line: dict[Any, Any]) -> int | None:
    return None if pd.isna(line["ipc"]) else int(line["ipc"])
