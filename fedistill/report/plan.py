"""Who holds what, as a table for a terminal: images per class and site."""

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedistill.plan import Federation, Holdings


def print_holdings(federation: Federation, held: Holdings, console: Console) -> None:
    """A row a class, a column a site; lines for validation and held-out images, what nobody holds, and scanners."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("class")
    for name in federation.sites:
        table.add_column(escape(name), justify="right")
    table.add_column("all", justify="right")
    train = held.shares[0].train
    counts = np.stack([share.train.counts() for share in held.shares])
    for k, name in enumerate(train.class_names):
        table.add_row(escape(name), *[f"{n:,}" for n in counts[:, k]], f"{counts[:, k].sum():,}", end_section=False)
    table.add_section()
    for label, sizes in (
        ("training", [len(s.train) for s in held.shares]),
        ("validation", [len(s.val) for s in held.shares]),
        ("held out", [len(s.held_out) for s in held.shares]),
    ):
        if label != "held out" or any(sizes):
            table.add_row(label, *[f"{n:,}" for n in sizes], f"{sum(sizes):,}")
    sources, licences = (
        list(dict.fromkeys(getattr(share.train, about) for share in held.shares)) for about in ("source", "licence")
    )
    licence = escape(", ".join(licences))
    console.print(f"[bold]{escape(federation.name)}[/]: {escape(' + '.join(sources))}; licence {licence}")
    console.print(table)
    nobody = [f"{n} {kind}" for n, kind in zip(held.unheld, ("training", "validation"), strict=True) if n]
    console.print("Every image is held by one site." if not nobody else f"Held by nobody: {', '.join(nobody)} images.")
    scanners = {name: federation.of(name).scanner for name in federation.sites}
    if any(scanners.values()):
        console.print("Scanners of all that a site holds (the test split stays as published):")
        for name, settings in scanners.items():
            console.print(f"  {escape(name)}: {'as published' if settings is None else settings.built()}")
