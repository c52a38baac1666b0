"""The comparison: one line a scheme and budget, with both spreads and a paired interval against random subsets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedistill.plan import Simulation
from fedistill.seeds import rng
from fedistill.study.intervals import accuracy_replicates, auc_replicates, difference, image_weights
from fedistill.study.rows import Scored
from fedistill.training.metrics import METRICS, score

BASELINE = "random"


def comparison(
    simulation: Simulation, labels: np.ndarray, scored: Sequence[Scored], rows: pd.DataFrame
) -> pd.DataFrame:
    """comparison.csv.

    For each (partition, recipe, model, scheme, ipc): every metric's mean over all networks, ``_within`` (standard
    deviation between networks of one seed, mean over seeds), ``_between`` (standard deviation of the seeds' means;
    blank with one seed), and for AUC and accuracy ``_vs_random_low`` and ``_high``, the 95 % interval of the difference
    to `random` at the same ipc (schemes without a budget: at the largest). Native recipes are held against random's
    common one.

    The first line is ``majority``: whoever always names the test split's commonest class.
    """
    keys = ["partition", "recipe", "model", "scheme", "ipc"]
    lines = [_majority(labels)]
    for values, group in rows.groupby(keys, sort=False, dropna=False):
        line: dict[str, Any] = dict(zip(keys, values, strict=True))
        for metric in METRICS:
            by_seed = group.groupby("seed")[metric]
            line[metric] = group[metric].mean(skipna=False)  # one network that diverged is not passed over
            line[f"{metric}_within"] = by_seed.std(ddof=1).mean() if by_seed.size().min() > 1 else np.nan
            line[f"{metric}_between"] = by_seed.mean().std(ddof=1) if group["seed"].nunique() > 1 else np.nan
        for column in ("pool_ipc", "n_sites", "images_shared", "bytes_shared", "distill_seconds", "train_seconds"):
            line[column] = group[column].mean()
        line["networks"], line["seeds"] = len(group), group["seed"].nunique()
        lines.append(line)
    frame = pd.DataFrame(lines)
    frame["ipc"] = frame["ipc"].astype("Int64")
    return _with_intervals(frame, simulation, labels, scored)


def _majority(labels: np.ndarray) -> dict[str, Any]:
    if labels.ndim == 2:
        guess = np.tile((labels.mean(0) > 0.5).astype(np.float64), (len(labels), 1))
    else:
        guess = np.zeros((len(labels), int(labels.max()) + 1))
        guess[:, np.bincount(labels).argmax()] = 1
    return {"scheme": "majority", **score(labels, guess), "images_shared": 0.0, "bytes_shared": 0.0}


def _with_intervals(
    frame: pd.DataFrame, simulation: Simulation, labels: np.ndarray, scored: Sequence[Scored]
) -> pd.DataFrame:
    if BASELINE not in simulation.scheme:
        return frame
    weights = image_weights(len(labels), rng(simulation.seed, "test images"))
    replicates = {"auc": auc_replicates, "accuracy": accuracy_replicates}
    measured: dict[str, dict[tuple[Any, ...], dict[int, np.ndarray]]] = {metric: {} for metric in replicates}
    for each in scored:
        arm = each.arm
        where: tuple[Any, ...] = (arm.partition, arm.model, arm.recipe, arm.scheme, arm.ipc)
        for metric, function in replicates.items():
            values = np.stack([function(labels, p.astype(np.float64), weights) for p in each.probabilities])
            measured[metric].setdefault(where, {})[arm.seed] = values
    for metric, by_place in measured.items():
        lows, highs = [], []
        for line in frame.to_dict("records"):
            ipc = None if pd.isna(line["ipc"]) else int(line["ipc"])
            place: tuple[Any, ...] = (*map(line.get, ("partition", "model", "recipe", "scheme")), ipc)
            opposite = (*place[:2], "common", BASELINE, max(simulation.ipc) if ipc is None else ipc)
            low = high = float("nan")
            if place in by_place and opposite in by_place and place != opposite:
                generator = rng(simulation.seed, "interval", metric, *map(str, place))
                low, high = difference(by_place[place], by_place[opposite], generator)
            lows.append(low)
            highs.append(high)
        frame[f"{metric}_vs_random_low"], frame[f"{metric}_vs_random_high"] = lows, highs
    return frame
