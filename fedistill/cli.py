"""The command line. Thin: it reads words, calls the library, and prints; --help imports neither torch nor ray."""

import errno
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from fedistill import __version__
from fedistill.cli_deployed import add_to

if TYPE_CHECKING:
    from fedistill.plan import Plan
    from fedistill.study import Finished

cli = typer.Typer(
    name="fedistill",
    help="What would hospitals lose, and leak, if each shared a few synthetic images per class instead of its data?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
FULL = (errno.ENOSPC, errno.EDQUOT)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given several times.")
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder of MedMNIST files. Default: $MEDMNIST_ROOT, else ~/.medmnist."),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="local (Ray here), inline (no Ray) or HOST:PORT of a Ray cluster. Default: $RAY_ADDRESS, or local."
    ),
]
Phantom = Annotated[bool, typer.Option("--phantom", help="Put every data set's phantom in its place: no download.")]


@cli.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)] = False,
) -> None:
    if version:
        console.print(f"fedistill {__version__}")
        raise typer.Exit


@cli.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE.toml", help="A simulation.")],
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/NAME.")] = None,
    data_root: DataRoot = None,
    phantom: Phantom = False,
    changes: Set = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="local (Ray here), inline (no Ray), HOST:PORT of a Ray cluster, or superlink:NAME, real sites. "
            "Default: $RAY_ADDRESS, else local."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="CPUs of a local Ray. Default: all.")] = None,
    cache: Annotated[Path | None, typer.Option(help="A store to share between runs.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set an earlier run aside instead of resuming it.")] = False,
) -> None:
    """Run a simulation, or all points of its sweep; run it again to resume."""
    began = time.perf_counter()
    from fedistill.plan import load_plan
    from fedistill.report.table import print_comparison

    plan = load_plan(name, changes=changes or (), phantom=phantom)
    points = [point.simulation for point in plan.points]
    sites = list(dict.fromkeys(site for each in points for site in each.federation.sites))
    data = ", ".join(dict.fromkeys(Path(name).name for each in points for name in each.federation.datasets()))
    schemes = ", ".join(dict.fromkeys(scheme for each in points for scheme in each.scheme))
    console.print(f"[bold]{plan.name}[/]: {len(sites)} sites, {escape(data)}, {schemes}")
    if plan.sweep:
        console.print(f"{len(points)} points of a sweep over {escape(', '.join(plan.sweep))}")
    if engine is not None and engine.startswith("superlink:"):
        from fedistill.cli_deployed import run_deployed

        not_here = {"workers": workers, "cache": cache, "fresh": fresh}
        run_deployed(plan, name, engine, out, data_root, phantom, changes or (), not_here)
        return
    finished, report = _ran(plan, began, out, engine, data_root, cache, fresh, workers)
    print_comparison(finished, console)
    if finished.timing is not None:
        console.print(finished.timing.until_now().line())
    console.print(f"{finished.computed} distillations and networks computed, {finished.found} found.")
    console.print(f"report: {_short(report)}", soft_wrap=True)


def _ran(
    plan: "Plan",
    began: float,
    out: Path | None,
    engine: str | None,
    data_root: Path | None,
    cache: Path | None,
    fresh: bool,
    workers: int | None,
) -> tuple["Finished", Path]:
    """Run a plan with its progress shown; what it left in memory, and its report."""
    from fedistill.report.page import write_report
    from fedistill.report.progress import Progress
    from fedistill.study import run as run_study

    sites = dict.fromkeys(site for point in plan.points for site in point.simulation.federation.sites)
    with Progress(list(sites), console) as progress:
        finished = run_study(
            plan,
            out=out or Path("runs") / plan.name,
            engine=engine,
            data_root=None if data_root is None else str(data_root),
            cache=cache,
            fresh=fresh,
            workers=workers,
            on_event=progress,
            began=began,
        )
    return finished, write_report(finished)


@cli.command()
def plan(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE.toml", help="A simulation.")],
    data_root: DataRoot = None,
    phantom: Phantom = False,
    changes: Set = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Also say it of a cluster of so many.")] = None,
) -> None:
    """Say what a run would take: time, memory and bytes, from a few steps of its work measured here."""
    from fedistill.plan import load_plan
    from fedistill.report.cost import print_cost
    from fedistill.study.cost import cost, cpus

    asked = load_plan(name, changes=changes or (), phantom=phantom)
    with console.status("measuring") as status:
        found = cost(
            asked,
            None if data_root is None else str(data_root),
            told=lambda what: status.update(f"measuring {escape(what)}"),
        )
    print_cost(found, console, here=cpus(), workers=workers)


