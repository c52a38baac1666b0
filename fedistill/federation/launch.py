"""Opens a runtime for a simulation and lets the server's Flower app run on it.

The same two apps serve everywhere: here on Ray tasks or in this process, with ``flwr run`` on Flower's own runtime.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedistill.errors import PlanError, SettingError, nearest
from fedistill.federation.coordinator import Coordinator
from fedistill.federation.events import Event
from fedistill.federation.executor import InlineExecutor
from fedistill.federation.nodes import Node
from fedistill.federation.runtime import Runtime, open_runtime
from fedistill.plan import Simulation
from fedistill.training.device import device_for

CLIENT = "fedistill.federation.site_app:app"

Conduct = Callable[[Coordinator], Any]


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
            raise SettingError(
                f"There is no engine {engine!r}.", expected=known, mend=nearest(engine, ("local", "inline"))
            )
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
    simulation: Simulation,
    conduct: Conduct,
    *,
    engine: str,
    store: Path,
    data_root: str | None,
    workers: int | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Any:
    """Run a study on this machine or a Ray cluster.

    Args:
        conduct: the study; handed a Coordinator, its result is returned.
        engine: ``local``, ``inline`` or HOST:PORT.
        store: the sites' store.
        data_root: folder of MedMNIST files.
        workers: CPUs of a local Ray.
        on_event: told of every event.

    Raises:
        RunError: the runtime cannot be opened.
    """
    results: list[Any] = []
    with open_runtime(
        engine,
        _nodes(simulation, store, data_root),
        CLIENT,
        {},
        workers=workers,
        deadline_s=simulation.deadline_s,
        silence_s=simulation.silence_s,
        on_event=on_event if engine == "inline" else None,
    ) as runtime:
        events = list if engine == "inline" else runtime.events
        sites = simulation.federation.sites

        def main(grid: Grid, context: Context) -> None:
            coordinator = Coordinator(grid, runtime.executor, sites, events=events, on_event=on_event)
            results.append(conduct(coordinator))

        _call(main, runtime)
    return results[0]


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
        simulation, conduct = prepare(context.run_config)
        # Flower's runtime has no place for server work but this process.
        conduct(Coordinator(grid, InlineExecutor(), simulation.federation.sites))

    app.main()(main)
    return app


def _nodes(simulation: Simulation, store: Path, data_root: str | None) -> list[Node]:
    federation = simulation.federation
    own: dict[str, str | int] = {
        "num-partitions": len(federation.sites),
        "federation": federation.model_dump_json(),
        "data-root": data_root or "",
        "store": str(store),
    }
    nodes = []
    for place, name in enumerate(federation.sites):
        site = federation.of(name)
        memory = None if site.memory_gb is None else int(site.memory_gb * 1e9)
        config = {**own, "partition-id": place, "site": name}
        nodes.append(Node(place + 1, name, config, site.cpus, site.gpus, memory, site.threads))
    return nodes
