"""A site's ledger for people: its lines as a table, with its total and what is left."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedistill.errors import RunFolderError, nearest
from fedistill.privacy.accounting.budget import Charge, spent
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.accounting.ledger_lines import NOTED, Entry
from fedistill.report.terminal.table import empty_table

DELTA = 1e-5
"""At which totals are given where no policy has set one: the largest of the charges', or this."""


def print_ledgers(path: Path, console: Console, *, site: str | None = None) -> None:
    """Print a site's ledger, or those of a run's sites.

    Args:
        path: of a ledger; or a run folder, or a folder given as ``--cache``.
        console: to print to.
        site: whose alone.

    Raises:
        RunFolderError: there is none.
        LedgerError: one cannot be read or is damaged.
    """
    for book in _books(path, site):
        print_entries(book.stem, Ledger(book).entries(), console)


def print_entries(name: str, entries: Sequence[Entry], console: Console) -> None:
    """Print the lines of a ledger: what left, what was decided, and the totals."""
    console.print(f"[bold]{escape(name)}[/]")
    console.print(_table(entries))
    if any(entry.kind in NOTED for entry in entries):
        console.print(_decisions(entries))
        console.print(f"{len(entries)} lines, each of them as it was written.", highlight=False)
    for line in _totals([entry.charge for entry in entries if entry.charge is not None]):
        console.print(line, markup=False, highlight=False)


def _decisions(entries: Sequence[Entry]) -> Table:
    """Return a row for each line on agreements, requests and decisions."""
    table = empty_table()
    for column in ("when (UTC)", "what", "agreement", "to or by", "item", "why or SHA-256"):
        table.add_column(column, no_wrap=column == "what")
    for entry in entries:
        if entry.kind not in NOTED:
            continue
        about = entry.about
        when = datetime.fromtimestamp(entry.time, UTC).strftime("%Y-%m-%d %H:%M")
        number = f" {about['number']}" if "number" in about else ""
        who, item = (
            str(about.get("by") or about.get("to") or ""),
            about.get("item") or ", ".join(about.get("names", ())),
        )
        said = str(about.get("why") or about.get("sha256", "")[:8])
        cells = (entry.kind + number, entry.occasion.agreement[:12], who, str(item), said)
        table.add_row(when, *[escape(cell) for cell in cells])
    return table


def ledger_entries(path: Path, *, site: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of the ledgers that `print_ledgers` would print, by site, as plain values.

    Raises:
        RunFolderError: there is none.
        LedgerError: one cannot be read or is damaged.
    """
    return {book.stem: plain_entries(Ledger(book).entries()) for book in _books(path, site)}


def plain_entries(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the lines of a ledger as plain values."""
    return [asdict(entry) for entry in entries]


def _books(path: Path, site: str | None) -> list[Path]:
    if path.is_file():
        if site is not None and site != path.stem:
            raise RunFolderError(f"{path} is one ledger.", found=f"--site {site}", mend="leave --site out")
        return [path]
    books = sorted([*path.glob("work/ledger/*.jsonl"), *path.glob("ledger/*.jsonl")])
    if not books:
        raise RunFolderError(
            f"There is no ledger at {path}.",
            expected="a ledger file, or the folder of a run with private schemes (or of its --cache)",
            found="no such file or folder" if not path.exists() else "no ledger in it: nothing was charged",
        )
    if site is None:
        return books
    own = [book for book in books if book.stem == site]
    if not own:
        raise RunFolderError(f"{path} has no ledger of {site!r}.", mend=nearest(site, [book.stem for book in books]))
    return own


def _table(entries: Sequence[Entry]) -> Table:
    """Return a row for each Release; and for what was charged, and never released."""
    table = empty_table()
    for column in ("when (UTC)", "to", "scheme", "ipc", "Release"):
        table.add_column(column, no_wrap=column == "Release")
    table.add_column("epsilon", justify="right")
    waiting: dict[str, list[Entry]] = {}
    rows: list[tuple[Entry, str, list[Charge]]] = []
    for entry in entries:
        if entry.charge is not None:
            waiting.setdefault(entry.charge.key, []).append(entry)
        elif entry.kind not in NOTED:
            paid = [each.charge for key in entry.keys for each in waiting.pop(key, []) if each.charge is not None]
            rows.append((entry, entry.sha256[:8], paid))
    rows += [(each, "none", [each.charge]) for left in waiting.values() for each in left if each.charge is not None]
    for entry, name, paid in sorted(rows, key=lambda row: row[0].time):
        when = datetime.fromtimestamp(entry.time, UTC).strftime("%Y-%m-%d %H:%M")
        about = entry.occasion
        cost = f"{spent([each.cost for each in paid], delta=_delta(paid)):.4g}" if paid else "0" if entry.keys else ""
        table.add_row(when, escape(about.to), escape(about.scheme), ", ".join(map(str, about.ipc)), name, cost)
    return table


def _totals(charges: Sequence[Charge]) -> list[str]:
    """Return what all charges make together, and what is left; of a simulation's alternatives, the largest."""
    if not charges:
        return ["No privacy budget was spent."]
    delta, limit = _delta(charges), charges[-1].limit
    units = " or ".join(dict.fromkeys(charge.unit for charge in charges))
    accounts = list(dict.fromkeys(charge.account for charge in charges))
    totals = {name: spent([c.cost for c in charges if c.account == name], delta=delta) for name in accounts}
    most = max(totals.values())
    if accounts == [""]:
        lines = [f"Together: epsilon {most:.4g} at delta {delta:g}, for every single {units}."]
    else:
        everything = spent([charge.cost for charge in charges], delta=delta)
        lines = [
            f"{len(accounts)} alternatives, of which a real site would release one: epsilon {most:.4g} at most, at "
            f"delta {delta:g}, for every single {units}; all together {everything:.4g}."
        ]
    if any(charge.entropy == "seeded" for charge in charges):
        lines.append("SIMULATED: noise that follows from a seed protects nobody.")
    left = "No budget is set." if limit is None else f"Left of {limit[0]:g}: {max(0.0, limit[0] - most):.4g}."
    return [*lines, left]


def _delta(charges: Sequence[Charge]) -> float:
    """Return the delta of the last policy; without one, the largest of the charges."""
    limits = [charge.limit for charge in charges if charge.limit is not None]
    return limits[-1][1] if limits else max((charge.cost.delta for charge in charges), default=DELTA)
