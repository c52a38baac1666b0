"""Commands of a deployment: keys, the coordinator's server, a hospital's node. Thin, as ``cli.py`` is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from fedistill.cli import options

if TYPE_CHECKING:
    from fedistill.config import Plan
    from fedistill.core.events import Event

Insecure = Annotated[
    bool, typer.Option("--insecure", help="Without TLS and keys: whoever can reach the server can read and join.")
]


def keys(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where they go; what is there stays as it is.")],
    sites: Annotated[str, typer.Option(help="Names of the sites, with commas between.")] = "",
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="NAME|ADDRESS", help="Under which sites reach the server; several times."),
    ] = None,
) -> None:
    """Make the keys and certificates of a deployment."""
    from fedistill.core.files import require_folder
    from fedistill.errors import SettingError
    from fedistill.transport.deploy.keys import make_keys

    named = [name.strip() for name in sites.split(",") if name.strip()]
    if not named:
        raise SettingError("No sites given.", mend="--sites north,east,south")
    require_folder(folder, "DIR")
    written = make_keys(folder, named, hosts or ())
    for path in written:
        options.console.print(escape(str(path)), soft_wrap=True)
    options.console.print(
        "Hand each hospital its folder site-NAME. Move authority/root.key off this machine, to where nobody gets at "
        "it: servers are signed with it, and nothing that runs needs it."
        if written
        else "Nothing was missing.",
        soft_wrap=True,
    )


def server(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder `server` that `fedistill keys` has made.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "0.0.0.0",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 9092,
    insecure: Insecure = False,
) -> None:
    """Run the coordinator's server, which sites connect to. Ctrl-C ends it."""
    from fedistill.transport.deploy.superlink import run_server

    run_server(folder, host=host, port=port, insecure=insecure, tell=_tell)


def site(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="This hospital's file.")],
    insecure: Insecure = False,
) -> None:
    """Run a hospital's node: its own data, its own rules, its own code. Ctrl-C ends it."""
    from fedistill.config.site_file import load_site
    from fedistill.core.files import require_folder
    from fedistill.transport.deploy.site_node import run_site

    own = load_site(str(file))
    require_folder(own.path(own.file.store), "The site's store")
    run_site(own, insecure=insecure, tell=_tell)


def run_deployed(
    plan: "Plan",
    name: str,
    engine: str,
    out: Path | None,
    data_root: Path | None,
    phantom: bool,
    changes: Sequence[str],
    not_here: Mapping[str, object],
) -> None:
    """Run ``fedistill run NAME --engine superlink:WHERE`` on the sites that are connected there.

    Args:
        plan: the simulation.
        name: as the user typed it.
        engine: ``superlink:WHERE``.
        out: run folder, or None.
        data_root: folder of MedMNIST's files.
        phantom: whether phantoms stand in for data sets.
        changes: as ``--set`` takes them.
        not_here: options given that only engines on this machine know.
    """
    from fedistill.consent.study import canonical, hash_of, load_study
    from fedistill.report.terminal.progress import Progress
    from fedistill.study.folder.tables_on_disk import read_typed_table
    from fedistill.study.submitted import require_plain, run_submitted
    from fedistill.study.tracking import tracking

    require_plain(**not_here)
    study = load_study(name, changes=changes, phantom=phantom)
    _tell(f"study {hash_of(canonical(study))[:12]}: sites answer who have agreed to it (`fedistill agree`)")
    sites, folder = plan.first.federation.sites, out or Path("runs") / plan.name
    with tracking(plan.track, plan.name) as trackers, Progress(sites, options.console) as progress:

        def listen(event: "Event") -> None:
            for tracker in trackers:
                tracker(event)
            progress(event)

        done = run_submitted(
            plan,
            name,
            engine.partition(":")[2],
            out=folder,
            data_root=options.text(data_root),
            phantom=phantom,
            changes=changes,
            on_event=listen,
            tell=_tell,
        )
        for tracker in trackers:
            tracker.finish(folder, read_typed_table(folder / "comparison.csv"))
    for line in done.missing:
        _tell(f"missing: {line}")
    _tell(f"report: {folder / 'report.html'}")


def add_to(cli: typer.Typer) -> None:
    """Put the commands into the command line."""
    for command in (keys, server, site):
        cli.command()(command)


def _tell(line: str) -> None:
    options.console.print(escape(line), soft_wrap=True)
