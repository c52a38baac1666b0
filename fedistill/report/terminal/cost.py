"""What a run would take, as a table for a terminal of sixty columns or more."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedistill.study.forecast.estimate import PlanCost


def print_cost(cost: PlanCost, console: Console, *, here: int, workers: int | None) -> None:
    """The kinds of work, the longest first; then time, memory and bytes, here and on a cluster.

    Args:
        here: CPUs of this machine; workers: of a cluster, where one was asked about.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, justify in (
        ("work", "left"),
        ("by", "left"),
        ("tasks", "right"),
        ("time", "right"),
        ("longest", "right"),
    ):
        table.add_column(name, justify=justify, no_wrap=name != "work")  # type: ignore[arg-type]
    for each in sorted(cost.work, key=lambda work: -work.seconds):
        who = "sites" if each.at_sites else "server"
        table.add_row(escape(each.what), who, f"{each.tasks:,}", duration(each.seconds), duration(each.longest))
    console.print(table)
    for label, count in (("here", here), ("on a cluster", workers)):
        if count is not None:
            on = f"{count} worker{'s' * (count > 1)}"
            about = f"about [bold]{duration(cost.wall(count))}[/], {size(cost.memory(count))} of memory"
            console.print(f"{label}, {on}: {about}", soft_wrap=True)
    console.print(f"between sites and server: {size(cost.up)} up, {size(cost.down)} down", soft_wrap=True)
    console.print("From a few measured steps; early stopping may save some of it.", style="dim", soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(0.2), duration(75), duration(3600 * 5 + 60 * 7), duration(86400 * 3)
    ('0.2 s', '1 min 15 s', '5 h 7 min', '3 d 0 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Bytes in words.

    >>> size(950), size(2_500_000), size(3e9)
    ('950 B', '2.5 MB', '3.0 GB')
    """
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= power:
            return f"{count / power:.1f} {unit}"
    return f"{count:.0f} B"
