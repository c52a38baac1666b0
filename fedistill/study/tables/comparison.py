"""The comparison: a row for each scheme and budget, with both spreads and a paired interval against `random`."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedistill.config import Simulation
from fedistill.config.scheme import scheme_named
from fedistill.core.seeds import rng
from fedistill.methods import labels_for
from fedistill.methods.registry import AXES
from fedistill.schemes.server.condition import Result
from fedistill.study.tables.dd_ranking import add_gains, add_label_robust
from fedistill.study.tables.intervals import (
    accuracy_replicates,
    auc_replicates,
    balanced_accuracy_replicates,
    difference,
    image_weights,
    interval,
)
from fedistill.training.metrics import METRICS, score

BASELINE = "random"

REPLICATES = {
    "auc": auc_replicates,
    "accuracy": accuracy_replicates,
    "balanced_accuracy": balanced_accuracy_replicates,
}
"""Metrics that have intervals."""

COSTS = (
    *("pool_ipc", "n_sites", "images_shared", "bytes_shared", "bytes_up", "bytes_down"),
    *("distill_seconds", "train_seconds"),
)
"""Columns of costs, which are averaged over networks."""

BUDGET = ("epsilon", "delta")
"""Columns of private schemes only: their budget."""

KEYS = ["partition", "recipe", "model", "scheme", "ipc", "rounds", "left_out"]


def comparison_table(
    simulation: Simulation,
    labels: np.ndarray,
    scored: Sequence[Result],
    rows: pd.DataFrame,
    by_site: pd.DataFrame,
) -> pd.DataFrame:
    """Return comparison.csv.

    For each (partition, recipe, model, scheme, ipc, rounds, left_out): every metric's mean over all networks,
    ``_within`` (standard deviation between networks of one seed, mean over seeds), ``_between`` (standard deviation of
    the seeds' means; blank with one seed), and for AUC, accuracy and balanced accuracy ``_low`` and ``_high``, the 95 %
    interval of the mean, and ``_vs_random_low`` and ``_high``, that of the difference to `random` at the same ipc
    (schemes without a budget: at the largest). Native recipes are compared with random's common one, strong ones with
    random's strong one. If each site has its own networks, values are means over sites, and ``auc_worst_site`` is the
    lowest site's.

    ``METRIC_gap_to_full`` and ``METRIC_gain_over_random``, and where schemes have soft labels
    ``METRIC_label_robust``: see `fedistill.study.tables.dd_ranking`.

    If sites score networks on held-out images: ``site_auc``, mean over sites; ``site_auc_worst``; ``site_gain`` and
    ``site_gain_worst``, the gain over each site's own local network; ``sites_gaining``, the number of sites that gain.

    The first row is ``majority``: always predicting the most frequent class of the test split.
    """
    lines = [_majority(labels)]
    for values, group in rows.groupby(KEYS, sort=False, dropna=False):
        line: dict[str, Any] = dict(zip(KEYS, values, strict=True))
        # If each site has its own network, the mean over sites counts as one network.
        over_sites = group.groupby(["seed", "network"])[list(METRICS)].mean(numeric_only=True)
        for metric in METRICS:
            by_seed = over_sites[metric].groupby("seed")
            line[metric] = group[metric].mean(skipna=False)  # a diverged network makes the mean NaN
            line[f"{metric}_within"] = by_seed.std(ddof=1).mean() if by_seed.size().min() > 1 else np.nan
            line[f"{metric}_between"] = by_seed.mean().std(ddof=1) if group["seed"].nunique() > 1 else np.nan
        if (group["site"] != "").any():
            line["auc_worst_site"] = group.groupby("site")["auc"].mean().min()
        for column in COSTS:
            line[column] = group[column].astype("float64").mean()
        for column in BUDGET:
            line[column] = group[column].iloc[0]  # all rows of a group have the same settings
        line["networks"], line["seeds"] = len(over_sites), group["seed"].nunique()
        lines.append(line | _at_sites(by_site, line))
    frame = pd.DataFrame(lines)
    for column in ("ipc", "rounds"):
        frame[column] = frame[column].astype("Int64")
    frame = add_gains(_with_intervals(frame, simulation, labels, scored))
    return add_label_robust(frame, hard_counterparts(simulation))


def hard_counterparts(simulation: Simulation) -> dict[str, str]:
    """Return for each scheme with soft labels the one that has the same images with hard labels, where there is one."""

    def images_of(scheme: str) -> tuple[Any, bool]:
        known, values = scheme_named(scheme), dict(simulation.settings(scheme))
        if known.method is None:
            return scheme, False
        soft = labels_for(known.method, values).soft
        plain = {name: value for name, value in values.items() if name not in AXES}
        return (known.method, known.one_place, json.dumps(plain, sort_keys=True)), soft

    images = {scheme: images_of(scheme) for scheme in simulation.scheme}
    hard = {each: scheme for scheme, (each, soft) in reversed(images.items()) if not soft}
    return {scheme: hard[each] for scheme, (each, soft) in images.items() if soft and each in hard}


def _at_sites(by_site: pd.DataFrame, line: dict[str, Any]) -> dict[str, Any]:
    """Return the statistics over sites of one row, from sites.csv."""
    if "test_auc" not in by_site:
        return {}
    own = by_site[by_site["test_auc"].notna()]
    for key in KEYS:
        own = own[own[key].isna() if pd.isna(line[key]) else own[key] == line[key]]
    if own.empty:
        return {}
    means = own.groupby("site")[["test_auc", "gain_auc"]].mean()
    gains = means["gain_auc"].dropna()
    return {
        "site_auc": means["test_auc"].mean(),
        "site_auc_worst": means["test_auc"].min(),
        "site_gain": gains.mean() if len(gains) else np.nan,
        "site_gain_worst": gains.min() if len(gains) else np.nan,
        "sites_gaining": int((gains > 0).sum()) if len(gains) else np.nan,
    }


def _majority(labels: np.ndarray) -> dict[str, Any]:
    if labels.ndim == 2:
        guess = np.tile((labels.mean(0) > 0.5).astype(np.float64), (len(labels), 1))
    else:
        guess = np.zeros((len(labels), int(labels.max()) + 1))
        guess[:, np.bincount(labels).argmax()] = 1
    return {"scheme": "majority", **score(labels, guess), "images_shared": 0.0, "bytes_shared": 0.0}


def _with_intervals(
    frame: pd.DataFrame, simulation: Simulation, labels: np.ndarray, scored: Sequence[Result]
) -> pd.DataFrame:
    weights = image_weights(len(labels), rng(simulation.seed, "test images"))
    of_sites: dict[str, dict[tuple[Any, ...], dict[int, list[np.ndarray]]]] = {metric: {} for metric in REPLICATES}
    for each in scored:
        condition = each.condition
        where = (
            condition.partition,
            condition.model,
            condition.recipe,
            condition.scheme,
            condition.ipc,
            condition.rounds,
            condition.left_out,
        )
        for metric, function in REPLICATES.items():
            values = np.stack([function(labels, p.astype(np.float64), weights) for p in each.probabilities])
            of_sites[metric].setdefault(where, {}).setdefault(condition.seed, []).append(values)
    lines: list[dict[str, float]] = [{} for _ in range(len(frame))]
    for metric, by_condition in of_sites.items():
        # If each site has its own network: the mean over sites, replicate by replicate.
        by_place = {
            where: {seed: np.mean(values, axis=0) for seed, values in seeds.items()}
            for where, seeds in by_condition.items()
        }
        for extra, line in zip(lines, frame.to_dict("records"), strict=True):
            extra |= _intervals_of(metric, line, by_place, simulation)
    return pd.concat([frame, pd.DataFrame(lines, index=frame.index)], axis=1)


def _intervals_of(
    metric: str,
    line: dict[Any, Any],
    by_place: dict[tuple[Any, ...], dict[int, np.ndarray]],
    simulation: Simulation,
) -> dict[str, float]:
    """Return the intervals of one row: of the mean, and, if `random` was run, of the difference to it."""
    ipc, rounds = (None if pd.isna(line[name]) else int(line[name]) for name in ("ipc", "rounds"))
    named = map(line.get, ("partition", "model", "recipe", "scheme"))
    place: tuple[Any, ...] = (*named, ipc, rounds, line.get("left_out"))
    like = "strong" if line.get("recipe") == "strong" else "common"
    opposite = (*place[:2], like, BASELINE, max(simulation.ipc) if ipc is None else ipc, None, "")
    own = against = float("nan"), float("nan")
    if place in by_place:
        own = interval(by_place[place], rng(simulation.seed, "interval of", metric, *map(str, place)))
        if opposite in by_place and place != opposite:
            generator = rng(simulation.seed, "interval", metric, *map(str, place))
            against = difference(by_place[place], by_place[opposite], generator)
    ends = {f"{metric}_low": own[0], f"{metric}_high": own[1]}
    if BASELINE in simulation.scheme:
        ends |= {f"{metric}_vs_random_low": against[0], f"{metric}_vs_random_high": against[1]}
    return ends
