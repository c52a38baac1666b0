"""The forecast of a run, as a table for a terminal of sixty columns or more."""

from rich.console import Console

from fedistill.report.format import duration, size
from fedistill.report.table import Head
from fedistill.report.terminal.table import print_rows
from fedistill.study.forecast.estimate import PlanCost


def print_cost(cost: PlanCost, console: Console, *, here: int, workers: int | None) -> None:
    """Print the kinds of work, the longest first; then time, memory and bytes, here and on a cluster.

    Args:
        cost: of the plan.
        console: to print to.
        here: CPUs of this machine.
        workers: of a cluster, where there is one to plan for.
    """
    heads = [Head("work", number=False, folds=True), Head("by", number=False), *map(Head, ("tasks", "time", "longest"))]
    print_rows(
        console,
        heads,
        [
            [
                each.what,
                "sites" if each.at_sites else "server",
                f"{each.tasks:,}",
                duration(each.seconds),
                duration(each.longest),
            ]
            for each in sorted(cost.work, key=lambda work: -work.seconds)
        ],
    )
    for label, count in (("here", here), ("on a cluster", workers)):
        if count is not None:
            on = f"{count} worker{'s' * (count > 1)}"
            about = f"about [bold]{duration(cost.wall(count))}[/], {size(cost.memory(count))} of memory"
            console.print(f"{label}, {on}: {about}", soft_wrap=True)
    console.print(f"between sites and server: {size(cost.up)} up, {size(cost.down)} down", soft_wrap=True)
    console.print("From a few measured steps; early stopping may save some of it.", style="dim", soft_wrap=True)
