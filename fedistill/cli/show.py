"""Commands that show: what there is, what a run would take, how far one is, what came of it and what was spent."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from fedistill.cli import options
from fedistill.cli.as_json import Json, print_json, records


def plan(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE.toml", help="A simulation.")],
    data_root: options.DataRoot = None,
    phantom: options.Phantom = False,
    changes: options.Set = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Also say it of a cluster of so many.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a run would take: time, memory and bytes, from a few steps of its work measured here."""
    from fedistill.config import load_plan
    from fedistill.report.terminal.cost import print_cost
    from fedistill.study.forecast.estimate import cost, cpus
    from fedistill.study.preflight import shared_gpus

    plan_to_run = load_plan(name, changes=changes or (), phantom=phantom)
    with options.errors.status("measuring") as status:
        estimate = cost(
            plan_to_run,
            options.text(data_root),
            on_measure=lambda what: status.update(f"measuring {escape(what)}"),
        )
    if as_json:
        counts = {"here": cpus(), **({} if workers is None else {"on a cluster": workers})}
        walls = {
            where: {"workers": n, "seconds": estimate.wall(n), "memory_bytes": estimate.memory(n)}
            for where, n in counts.items()
        }
        work = [vars(each) for each in estimate.work]
        sizes = {"bytes_up": estimate.up, "bytes_down": estimate.down}
        print_json({"work": work, **walls, **sizes, "notes": shared_gpus(plan_to_run)})
        return
    print_cost(estimate, options.console, here=cpus(), workers=workers)
    for note in shared_gpus(plan_to_run):
        options.console.print(note, markup=False, soft_wrap=True)


def datasets(data_root: options.DataRoot = None, as_json: Json = False) -> None:
    """List the data sets."""
    if as_json:
        from fedistill.data import catalogue

        print_json([vars(card) for card in catalogue(data_root=data_root)])
        return
    from rich import box
    from rich.table import Table

    from fedistill.data import catalogue

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column, justify in (("name", "left"), ("classes", "right"), ("images", "right"), ("licence", "left")):
        table.add_column(column, justify=justify, no_wrap=column == "name")  # type: ignore[arg-type]
    table.add_column("task")
    table.add_column("on disk")
    for card in catalogue(data_root=data_root):
        here = "drawn" if card.on_disk is None else ", ".join(map(str, card.on_disk)) or "no"
        kind = f"{card.task}, {'RGB' if card.channels == 3 else 'grey'}"
        table.add_row(card.name, str(card.n_classes), f"{sum(card.images):,}", card.licence, kind, here)
    options.console.print(table)
    options.console.print("A path to an .npz file in MedMNIST's layout can stand wherever a name can.", style="dim")


def sites(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE.toml]", help="A federation.")] = None,
    data_root: options.DataRoot = None,
    phantom: options.Phantom = False,
    as_json: Json = False,
) -> None:
    """List the federations, or show who holds what in one."""
    from fedistill.config import holdings, load_federation

    if name is None:
        _listed("sites", as_json)
        return
    from fedistill.report.terminal.plan import print_holdings

    federation = load_federation(name, phantom=phantom)
    held = holdings(federation, 0, options.text(data_root))
    if as_json:
        from fedistill.study.tables.holdings_table import holdings_table

        print_json(records(holdings_table(federation, [held])))
        return
    print_holdings(federation, held, options.console)


def simulations(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE.toml]", help="A simulation.")] = None,
    changes: options.Set = None,
    phantom: options.Phantom = False,
    as_json: Json = False,
) -> None:
    """List the simulations, or show one with everything resolved."""
    from fedistill.config import load_plan

    if name is None:
        _listed("simulations", as_json)
        return
    from fedistill.study.folder.run_folder import described

    plan = load_plan(name, changes=changes or (), phantom=phantom)
    if as_json:
        print_json({**plan.first.model_dump(mode="json", exclude_none=True), "sweep": plan.sweep or {}})
        return
    options.console.print(described(plan), markup=False, soft_wrap=True)


def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="A run folder, or several to compare.")],
    out: Annotated[
        Path | None, typer.Option(help="The page that compares several runs. Default: runs-compared.html.")
    ] = None,
) -> None:
    """Build a run's report anew; of several runs, a page that compares them."""
    from fedistill.errors import SettingError
    from fedistill.report.html.compare import compare
    from fedistill.report.html.page import rebuild

    if len(folders) > 1:
        options.console.print(
            f"report: {options.short(compare(folders, out or Path('runs-compared.html')))}", soft_wrap=True
        )
        return
    if out is not None:
        raise SettingError("--out names the page that compares several runs.", found="one run", mend="leave it out")
    options.console.print(f"report: {options.short(rebuild(folders[0]))}", soft_wrap=True)


def status(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")], as_json: Json = False) -> None:
    """Say how far a run is: what is done, running and left, and about how long it still takes."""
    from fedistill.report.terminal.status import print_status, status_of

    if as_json:
        print_json(status_of(folder).to_json())
        return
    print_status(folder, options.console)


def ledger(
    path: Annotated[
        Path, typer.Argument(metavar="SITE.toml|PATH|DIR", help="A hospital's file; a ledger alone; or a run folder.")
    ],
    site: Annotated[str | None, typer.Option(help="Of a run's sites, this one alone.")] = None,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE.csv|FILE.json", help="Write a hospital's ledger for an auditor.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a site has let out, to whom, and what of its privacy budget is spent and left.

    Of a hospital's file, its ledger is checked line by line, and against the counter that its store keeps.
    """
    from fedistill.errors import SettingError
    from fedistill.report.terminal.ledger import ledger_entries, plain_entries, print_entries, print_ledgers

    if path.suffix != ".toml":
        if export is not None:
            raise SettingError("--export takes a hospital's file, so that the ledger is checked first.", found=path)
        if as_json:
            print_json(ledger_entries(path, site=site))
            return
        print_ledgers(path, options.console, site=site)
        return
    from fedistill.api.consent import book_of
    from fedistill.config.site_file import load_site
    from fedistill.privacy.accounting.export import write_export

    own = load_site(str(path))
    if site is not None and site != own.file.name:
        raise SettingError(f"{path} is the file of {own.file.name!r}.", found=f"--site {site}", mend="leave --site out")
    entries = book_of(own).entries()
    if export is not None:
        write_export(export, own.file.name, entries)
    if as_json:
        print_json({own.file.name: plain_entries(entries)})
    elif export is not None:
        options.console.print(f"{len(entries)} lines: {options.short(export)}", soft_wrap=True)
    else:
        print_entries(own.file.name, entries, options.console)


def _listed(kind: str, as_json: bool) -> None:
    from fedistill.config.find import names

    if as_json:
        print_json([{"name": name, "path": path} for name, path in sorted(names(kind).items())])
        return
    for name, path in sorted(names(kind).items()):
        first = path.read_text(encoding="utf-8-sig", errors="replace").partition("\n")[0]
        options.console.print(
            f"[bold]{escape(name):<18}[/] {escape(first.lstrip('# ')) if first.startswith('#') else ''}"
        )


def add_to(cli: typer.Typer) -> None:
    """Put the commands into the command line."""
    for command in (plan, datasets, sites, simulations, report, status, ledger):
        cli.command()(command)
