"""A screen on what was imported, and on what a data set holds."""

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedistill.data.facts import SPLITS
from fedistill.importing.card import ImportCard
from fedistill.importing.check import Check

MOST = 25
"""Classes that are shown; a file may have thousands."""


def print_card(card: ImportCard, console: Console) -> None:
    """Print what came of an import, and where the rest stands."""
    files = ", ".join(f"{n:,} {kind}" for kind, n in card.files.items())
    console.print(f"{escape(card.source)}: {escape(files)}, {card.images:,} images, {escape(card.done)}")
    console.print(f"black and white: {escape(', '.join(f'{rule} ({n:,})' for rule, n in card.rules.items()))}")
    console.print(f"splits: {escape(card.splits)}")
    _counts(card.counts, card.patients, console)
    left_out = (("skipped", card.skipped), ("no images", card.other), ("copies left out", card.dropped))
    for words, what in left_out:
        if what:
            console.print(f"{words}: {len(what):,} (named in the card)")
    for warning in card.warnings:
        console.print(f"[yellow]look at:[/] {escape(warning)}", soft_wrap=True)
    console.print("written: " + escape(", ".join(card.written)), soft_wrap=True)


def print_check(check: Check, console: Console) -> None:
    """Print what a data set holds and what is wrong with it."""
    shapes = "; ".join(f"{split} {words}" for split, words in check.images.items())
    console.print(f"{escape(check.path)}: {escape(shapes) or 'no images'}", soft_wrap=True)
    if check.preprocessing:
        console.print(f"images: {escape(check.preprocessing)}")
    _counts(check.counts, check.patients, console)
    for problem in check.problems:
        console.print(f"[red]wrong:[/] {escape(problem)}", soft_wrap=True)
    for warning in check.warnings:
        console.print(f"[yellow]look at:[/] {escape(warning)}", soft_wrap=True)
    if not check.problems:
        console.print("nothing is wrong with it" + (" that can be told from here" if check.warnings else ""))


def _counts(counts: Mapping[str, Mapping[str, int]], patients: Mapping[str, int], console: Console) -> None:
    if not counts:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("class", overflow="fold")
    for split in SPLITS:
        table.add_column(split, justify="right")
    for name, of in list(counts.items())[:MOST]:
        table.add_row(escape(name), *(f"{of[split]:,}" for split in SPLITS))
    if len(counts) > MOST:
        table.add_row(f"and {len(counts) - MOST} more")
    if patients:
        table.add_row("patients", *(f"{patients.get(split, 0):,}" for split in SPLITS), style="dim")
    console.print(table)