@cli.command()
def datasets(data_root: DataRoot = None) -> None:
    """List the data sets."""
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
    console.print(table)
    console.print("A path to an .npz file in MedMNIST's layout can stand wherever a name can.", style="dim")


@cli.command()
def sites(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE.toml]", help="A federation.")] = None,
    data_root: DataRoot = None,
    phantom: Phantom = False,
) -> None:
    """List the federations, or show who holds what in one."""
    from fedistill.plan import holdings, load_federation

    if name is None:
        _list("sites")
        return
    from fedistill.report.plan import print_holdings

    federation = load_federation(name, phantom=phantom)
    held = holdings(federation, 0, None if data_root is None else str(data_root))
    print_holdings(federation, held, console)


@cli.command()
def simulations(
    name: Annotated[str | None, typer.Argument(metavar="[NAME|FILE.toml]", help="A simulation.")] = None,
    changes: Set = None,
    phantom: Phantom = False,
) -> None:
    """List the simulations, or show one with everything resolved."""
    from fedistill.plan import load_plan

    if name is None:
        _list("simulations")
        return
    from fedistill.study.folder import described

    plan = load_plan(name, changes=changes or (), phantom=phantom)
    console.print(described(plan), markup=False, soft_wrap=True)


@cli.command()
def distill(
    data: Annotated[str, typer.Argument(metavar="DATASET|FILE.npz")],
    out: Annotated[Path, typer.Option(help="Where the Release file goes.")],
    method: Annotated[str, typer.Option(help="dc, mtt, herding, random, ...")] = "dc",
    ipc: Annotated[int, typer.Option(help="Images per class.")] = 10,
    seed: Annotated[int, typer.Option()] = 0,
    width: Annotated[int, typer.Option(help="Of the network that is matched on.", min=1)] = 128,
    size: Annotated[int | None, typer.Option(help="Pixels, for MedMNIST sets and phantoms.")] = None,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    encoding: Annotated[
        str, typer.Option(help="uint8, float16 or float32 pixels in the file; real images are always uint8.")
    ] = "uint8",
    data_root: DataRoot = None,
    phantom: Phantom = False,
    changes: Set = None,
) -> None:
    """Distil one hospital's training images to a file. Stopped, the same command goes on where it was.

    `--set` takes the method's settings, and `preset="published"` for the papers' own.
    """
    from fedistill.plan.literals import literals
    from fedistill.report.progress import Progress
    from fedistill.study.alone import distill_to_file

    settings: dict[str, Any] = literals(changes or ())
    with Progress(["site"], console) as progress:
        written = distill_to_file(
            data,
            out,
            method=method,
            ipc=ipc,
            seed=seed,
            width=width,
            size=size,
            data_root=None if data_root is None else str(data_root),
            phantom=phantom,
            settings=settings,
            precision=precision,
            device=device,
            encoding=encoding,
            on_event=lambda event: progress({**event, "job": f"{method} ipc {ipc}", "site": "site"}),
        )
    console.print(written)


@cli.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="A run folder, or several to compare.")],
    out: Annotated[
        Path | None, typer.Option(help="The page that compares several runs. Default: runs-compared.html.")
    ] = None,
) -> None:
    """Build a run's report anew; of several runs, a page that compares them."""
    from fedistill.errors import SettingError
    from fedistill.report.page import rebuild
    from fedistill.report.several import compare

    if len(folders) > 1:
        console.print(f"report: {_short(compare(folders, out or Path('runs-compared.html')))}", soft_wrap=True)
        return
    if out is not None:
        raise SettingError("--out names the page that compares several runs.", found="one run", mend="leave it out")
    console.print(f"report: {_short(rebuild(folders[0]))}", soft_wrap=True)


