"""Commands that compute: run, distill, audit, predict."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from fedistill.cli import options
from fedistill.cli.as_json import Json, print_json, records

if TYPE_CHECKING:
    from fedistill.config import Plan
    from fedistill.study import Finished


def run(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE.toml", help="A simulation.")],
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/NAME.")] = None,
    data_root: options.DataRoot = None,
    phantom: options.Phantom = False,
    changes: options.Set = None,
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
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="PROGRAM=DIR", help="Copy curves and tables for tensorboard, mlflow or wandb, offline."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a simulation, or all points of its sweep; run it again to resume."""
    began = time.perf_counter()
    from fedistill.config import load_plan
    from fedistill.config.track import track_words
    from fedistill.report.run_data import read_run
    from fedistill.report.terminal.table import print_comparison

    plan = load_plan(name, changes=changes or (), phantom=phantom)
    plan = replace(plan, track={**plan.track, **track_words(track or ())})
    points = [point.simulation for point in plan.points]
    sites = list(dict.fromkeys(site for each in points for site in each.federation.sites))
    data = ", ".join(dict.fromkeys(Path(name).name for each in points for name in each.federation.datasets()))
    schemes = ", ".join(dict.fromkeys(scheme for each in points for scheme in each.scheme))
    console = options.errors if as_json else options.console
    console.print(f"[bold]{escape(plan.name)}[/]: {len(sites)} sites, {escape(data)}, {escape(schemes)}")
    if plan.sweep:
        console.print(f"{len(points)} points of a sweep over {escape(', '.join(plan.sweep))}")
    if engine is not None and engine.startswith("superlink:"):
        from fedistill.cli.deploy import run_deployed

        not_here = {"workers": workers, "cache": cache, "fresh": fresh, "json": as_json}
        run_deployed(plan, name, engine, out, data_root, phantom, changes or (), not_here)
        return
    finished, report = _ran(plan, began, out, engine, data_root, cache, fresh, workers, as_json=as_json)
    if as_json:
        print_json({"report": report, "comparison": records(finished.comparison)})
        return
    print_comparison(read_run(finished.root), options.console)
    if finished.timing is not None:
        options.console.print(finished.timing.until_now().line(), markup=False)
    options.console.print(f"{finished.computed} distillations and networks computed, {finished.found} found.")
    options.console.print(f"report: {options.short(report)}", soft_wrap=True)


def _ran(
    plan: "Plan",
    began: float,
    out: Path | None,
    engine: str | None,
    data_root: Path | None,
    cache: Path | None,
    fresh: bool,
    workers: int | None,
    *,
    as_json: bool,
) -> tuple["Finished", Path]:
    """Run a plan with its progress shown; what it left in memory, and its report."""
    from fedistill.report.html.page import write_report
    from fedistill.report.terminal.progress import Progress
    from fedistill.study import run as run_study

    sites = dict.fromkeys(site for point in plan.points for site in point.simulation.federation.sites)
    console = options.errors if as_json else options.console
    with Progress(list(sites), console) as progress:
        finished = run_study(
            plan,
            out=out or Path("runs") / plan.name,
            engine=engine,
            data_root=options.text(data_root),
            cache=cache,
            fresh=fresh,
            workers=workers,
            on_event=progress,
            began=began,
        )
    return finished, write_report(finished)


