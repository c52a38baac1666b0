"""The two Flower apps, which `flwr run .` starts, and one call that runs a simulation."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedistill.config import Simulation, load_plan
from fedistill.config.dataset_names import require_no_variable
from fedistill.consent.study import load_study
from fedistill.core.events import OnEvent, ignore
from fedistill.errors import PlanError
from fedistill.report.html.page import write_report
from fedistill.report.html.render import has_templates
from fedistill.study import Finished, run, run_on
from fedistill.transport.deploy.deployed import require_deployable
from fedistill.transport.server.coordinator import Coordinator
from fedistill.transport.server.launch import Conduct, server_app
from fedistill.transport.site.app import app as client

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

__all__ = ["client", "run_simulation", "server"]


def _prepare(config: Mapping[str, Any]) -> tuple[Simulation, Conduct]:
    changes = json.loads(str(config.get("changes") or "[]"))
    require_no_variable(map(str, changes))
    plan = load_plan(str(config["simulation"]), changes=changes, phantom=bool(config.get("phantom", False)))
    deployed = bool(config.get("deployed"))
    if deployed:
        require_deployable(plan)
    if plan.sweep:
        raise PlanError(
            f"{plan.name} sweeps over {', '.join(plan.sweep)}: `flwr run` runs a single simulation.",
            mend=f"fedistill run {config['simulation']}",
        )
    simulation = plan.first
    if plan.track and not deployed:  # of connected sites, the command that submitted the run copies it
        _log.warning("`flwr run` copies nothing to [track]; `fedistill run %s` does", config["simulation"])
    if deployed:
        simulation = load_study(str(config["simulation"]), changes=changes, phantom=bool(config.get("phantom", False)))
    out = Path(str(config.get("out") or f"runs/{simulation.name}"))
    root = str(config.get("data-root") or "") or None

    def conduct(coordinator: Coordinator) -> Finished:
        finished = run_on(simulation, coordinator, out=out, data_root=root, deployed=deployed)
        if has_templates():
            write_report(finished)
        else:
            _log.warning("The report is not among this app's files; write it with: fedistill report %s", finished.root)
        return finished

    return simulation, conduct


server = server_app(_prepare)


def run_simulation(
    name: str,
    *,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    phantom: bool = False,
    changes: Sequence[str] = (),
    engine: str | None = None,
    cache: str | Path | None = None,
    fresh: bool = False,
    workers: int | None = None,
    on_event: OnEvent = ignore,
) -> "pd.DataFrame":
    """Run a simulation, or all points of its sweep, and return the rows of its results.csv.

    Args:
        name: of a simulation in ``simulations/``, or a path to a TOML file.
        out: the run folder, default ``runs/NAME``; an unfinished run there is resumed.
        data_root: folder of MedMNIST files, default ``$MEDMNIST_ROOT``, else ``~/.medmnist``.
        phantom: replace every data set by its phantom.
        changes: ``"key=value"`` with dotted keys of the TOML.
        engine: ``local`` (Ray on this machine), ``inline`` (no Ray) or HOST:PORT of a Ray cluster; default
            ``$RAY_ADDRESS``, else ``local``.
        cache: a store shared with other runs.
        fresh: set an earlier run aside instead of resuming it.
        workers: number of CPUs of a local Ray; default all.
        on_event: receives every event.

    Raises:
        UserError: the simulation, the data or the folder is invalid; nothing was done.
        RunError: the run could not be finished.
    """
    plan = load_plan(name, changes=changes, phantom=phantom)
    finished = run(
        plan,
        out=Path(out) if out is not None else Path("runs") / plan.name,
        engine=engine,
        data_root=None if data_root is None else str(data_root),
        cache=None if cache is None else Path(cache),
        fresh=fresh,
        workers=workers,
        on_event=on_event,
    )
    write_report(finished)
    return finished.rows
