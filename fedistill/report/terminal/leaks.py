"""What attacks found out, as a table for a terminal."""

from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedistill.report.terminal.table import lines_of, word

WHAT = ("scheme", "ipc", "rounds", "epsilon", "start", "records")
"""What tells one attacked line from another, over all points of a sweep."""


def print_leaks(privacy: pd.DataFrame, console: Console) -> None:
    """A block an attacked line, a row an attack; equal lines of several points once.

    Args:
        privacy: privacy.csv.
    """
    if privacy.empty:
        console.print("Nothing was attacked.")
        return
    once = privacy.drop_duplicates([*WHAT, "attack"])
    for _, group in once.groupby(list(WHAT), sort=False, dropna=False):
        lines = lines_of(group)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("attack")
        table.add_column("AUC", justify="right", no_wrap=True)
        table.add_column("found at 1 %", justify="right", no_wrap=True)
        for line in lines:
            table.add_row(escape(str(line["attack"])), between(line, "auc", "auc"), between(line, "tpr_at_1", "tpr"))
        console.print(named(lines[0]), style="bold", markup=False)
        console.print(table)
    first = lines_of(once)[0]
    said = (
        f"Attacks on {first['site']}, {first['shadows']} shadows. AUC 50: a coin. Found at 1 %: members recognised "
        "where one non-member in a hundred is accused; a dash: too few non-members to say. In %, with 95 % intervals."
    )
    console.print(said, style="dim", markup=False)


def named(line: dict[str, Any]) -> str:
    """An attacked line in words.

    >>> nothing = float("nan")
    >>> named({"scheme": "dc", "ipc": 10, "rounds": nothing, "epsilon": nothing, "start": "real", "records": "halves"})
    'dc, ipc 10, from real'
    >>> private = {"scheme": "dp-fedavg", "ipc": nothing, "rounds": 5.0, "epsilon": 1.0, "start": nothing}
    >>> named({**private, "records": "canaries"})
    'dp-fedavg, rounds 5, epsilon 1, canaries'
    """
    parts = [str(line["scheme"])]
    parts += [f"{name} {word(line[name])}" for name in ("ipc", "rounds") if pd.notna(line[name])]
    parts += [f"epsilon {line['epsilon']:g}"] * pd.notna(line["epsilon"])
    parts += [f"from {line['start']}"] * pd.notna(line["start"])
    return ", ".join([*parts, *["canaries"] * (line["records"] == "canaries")])


def between(line: dict[str, Any], value: str, interval: str) -> str:
    """A share with its interval, in percent; a dash where nothing can be said.

    >>> between({"auc": 0.5, "auc_low": 0.4, "auc_high": 0.625}, "auc", "auc")
    '50.0 (40.0 to 62.5)'
    """
    if pd.isna(line[value]):
        return "-"
    low, high = line[f"{interval}_low"], line[f"{interval}_high"]
    return f"{100 * line[value]:.1f}" + ("" if pd.isna(low) else f" ({100 * low:.1f} to {100 * high:.1f})")
