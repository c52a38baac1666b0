"""Lines of a run's tables: which belong together, which a figure shows, and their numbers in percent."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

METRICS = {"auc": "AUC", "balanced_accuracy": "Balanced accuracy", "accuracy": "Accuracy"}
"""Metrics of quality: columns, and what they are called."""

WITHIN_POINT = ("partition", "recipe", "model")
"""Columns in which several lines of one scheme and budget at one point of a sweep may differ."""


def lines_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows by column name."""
    return [{str(k): v for k, v in line.items()} for line in frame.to_dict("records")]


def swept(compared: pd.DataFrame) -> list[str]:
    """Return a comparison's columns of swept settings: those that stand before the scheme."""
    return list(compared.columns[: compared.columns.get_loc("scheme")])


def differing(compared: pd.DataFrame) -> list[str]:
    """Return which of the swept settings, partition, recipe and model tell lines apart."""
    return [c for c in (*swept(compared), *WITHIN_POINT) if len(compared[c].dropna().unique()) > 1]


def whole_pools(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the lines no site was left out of."""
    return frame[frame["left_out"].isna() | (frame["left_out"] == "")]


def schemes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a comparison's lines without that of who always names the commonest class."""
    return frame[frame["scheme"] != "majority"]


def first_point(compared: pd.DataFrame) -> pd.DataFrame:
    """Return a comparison's lines of a sweep's first point, and the first of those that belong to no point."""
    columns = swept(compared)
    if not columns:
        return compared
    return pd.concat([compared[compared["scheme"] == "majority"].iloc[:1], first_of(schemes(compared), columns)])


def first_of(frame: pd.DataFrame, columns: Sequence[str] = WITHIN_POINT) -> pd.DataFrame:
    """Return the lines that have in these columns what the first line has: what figures show of several."""
    for column in columns:
        if len(frame):
            frame = frame[frame[column] == frame[column].iloc[0]]
    return frame


def at_largest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return of each scheme the lines at its most images per class, or rounds."""
    for column in ("ipc", "rounds"):
        most = frame.groupby("scheme", sort=False)[column].transform("max")
        frame = frame[most.isna() | (frame[column] == most)]
    return frame


def in_percent(lines: pd.DataFrame) -> pd.DataFrame:
    """Return lines of comparison.csv with metrics in %, their spread, and bytes both ways.

    ``METRIC_spread`` is the standard deviation in %, within and between seeds together; ``bytes`` the sum of both ways.
    """
    numbers = [*METRICS, *(f"{m}_{kind}" for m in METRICS for kind in ("within", "between")), "bytes_up", "bytes_down"]
    frame = lines.reindex(columns=list(dict.fromkeys([*lines.columns, "ipc", "rounds", *numbers])))
    numbers += ["ipc", "rounds"]
    frame = frame.astype(dict.fromkeys(numbers, "Float64")).astype(dict.fromkeys(numbers, float))  # all kinds of blanks
    for metric in METRICS:
        squares = frame[[f"{metric}_within", f"{metric}_between"]].fillna(0) ** 2
        frame[f"{metric}_spread"] = 100 * squares.sum(axis=1) ** 0.5
        frame[metric] *= 100
    return frame.assign(bytes=frame["bytes_up"] + frame["bytes_down"])


def sweep_means(compared: pd.DataFrame) -> pd.DataFrame:
    """Return a line a point, scheme and budget, in the table's order, with means over partitions.

    Returns:
        swept columns; ``scheme, ipc, rounds``; and of each metric, in 0..1, the mean over partitions and their standard
        deviation (``METRIC_spread``; 0 with one).
    """
    keys = [*swept(compared), "scheme", "ipc", "rounds"]
    metrics = [metric for metric in METRICS if metric in compared]
    groups = first_of(whole_pools(schemes(compared)), ("recipe", "model")).groupby(keys, sort=False, dropna=False)
    spread = groups[metrics].std(ddof=1).fillna(0).add_suffix("_spread")
    return groups[metrics].mean().join(spread).reset_index()