@cli.command()
def audit(
    name: Annotated[str, typer.Argument(metavar="SIMULATION|DATASET|FILE")],
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="Attack this one; several times. Default: the file's, or dc.")
    ] = None,
    ipc: Annotated[list[int] | None, typer.Option(help="Images per class; several times.", min=1)] = None,
    shadows: Annotated[int | None, typer.Option(help="An even number. Default: the file's, or 32.")] = None,
    site: Annotated[str | None, typer.Option(help="Whose images are attacked. Default: the first site's.")] = None,
    canaries: Annotated[bool, typer.Option("--canaries", help="Attack mislabelled canaries as well.")] = False,
    networks: Annotated[int | None, typer.Option(help="Global networks trained on each shadow.", min=1)] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/audit-NAME.")] = None,
    data_root: DataRoot = None,
    phantom: Phantom = False,
    changes: Set = None,
    engine: Engine = None,
    workers: Annotated[int | None, typer.Option(min=1, help="CPUs of a local Ray. Default: all.")] = None,
    cache: Annotated[Path | None, typer.Option(help="A store to share between runs.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set an earlier run aside instead of resuming it.")] = False,
) -> None:
    """Attack what one site sends: is an image in its data? Run it again to resume."""
    began = time.perf_counter()
    import pandas as pd

    from fedistill.plan import audited_plan
    from fedistill.report.leaks import print_leaks

    plan = audited_plan(
        name,
        methods=methods or (),
        ipc=ipc or (),
        shadows=shadows,
        site=site,
        networks=networks,
        canaries=canaries,
        changes=changes or (),
        phantom=phantom,
    )
    finished, report = _ran(plan, began, out, engine, data_root, cache, fresh, workers)
    print_leaks(pd.read_csv(finished.root / "privacy.csv"), console)
    console.print(f"{finished.computed} distillations, networks and shadows computed, {finished.found} found.")
    console.print(f"report: {_short(report)}", soft_wrap=True)


@cli.command()
def predict(
    data: Annotated[str, typer.Argument(metavar="DATASET|FILE.npz")],
    ipc: Annotated[int, typer.Option(help="Images per class that each site would share.", min=1)] = 10,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="RUN", help="A run folder to rest on; several times. Default: all of runs/."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="dc, mtt, ... Default: all that enough runs have.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/predict-DATASET-ipcK.")] = None,
    data_root: DataRoot = None,
    phantom: Phantom = False,
    engine: Engine = None,
    workers: Annotated[int | None, typer.Option(min=1, help="CPUs of a local Ray. Default: all.")] = None,
) -> None:
    """Say what distillation is likely to reach on a data set, from random subsets of it and runs on five other sets."""
    from fedistill.report.prediction import draw_prediction, print_prediction
    from fedistill.report.progress import Progress
    from fedistill.study.basis import find_basis
    from fedistill.study.predict import predict as foretell

    basis = find_basis(data, ipc=ipc, sources=sources, method=method, phantom=phantom)
    with Progress(list(basis.simulation.federation.sites), console) as progress:
        prediction = foretell(
            basis,
            out=out,
            engine=engine,
            data_root=None if data_root is None else str(data_root),
            workers=workers,
            on_event=progress,
        )
    print_prediction(prediction, console)
    console.print(f"figure: {_short(draw_prediction(prediction))}", soft_wrap=True)


@cli.command()
def status(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")]) -> None:
    """Say how far a run is: what is done, running and left, and about how long it still takes."""
    from fedistill.report.status import print_status

    print_status(folder, console)


@cli.command()
def ledger(
    path: Annotated[Path, typer.Argument(metavar="PATH|DIR", help="A site's ledger, or a run folder.")],
    site: Annotated[str | None, typer.Option(help="Of a run's sites, this one alone.")] = None,
) -> None:
    """Say what a site has let out, to whom, and what of its privacy budget is spent and left."""
    from fedistill.report.accounts import print_ledgers

    print_ledgers(path, console, site=site)


add_to(cli)


def _list(kind: str) -> None:
    from fedistill.plan.find import names

    for name, path in sorted(names(kind).items()):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        console.print(f"[bold]{escape(name):<18}[/] {escape(first.lstrip('# ')) if first.startswith('#') else ''}")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def main() -> None:
    """The ``fedistill`` command."""
    from fedistill.errors import FedistillError
    from fedistill.memory import keep_freed_memory

    keep_freed_memory()
    signal.signal(signal.SIGTERM, _stop)
    try:
        cli(standalone_mode=True)
    except FedistillError as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except (_Stopped, SystemError) as error:
        # Compiled code, such as Ray's, hands the exception of a signal on as the cause of another.
        if not isinstance(error, _Stopped) and not isinstance(error.__cause__, _Stopped):
            raise
        errors.print("stopped; run the same command again to resume")
        sys.exit(128 + signal.SIGTERM)
    except OSError as error:
        if error.errno not in FULL:
            raise
        where = f" at {error.filename}" if error.filename else ""
        errors.print(f"[red]error:[/] there is no room to write{escape(where)}", soft_wrap=True)
        errors.print("  to mend it: make room, and run the same command again: what is finished is kept")
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("stopped; run the same command again to resume")
        sys.exit(128 + signal.SIGINT)


class _Stopped(BaseException):
    """SIGTERM: like Ctrl-C, it passes through the work, which keeps what it has."""


def _stop(number: int, frame: object) -> None:
    raise _Stopped


if __name__ == "__main__":
    main()
