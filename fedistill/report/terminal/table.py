"""The comparison as a table for a terminal, narrow or wide."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedistill.study import Finished

FOLDED = ("ipc", "rounds", "images", "worst site", "gain", "worst gain", "sites that gain")
"""Heads of columns that may be folded in a narrow terminal."""

HEADLINE = (("auc", "AUC"), ("balanced_accuracy", "balanced"), ("accuracy", "accuracy"))


def print_comparison(finished: Finished, console: Console) -> None:
    """The table, what it means, and what is missing from it."""
    frame = finished.comparison
    several, rounds = _names(frame), frame["rounds"].notna().any()
    # A narrow terminal shows what the question is about and leaves the rest to comparison.csv.
    wide = console.width >= 100
    heads = ["ipc", *(["rounds"] if rounds else []), *[label for _, label in HEADLINE]]
    heads += [*(["gap", "gain", "AUC less random's", "images", "to sites"] if wide else []), "shared"]
    rows = []
    for line in lines_of(whole_pools(frame)):
        cells = [word(line[c]) for c in several]
        cells += [line["scheme"], word(line["ipc"])]
        if rounds:
            cells.append(word(line["rounds"]))
        cells += [metric_of(line, metric) for metric, _ in HEADLINE]
        if wide:
            images = "" if pd.isna(line["images_shared"]) else f"{line['images_shared']:,.0f}"
            cells += [_points(line, "auc_gap_to_full"), _points(line, "auc_gain_over_random")]
            cells += [interval_of(line, "auc"), images, size_of(line["bytes_down"])]
        rows.append((_point(frame, line), [*cells, size_of(line["bytes_shared"])]))
    _print_points(console, [*several, "scheme"], heads, rows)
    seeds = finished.simulation.seeds
    spread = "±: between networks of one seed" + ("; (): between seeds" if seeds > 1 else "")
    base = f"{spread}. All in %, on the official test split of {finished.rows['dataset'].iloc[0]}."
    console.print(base, style="dim", markup=False)
    if wide and "auc_vs_random_low" in frame:
        console.print(
            "gap: AUC that full has above it; gain: AUC above random's, at the same ipc; in points. "
            "AUC less random's: 95 % interval in points, paired by seed, over "
            + ("seeds, " if seeds > 1 else "")
            + "networks and test images.",
            style="dim",
        )
    _print_at_sites(frame, console)
    _print_left_out(frame, console)
    _print_missing(finished, console)


def _print_at_sites(frame: pd.DataFrame, console: Console) -> None:
    """Would each hospital have wanted to join?"""
    if "site_auc" not in frame:
        return
    several, rounds = _names(frame), frame["rounds"].notna().any()
    names = [*several, "scheme", "ipc", *(["rounds"] if rounds else [])]
    rows = []
    for line in lines_of(whole_pools(frame[frame["site_auc"].notna()])):
        cells = [*[word(line[c]) for c in several], line["scheme"], word(line["ipc"])]
        if rounds:
            cells.append(word(line["rounds"]))
        cells += [f"{100 * line[c]:.1f}" for c in ("site_auc", "site_auc_worst")]
        cells += ["" if pd.isna(line[c]) else f"{100 * line[c]:+.1f}" for c in ("site_gain", "site_gain_worst")]
        rows.append((_point(frame, line), [*cells, word(line["sites_gaining"])]))
    console.print("At the sites, on images they set aside; gain over a site's own local network, points of AUC:")
    _print_points(console, names, ["AUC", "worst site", "gain", "worst gain", "sites that gain"], rows)


def _names(frame: pd.DataFrame) -> list[str]:
    """Columns that tell lines of one point apart."""
    return [name for name in differing(frame) if name not in swept(frame)]


def _point(frame: pd.DataFrame, line: dict[str, Any]) -> str:
    """Where in a sweep a line belongs; empty for one that belongs nowhere."""
    return ", ".join(f"{name} = {word(line[name])}" for name in swept(frame) if not pd.isna(line[name]))


def _print_points(
    console: Console, names: Sequence[str], numbers: Sequence[str], rows: Sequence[tuple[str, list[str]]]
) -> None:
    """One table; of a sweep one below another, each under its point's name, which would not fit into a column.

    Args:
        names, numbers: heads of columns of words, and of those aligned to the right.
        rows: a point and its cells.
    """
    heads = [*names, *numbers]
    widths = [max(len(head), *(len(cells[i]) for _, cells in rows)) for i, head in enumerate(heads)]
    fits = sum(widths) + len(widths) <= console.width
    for number, (point, group) in enumerate(groupby(rows, key=lambda row: row[0])):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_header=number == 0)
        for head, width in zip(heads, widths, strict=True):
            justify: Any = "left" if head in names else "right"
            table.add_column(
                escape(head), justify=justify, min_width=width if fits else None, no_wrap=head not in FOLDED
            )
        for _, cells in group:
            table.add_row(*map(escape, cells))
        if point:
            console.print(point, style="bold", markup=False)
        console.print(table)


def _print_left_out(frame: pd.DataFrame, console: Console) -> None:
    """What each site adds to a pool."""
    for line in what_sites_add(frame):
        console.print(line, style="dim", markup=False)


def what_sites_add(frame: pd.DataFrame) -> list[str]:
    """One line a pool: how the AUC changes when a site is left out of it, in points."""
    keys = [*swept(frame), "partition", "recipe", "model", "scheme", "ipc"]
    lines = []
    tried = frame[frame["left_out"].astype("object").fillna("") != ""]
    for found, group in tried.groupby(keys, sort=False, dropna=False):
        values = [word(value) for value in (found if isinstance(found, tuple) else (found,))]
        whole = whole_pools(frame)
        for key, value in zip(keys, values, strict=True):
            whole = whole[whole[key].map(word) == value]
        base = float(whole["auc"].iloc[0])
        parts = [f"{line['left_out']} {100 * (line['auc'] - base):+.1f}" for line in lines_of(group)]
        *point, _, _, _, scheme, ipc = values
        what = ", ".join([*point, f"{scheme} ipc {ipc}" if ipc else scheme])
        lines.append(f"{what}, AUC without one site, in points: {', '.join(parts)}")
    return lines


def _points(line: dict[str, Any], column: str) -> str:
    value = line.get(column, float("nan"))
    return "" if pd.isna(value) else f"{100 * value:+.1f}"


def whole_pools(frame: pd.DataFrame) -> pd.DataFrame:
    """The lines no site was left out of."""
    return frame[frame["left_out"].astype("object").fillna("") == ""]


def _print_missing(finished: Finished, console: Console) -> None:
    failed = finished.sites[finished.sites["status"] != "shared"]
    for why, group in failed.groupby(["site", "scheme", "why"], sort=False):
        site, scheme, cause = why
        seeds = ", ".join(str(s) for s in sorted(group["seed"].unique()))
        console.print(f"missing: {site} has no {scheme} (seed {seeds}): {cause}", style="yellow", markup=False)
    for count, split in zip(finished.holdings.unheld, ("training", "validation"), strict=True):
        if count:
            console.print(f"{count} {split} images are held by no site under this partition.", style="yellow")


def lines_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows by column name."""
    return [{str(k): v for k, v in line.items()} for line in frame.to_dict("records")]


