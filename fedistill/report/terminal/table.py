"""Tables in a terminal, narrow or wide; and the comparison of a run."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich import table as rich
from rich.console import Console
from rich.markup import escape

from fedistill.report import tables
from fedistill.report.run_data import RunData
from fedistill.report.table import Cell, Head, Row, Table
from fedistill.study.tables.missing import missing_releases, unheld

WIDE = 100
"""Columns of a terminal that has room for the whole comparison."""


def empty_table(**more: Any) -> rich.Table:
    """Return an empty table in the house's style."""
    return rich.Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), **more)


def print_rows(console: Console, heads: Sequence[Head], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of words."""
    print_table(console, Table("", "", heads, [Row([Cell(text) for text in row]) for row in rows]))


def print_table(console: Console, table: Table) -> None:
    """Print a table; one in groups as a table a group, all as wide.

    A group's name stands above its table: it would not fit into a column.
    """
    if not table.rows:
        return
    names = [head.short or head.name for head in table.heads]
    widths = [max(len(name), *(len(row.cells[i].text) for row in table.rows)) for i, name in enumerate(names)]
    fits = sum(widths) + len(widths) <= console.width
    for number, (group, rows) in enumerate(groupby(table.rows, key=lambda row: row.group)):
        shown = empty_table(show_header=number == 0)
        for head, name, width in zip(table.heads, names, widths, strict=True):
            justify: Any = "right" if head.number else "left"
            shown.add_column(escape(name), justify=justify, min_width=width if fits else None, no_wrap=not head.folds)
        for row in rows:
            shown.add_row(*(escape(cell.text) for cell in row.cells))
        if group:
            console.print(group, style="bold", markup=False)
        console.print(shown)


def print_comparison(run: RunData, console: Console) -> None:
    """Print what every scheme reached, what it means, and what is missing from it.

    A narrow terminal shows what the question is about and leaves the rest to comparison.csv.
    """
    wide = console.width >= WIDE
    print_table(console, tables.overview(run, wide=wide))
    seeds = run.plan.first.seeds
    spread = "±: between networks of one seed" + ("; (): between seeds" if seeds > 1 else "")
    console.print(f"{spread}. All in %, on the official test split of {run.dataset}.", style="dim", markup=False)
    if wide and "auc_vs_random_low" in run.compared:
        console.print(
            "gap: AUC that full has above it; gain: AUC above random's, at the same ipc; in points. "
            "AUC less random's: 95 % interval in points, paired by seed, over "
            + ("seeds, " if seeds > 1 else "")
            + "networks and test images.",
            style="dim",
        )
    own = tables.at_sites(run, grouped=True)
    if own is not None:
        console.print("At the sites, on images they set aside; gain over a site's own local network, points of AUC:")
        print_table(console, own)
    for line in tables.what_sites_add(run):
        console.print(line, style="dim", markup=False)
    for line in (*missing_releases(run.by_site), *unheld(run.at_first_point(run.holdings))):
        console.print(line, style="yellow", markup=False)


def print_leaks(run: RunData, console: Console) -> None:
    """Print a block an attacked line, a row an attack."""
    table = tables.privacy(run.privacy, grouped=True)
    if table is None:
        console.print("Nothing was attacked.")
        return
    print_table(console, table)
    first = run.privacy.iloc[0]
    note = (
        f"Attacks on {first['site']}, {first['shadows']:.0f} shadows. AUC 50: a coin. Found at 1 %: members recognised "
        "where one non-member in a hundred is accused; a dash: too few non-members to say. In %, with 95 % intervals."
    )
    console.print(note, style="dim", markup=False)
