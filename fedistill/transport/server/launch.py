"""The launch of a plan: open a runtime and run the server's Flower app on it.

The same two apps run everywhere: here on Ray tasks or in this process, with ``flwr run`` on Flower's own runtime.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedistill.config import Plan, Simulation, Site
from fedistill.config.scheme import EVERYONE, scheme_named
from fedistill.consent.study import canonical, hash_of
from fedistill.core.events import OnEvent, ignore
from fedistill.core.files import PRIVATE_FOLDER
from fedistill.errors import PlanError, SettingError, nearest
from fedistill.training.device import device_for
from fedistill.transport.backend.compute_time import Busy
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.runtime import Runtime, open_runtime
from fedistill.transport.backend.server_work import ServerWork
from fedistill.transport.deploy.deadline_grid import DeadlineGrid
from fedistill.transport.deploy.deployed import RETURN_SECONDS, WAIT_SECONDS, find_sites, require_agreed, status_told
from fedistill.transport.server.coordinator import Coordinator

ELSEWHERE = "~/.cache/fedistill/store"
"""Store of a cluster's machine that cannot see the run's store."""

CLIENT = "fedistill.transport.site.app:app"

Conduct = Callable[[Coordinator], Any]


@dataclass(frozen=True)
class Launched:
    """The outcome of a launch.

    Args:
        result: of the study.
        workers: number of CPUs.
        busy: compute seconds of sites and server.
        start_seconds: until the runtime was ready.
    """

    result: Any
    workers: int
    busy: Busy
    start_seconds: float


def engine_here() -> str:
    """Return the default engine: the Ray cluster that ``$RAY_ADDRESS`` names, else ``local``."""
    return os.environ.get("RAY_ADDRESS") or "local"


def require_engine(engine: str, simulation: Simulation, workers: int | None) -> None:
    """Check, before any work, that the engine exists and this machine has what the simulation needs.

    Raises:
        SettingError: there is no such engine.
        PlanError: a site needs more CPUs than a local Ray has, or the server needs a GPU and there is none.
    """
    if engine in ("inline", "local"):
        device_for(simulation.gpus)
    if engine == "inline":
        return
    if engine != "local":
        host, _, port = engine.rpartition(":")
        if not host or not port.isdecimal():
            known = "local, inline or HOST:PORT of a Ray cluster"
            mend = nearest(engine, ("local", "inline"))
            if engine == os.environ.get("RAY_ADDRESS"):
                mend = "it comes from RAY_ADDRESS in the environment: pass --engine HOST:PORT, or --engine local"
            raise SettingError(f"There is no engine {engine!r}.", expected=known, mend=mend)
        return  # a cluster's resources are known once it is reached
    has = workers or len(os.sched_getaffinity(0))
    for name in simulation.federation.sites:
        asks = simulation.federation.of(name).cpus
        if asks > has:
            raise PlanError(
                f"Site {name!r} needs more CPUs than there are.",
                expected=f"at most {has}",
                found=f"cpus = {asks:g}",
                mend="lower cpus in the federation file, or raise --workers",
            )


def launch(
    plan: Plan,
    conduct: Callable[[Sequence[Coordinator]], Any],
    *,
    engine: str,
    store: Path,
    data_root: str | None,
    workers: int | None = None,
    on_event: OnEvent = ignore,
) -> Launched:
    """Run a plan's studies on one runtime, on this machine or a Ray cluster.

    Args:
        plan: with the federations of all points.
        conduct: runs the studies, given a Coordinator for each point; they share one wire, and any of them polls it.
        engine: ``local``, ``inline`` or HOST:PORT.
        store: of the sites.
        data_root: folder of MedMNIST files.
        workers: number of CPUs of a local Ray.
        on_event: receives every event.

    Raises:
        RunError: the runtime cannot be opened.
    """
    results: list[Any] = []
    store.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)  # visible to machines that share this disk
    nodes, addresses = _nodes(plan, store, data_root, cluster=engine not in ("local", "inline"))
    start = time.perf_counter()
    with open_runtime(
        engine,
        nodes,
        CLIENT,
        {},
        workers=workers,
        deadline_s=plan.first.deadline_s,
        silence_s=plan.first.silence_s,
        on_event=on_event if engine == "inline" else None,
    ) as runtime:
        start_seconds = time.perf_counter() - start
        events = list if engine == "inline" else runtime.events

        def main(grid: Grid, context: Context) -> None:
            sites = plan.first.federation.sites
            wire = Coordinator(grid, runtime.executor, sites, events=events, on_event=on_event)
            named = zip(addresses, plan.points, strict=True)
            results.append(conduct([wire.at(own, point.label) for own, point in named]))

        _call_app(main, runtime)
        return Launched(results[0], runtime.workers, runtime.busy, start_seconds)


def _call_app(main: Callable[[Grid, Context], None], runtime: Runtime) -> None:
    app = ServerApp()
    app.main()(main)
    grid = runtime.grid
    context = Context(run_id=grid.run.run_id, node_id=0, node_config={}, state=RecordDict(), run_config={})
    app(grid, context)


def server_app(prepare: Callable[[Mapping[str, Any]], tuple[Simulation, Conduct]]) -> ServerApp:
    """Return the ServerApp that ``flwr run`` starts.

    ``prepare`` returns the simulation and its study for the run's configuration.
    """
    app = ServerApp()

    def main(grid: Grid, context: Context) -> None:
        # Flower's runtime offers no other place for the server's work than this process.
        if context.run_config.get("deployed"):
            with status_told():
                simulation, conduct = prepare(context.run_config)
                wire: Any = grid  # Flower's grid over HTTP, which knows more about nodes than the Grid type says
                resumed = bool(context.run_config.get("resumed"))

                def registered() -> dict[int, str]:
                    return {node.node_id: node.name for node in wire.get_nodes()}

                conduct(of_deployed(grid, simulation, registered, resumed=resumed))
            return
        simulation, conduct = prepare(context.run_config)
        conduct(Coordinator(grid, ServerWork(), simulation.federation.sites))

    app.main()(main)
    return app


def of_deployed(
    grid: Grid,
    simulation: Simulation,
    registered: Callable[[], Mapping[int, str]] = dict,
    *,
    resumed: bool = False,
) -> Coordinator:
    """Return the coordinator of a study between hospitals, once they are connected and enough of them have agreed.

    Args:
        grid: of real nodes.
        simulation: the study, written out.
        registered: by node the name that its key was registered under, where nodes have keys.
        resumed: the server was started again in the middle of the run, so nodes may still be on their way back.

    Raises:
        RunError: no site is connected, or two say they are one.
        PlanError: too few have agreed to the study.
    """
    sites, deadline = simulation.federation.sites, simulation.deadline_s
    assert deadline is not None  # `require_deployable` has refused a simulation without one
    patience = max(WAIT_SECONDS, min(deadline, RETURN_SECONDS)) if resumed else WAIT_SECONDS
    nodes, text = find_sites(grid, sites, registered=registered, patience=patience), canonical(simulation)
    notes = require_agreed(grid, nodes, text, name=simulation.name, needed=simulation.sites_needed)
    patient = DeadlineGrid(grid, deadline_s=deadline)
    coordinator = Coordinator(patient, ServerWork(), sites, study=hash_of(text), review_s=deadline, notes=notes)
    return coordinator.at(nodes, "")


def _nodes(plan: Plan, store: Path, data_root: str | None, *, cluster: bool) -> tuple[list[Node], list[dict[str, int]]]:
    """Return the nodes of all points, and each point's node ids by site; equal federations share their nodes."""
    nodes: list[Node] = []
    addresses: dict[str, dict[str, int]] = {}
    described = [point.simulation.federation.model_dump_json() for point in plan.points]
    pairs = list(zip(described, plan.points, strict=True))
    central = {text for text, point in pairs if any(scheme_named(s).one_place for s in point.simulation.scheme)}
    for text, point in pairs:
        if text in addresses:
            continue
        federation = point.simulation.federation
        own: dict[str, str | int | bool] = {
            "num-partitions": len(federation.sites),
            "federation": text,
            "data-root": data_root or "",
            "store": str(store),
            **({"store-elsewhere": ELSEWHERE} if cluster else {}),
        }
        own_nodes = [
            _node(len(nodes) + place + 1, name, federation.of(name), {**own, "partition-id": place, "site": name})
            for place, name in enumerate(federation.sites)
        ]
        if text in central:
            # A node with all sites' data, which no hospital has. It computes as a site without settings of its own.
            config = {**own, "partition-id": len(own_nodes), "site": EVERYONE, "everyone": True}
            own_nodes.append(_node(len(nodes) + len(own_nodes) + 1, EVERYONE, federation.of(EVERYONE), config))
        nodes += own_nodes
        addresses[text] = {node.name: node.node_id for node in own_nodes}
    return nodes, [addresses[text] for text in described]


def _node(node_id: int, name: str, site: Site, config: dict[str, str | int | bool]) -> Node:
    memory = None if site.memory_gb is None else int(site.memory_gb * 1e9)
    return Node(node_id, name, config, site.cpus, site.gpus, memory, site.threads)