def distill(
    data: Annotated[str, typer.Argument(metavar="DATASET|FILE.npz")],
    out: Annotated[Path, typer.Option(help="Where the Release file goes.")],
    method: Annotated[str, typer.Option(help="tdm, dc, mtt, herding, random, ...")] = "tdm",
    ipc: Annotated[int, typer.Option(help="Images per class.")] = 10,
    seed: Annotated[int, typer.Option()] = 0,
    width: Annotated[int, typer.Option(help="Of the network that is matched on.", min=1)] = 128,
    size: Annotated[int | None, typer.Option(help="Pixels, for MedMNIST sets and phantoms.")] = None,
    precision: Annotated[str, typer.Option(help="auto, float32, tf32 (on a GPU) or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    encoding: Annotated[
        str, typer.Option(help="uint8, float16 or float32 pixels in the file; real images are always uint8.")
    ] = "uint8",
    data_root: options.DataRoot = None,
    phantom: options.Phantom = False,
    changes: options.Set = None,
) -> None:
    """Distil one hospital's training images to a file. The same command resumes an interrupted run.

    `--set` takes the method's settings, and `preset="published"` for the papers' own.
    """
    from fedistill.api.distill_file import distill_to_file
    from fedistill.config.literals import literals
    from fedistill.report.terminal.progress import Progress

    settings: dict[str, Any] = literals(changes or ())
    with Progress(["site"], options.console) as progress:
        written = distill_to_file(
            data,
            out,
            method=method,
            ipc=ipc,
            seed=seed,
            width=width,
            size=size,
            data_root=options.text(data_root),
            phantom=phantom,
            settings=settings,
            precision=precision,
            device=device,
            encoding=encoding,
            on_event=lambda event: progress(replace(event, job=f"{method} ipc {ipc}", site="site")),
        )
    options.console.print(written, markup=False)


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
    data_root: options.DataRoot = None,
    phantom: options.Phantom = False,
    changes: options.Set = None,
    engine: options.Engine = None,
    workers: Annotated[int | None, typer.Option(min=1, help="CPUs of a local Ray. Default: all.")] = None,
    cache: Annotated[Path | None, typer.Option(help="A store to share between runs.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Set an earlier run aside instead of resuming it.")] = False,
    as_json: Json = False,
) -> None:
    """Attack what one site sends: is an image in its data? Run it again to resume."""
    began = time.perf_counter()
    from fedistill.config import audited_plan
    from fedistill.report.run_data import read_run
    from fedistill.report.terminal.table import print_leaks

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
    finished, report = _ran(plan, began, out, engine, data_root, cache, fresh, workers, as_json=as_json)
    if as_json:
        from fedistill.study.folder.tables_on_disk import read_typed_table

        print_json({"report": report, "privacy": records(read_typed_table(finished.root / "privacy.csv"))})
        return
    print_leaks(read_run(finished.root), options.console)
    options.console.print(f"{finished.computed} distillations, networks and shadows computed, {finished.found} found.")
    options.console.print(f"report: {options.short(report)}", soft_wrap=True)


def predict(
    data: Annotated[str, typer.Argument(metavar="DATASET|FILE.npz")],
    ipc: Annotated[int, typer.Option(help="Images per class that each site would share.", min=1)] = 10,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="RUN", help="A run folder to rest on; several times. Default: all of runs/."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="dc, mtt, ... Default: all that enough runs have.")] = None,
    federation: Annotated[
        str | None, typer.Option(help="Of which federation's runs, where a study has several: alone, four-unlike, ...")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. Default: runs/predict-DATASET-ipcK.")] = None,
    data_root: options.DataRoot = None,
    phantom: options.Phantom = False,
    engine: options.Engine = None,
    workers: Annotated[int | None, typer.Option(min=1, help="CPUs of a local Ray. Default: all.")] = None,
) -> None:
    """Say what distillation is likely to reach on a data set, from random subsets of it and runs on five other sets."""
    from fedistill.report.terminal.prediction import draw_prediction, print_prediction
    from fedistill.report.terminal.progress import Progress
    from fedistill.study.feasibility.predict import predict as foretell
    from fedistill.study.feasibility.reference_runs import find_basis

    basis = find_basis(data, ipc=ipc, sources=sources, method=method, federation=federation, phantom=phantom)
    with Progress(list(basis.simulation.federation.sites), options.console) as progress:
        prediction = foretell(
            basis,
            out=out,
            engine=engine,
            data_root=options.text(data_root),
            workers=workers,
            on_event=progress,
        )
    print_prediction(prediction, options.console)
    options.console.print(f"figure: {options.short(draw_prediction(prediction))}", soft_wrap=True)


def add_to(cli: typer.Typer) -> None:
    """Put the commands into the command line."""
    for command in (run, distill, audit, predict):
        cli.command()(command)