def swept(frame: pd.DataFrame) -> list[str]:
    """A comparison's columns of swept settings: those that stand before the scheme."""
    return list(frame.columns[: frame.columns.get_loc("scheme")])


def first_point(frame: pd.DataFrame) -> pd.DataFrame:
    """A comparison's lines of a sweep's first point, and the first of those that belong to no point."""
    lines = frame[frame["scheme"] != "majority"]
    for column in swept(frame):
        lines = lines[lines[column] == lines[column].iloc[0]]
    return pd.concat([frame[frame["scheme"] == "majority"].iloc[:1], lines]) if swept(frame) else frame


def differing(frame: pd.DataFrame) -> list[str]:
    """Which of the swept settings, partition, recipe and model tell lines apart."""
    return [c for c in (*swept(frame), "partition", "recipe", "model") if len(frame[c].dropna().unique()) > 1]


def word(value: Any) -> str:
    """A cell; blank where there is nothing."""
    return "" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)


def metric_of(line: dict[str, Any], metric: str) -> str:
    """Mean, spread within and (between) seeds, in %."""
    if pd.isna(line[metric]):
        return why_blank(line, metric)
    text = f"{100 * line[metric]:.1f}"
    within, between = line.get(f"{metric}_within"), line.get(f"{metric}_between")
    if not pd.isna(within):
        text += f" ±{100 * within:.1f}"
    if not pd.isna(between):
        text += f" ({100 * between:.1f})"
    return text


def why_blank(line: Mapping[Any, Any], metric: str) -> str:
    """Why a metric has no number: of a network that diverged none has one, and where only AUC lacks it, it is not
    defined, for no class of the test split has both images of it and images of others.

    >>> why_blank({"accuracy": 0.9}, "auc"), why_blank({"accuracy": float("nan")}, "auc")
    ('undefined', 'diverged')
    """
    return "undefined" if metric == "auc" and not pd.isna(line.get("accuracy")) else "diverged"


def interval_of(line: dict[str, Any], metric: str) -> str:
    """The interval of the difference to random, in points."""
    low, high = (float(line.get(f"{metric}_vs_random_{end}", float("nan"))) for end in ("low", "high"))
    return "" if pd.isna(low) else f"{100 * low:+.1f} to {100 * high:+.1f}"


def size_of(count: float) -> str:
    """Bytes for people; blank where there is no number.

    >>> size_of(0), size_of(950), size_of(48_200), size_of(3_700_000)
    ('0', '950 B', '48 kB', '3.7 MB')
    """
    if pd.isna(count):
        return ""
    if not count:
        return "0"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            value = count / scale
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{count:.0f} B"
