"""Opens a runtime for a plan and lets the server's Flower app run on it.

The same two apps serve everywhere: here on Ray tasks or in this process, with ``flwr run`` on Flower's own runtime.
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
from fedistill.config.scheme_settings import EVERYONE, scheme_named
from fedistill.core.files import PRIVATE_FOLDER
from fedistill.errors import PlanError, SettingError, nearest
from fedistill.training.device import device_for
from fedistill.transport.backend.compute_time import Busy
from fedistill.transport.backend.events import Event
from fedistill.transport.backend.executor import InlineExecutor
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.runtime import Runtime, open_runtime
from fedistill.transport.deploy.deadline_grid import DeadlineGrid
from fedistill.transport.deploy.deployed import find_sites, status_told
from fedistill.transport.server.coordinator import Coordinator

ELSEWHERE = "~/.cache/fedistill/store"
"""Where a machine of a cluster that does not see the run's store keeps what its jobs need again."""

CLIENT = "fedistill.transport.site.app:app"

Conduct = Callable[[Coordinator], Any]


@dataclass(frozen=True)
class Launched:
    """What came of a launch.

    Args:
        result: of the study.
        workers: CPUs it had.
        busy: the seconds that sites and server computed.
        start_seconds: until the runtime was up.
    """

    result: Any
    workers: int
    busy: Busy
    start_seconds: float


def engine_here() -> str:
    """What a run computes on unless told: the cluster that ``$RAY_ADDRESS`` names, as for all that uses Ray."""
    return os.environ.get("RAY_ADDRESS") or "local"


def require_engine(engine: str, simulation: Simulation, workers: int | None) -> None:
    """Refuse an engine that cannot be, and more than this machine has, before anything is touched.

    Raises:
        SettingError: no such engine.
        PlanError: a site asks for more CPUs than a local Ray has, or the server for a GPU where there is none.
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
                mend = "the environment has it as RAY_ADDRESS: give --engine HOST:PORT, or --engine local"
            raise SettingError(f"There is no engine {engine!r}.", expected=known, mend=mend)
        return  # what a cluster has it says itself, once it is reached
    has = workers or len(os.sched_getaffinity(0))
    for name in simulation.federation.sites:
        asks = simulation.federation.of(name).cpus
        if asks > has:
            raise PlanError(
                f"Site {name!r} asks for more CPUs than there are.",
                expected=f"at most {has}",
                found=f"cpus = {asks:g}",
                mend="lower cpus in the federation file, or give more --workers",
            )


def launch(
    plan: Plan,
    conduct: Callable[[Sequence[Coordinator]], Any],
    *,
    engine: str,
    store: Path,
    data_root: str | None,
    workers: int | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Launched:
    """Run a plan's studies, all on one runtime, on this machine or a Ray cluster.

    Args:
        conduct: the studies; handed a Coordinator for each point. They share one wire, and any of them polls for all.
        engine: ``local``, ``inline`` or HOST:PORT.
        store: the sites' store.
        data_root: folder of MedMNIST files.
        workers: CPUs of a local Ray.
        on_event: told of every event.

    Raises:
        RunError: the runtime cannot be opened.
    """
    results: list[Any] = []
    store.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)  # machines that share this disk are to see it
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
            results.append(conduct([wire.at(there, point.label) for there, point in named]))

        _call(main, runtime)
        return Launched(results[0], runtime.workers, runtime.busy, start_seconds)


def _call(main: Callable[[Grid, Context], None], runtime: Runtime) -> None:
    app = ServerApp()
    app.main()(main)
    grid = runtime.grid
    context = Context(run_id=grid.run.run_id, node_id=0, node_config={}, state=RecordDict(), run_config={})
    app(grid, context)


def server_app(prepare: Callable[[Mapping[str, Any]], tuple[Simulation, Conduct]]) -> ServerApp:
    """The ServerApp that ``flwr run`` starts.

    Args:
        prepare: from the run's configuration to the simulation and its study.
    """
    app = ServerApp()

    def main(grid: Grid, context: Context) -> None:
        # Flower's runtime has no place for server work but this process.
        if context.run_config.get("deployed"):
            with status_told():
                simulation, conduct = prepare(context.run_config)
                sites, deadline = simulation.federation.sites, simulation.deadline_s
                assert deadline is not None  # `prepare` has refused a simulation without
                wire: Any = grid  # Flower's own over HTTP, which tells more of nodes than every grid must
                found = find_sites(grid, sites, registered=lambda: {n.node_id: n.name for n in wire.get_nodes()})
                patient = DeadlineGrid(grid, deadline_s=deadline)
                conduct(Coordinator(patient, InlineExecutor(), sites).at(found, ""))
            return
        simulation, conduct = prepare(context.run_config)
        conduct(Coordinator(grid, InlineExecutor(), simulation.federation.sites))

    app.main()(main)
    return app


def _nodes(plan: Plan, store: Path, data_root: str | None, *, cluster: bool) -> tuple[list[Node], list[dict[str, int]]]:
    """The sites of all points, and each point's by name. Points with equal federations have the same sites."""
    nodes: list[Node] = []
    found: dict[str, dict[str, int]] = {}
    described = [point.simulation.federation.model_dump_json() for point in plan.points]
    pairs = list(zip(described, plan.points, strict=True))
    central = {text for text, point in pairs if any(scheme_named(s).kind == "central" for s in point.simulation.scheme)}
    for text, point in pairs:
        if text in found:
            continue
        federation = point.simulation.federation
        own: dict[str, str | int | bool] = {
            "num-partitions": len(federation.sites),
            "federation": text,
            "data-root": data_root or "",
            "store": str(store),
            **({"store-elsewhere": ELSEWHERE} if cluster else {}),
        }
        made = [
            _node(len(nodes) + place + 1, name, federation.of(name), {**own, "partition-id": place, "site": name})
            for place, name in enumerate(federation.sites)
        ]
        if text in central:
            # What no hospital has: everybody's data. It computes as a site that sets nothing of its own.
            config = {**own, "partition-id": len(made), "site": EVERYONE, "everyone": True}
            made.append(_node(len(nodes) + len(made) + 1, EVERYONE, federation.of(EVERYONE), config))
        nodes += made
        found[text] = {node.name: node.node_id for node in made}
    return nodes, [found[text] for text in described]


def _node(node_id: int, name: str, site: Site, config: dict[str, str | int | bool]) -> Node:
    memory = None if site.memory_gb is None else int(site.memory_gb * 1e9)
    return Node(node_id, name, config, site.cpus, site.gpus, memory, site.threads)
