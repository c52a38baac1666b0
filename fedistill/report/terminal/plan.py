"""Who holds what, as a table for a terminal: images per class and site."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from fedistill.config import Federation, Holdings
from fedistill.report.terminal.table import empty_table


def print_holdings(federation: Federation, held: Holdings, console: Console) -> None:
    """Print who holds what; then what nobody holds, and scanners.

    A row is a class and a column a site, called by its number where names are too wide. Where numbers are too wide as
    well, or hardly a site has several classes, a row is a site, with its classes in words.
    """
    _print_about(federation, held, console)
    table = _by_class(federation.sites, held)
    if not _fits(table, console):
        numbers = [str(i + 1) for i in range(len(federation.sites))]
        table = _by_class(numbers, held)
        if not _fits(table, console) or np.median([(s.train.counts() > 0).sum() for s in held.shares]) < 2:
            table = _by_site(federation, held)
        else:
            named = ", ".join(f"{i} {site}" for i, site in zip(numbers, federation.sites, strict=True))
            console.print(Padding(escape(named), (0, 0, 0, 2)))
    console.print(table)
    nobody = [f"{n} {kind}" for n, kind in zip(held.unheld, ("training", "validation"), strict=True) if n]
    console.print("Every image is held by one site." if not nobody else f"Held by nobody: {', '.join(nobody)} images.")
    scanners = {name: federation.of(name).scanner for name in federation.sites}
    if any(scanners.values()):
        console.print("Scanners of all that a site holds (the test split stays as published):")
        for name, settings in scanners.items():
            console.print(f"  {escape(name)}: {'as published' if settings is None else settings}")


def _print_about(federation: Federation, held: Holdings, console: Console) -> None:
    """Print what the images are, and their licences: on one line, or a line a source."""
    trains = [share.train for share in held.shares]
    sources, licences = (list(dict.fromkeys(getattr(x, about) for x in trains)) for about in ("source", "licence"))
    licence = f"licence {escape(', '.join(licences))}"
    if len(sources) == 1:
        console.print(f"[bold]{escape(federation.name)}[/]: {escape(sources[0])}; {licence}")
        return
    about = f"{len(sources)} sets, {trains[0].n_classes} classes, {'RGB' if trains[0].channels == 3 else 'grey'}"
    console.print(f"[bold]{escape(federation.name)}[/]: {about}; {licence}")
    for source in sources:
        console.print(Padding(escape(source), (0, 0, 0, 2)))


def _fits(table: Table, console: Console) -> bool:
    return console.measure(table, options=console.options.update_width(10_000)).minimum <= console.width


def _by_class(heads: Sequence[str], held: Holdings) -> Table:
    table = empty_table()
    names = held.shares[0].train.class_names
    table.add_column("class", min_width=min(24, max(map(len, names))))
    for name in (*heads, "all"):
        table.add_column(escape(name), justify="right", no_wrap=True, min_width=len(name))
    counts = np.stack([share.train.counts() for share in held.shares])
    for k, name in enumerate(names):
        table.add_row(escape(name), *[f"{n:,}" for n in counts[:, k]], f"{counts[:, k].sum():,}")
    table.add_section()
    for label, sizes in _sizes(held).items():
        table.add_row(label, *[f"{n:,}" for n in sizes], f"{sum(sizes):,}")
    return table


def _by_site(federation: Federation, held: Holdings) -> Table:
    sizes = _sizes(held)
    table = empty_table()
    table.add_column("site")
    for label in sizes:
        table.add_column(label, justify="right", no_wrap=True)
    table.add_column("training images by class, those that it holds")
    for i, (site, share) in enumerate(zip(federation.sites, held.shares, strict=True)):
        counted = zip(share.train.class_names, share.train.counts(), strict=True)
        words = ", ".join(f"{name} {count:,}" for name, count in counted if count)
        table.add_row(escape(site), *[f"{each[i]:,}" for each in sizes.values()], escape(words))
    table.add_section()
    table.add_row("all", *[f"{sum(each):,}" for each in sizes.values()])
    return table


def _sizes(held: Holdings) -> dict[str, list[int]]:
    """Return each site's training and validation images, and those held out where there are any."""
    sizes = {
        "training": [len(share.train) for share in held.shares],
        "validation": [len(share.val) for share in held.shares],
        "held out": [len(share.held_out) for share in held.shares],
    }
    return {label: each for label, each in sizes.items() if label != "held out" or any(each)}
