"""Runs a simulation: everything checked before any work, then one study on one runtime, then the folder's tables."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fedistill.data import ImageSet
from fedistill.errors import DataError
from fedistill.federation.coordinator import Coordinator
from fedistill.federation.launch import launch, require_engine
from fedistill.plan import Holdings, Simulation, holdings, test_set
from fedistill.store import Store, Tensors, key_of
from fedistill.study.arm import Scored
from fedistill.study.comparison import comparison
from fedistill.study.conduct import Study
from fedistill.study.environment import environment
from fedistill.study.folder import RunFolder, opened
from fedistill.study.grids import write_grids
from fedistill.study.rows import results, sites


@dataclass(frozen=True, eq=False)
class Finished:
    """What a run leaves in memory: the folder has it all on disk."""

    simulation: Simulation
    root: Path
    rows: pd.DataFrame
    comparison: pd.DataFrame
    sites: pd.DataFrame
    holdings: Holdings
    seconds: float
    computed: int
    found: int


def run(
    simulation: Simulation,
    *,
    out: Path,
    engine: str = "local",
    data_root: str | None = None,
    cache: Path | None = None,
    fresh: bool = False,
    workers: int | None = None,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Finished:
    """Run a simulation to its rows.

    Args:
        out: the run folder. An earlier run of the same simulation there is resumed.
        engine: ``local`` (Ray on this machine), ``inline`` (this process) or HOST:PORT of a Ray cluster.
        data_root: folder of MedMNIST files.
        cache: a store to share with other runs, instead of the run folder's own.
        fresh: set an earlier run aside first.
        workers: CPUs of a local Ray; default all.
        on_event: told of every event, on its way to events.jsonl.

    Raises:
        UserError: something in the simulation, the data or the folder cannot be; nothing was done.
        RunError: the run could not be finished; what was finished is kept.
    """

    require_engine(engine, simulation, workers)
    # Workers on this machine have a folder of their own to start from.
    data_root = None if data_root is None else str(Path(data_root).expanduser().resolve())

    def work(folder: RunFolder, store: Store, test: ImageSet, divided: list[Holdings]) -> Study:
        site_of: dict[str, str] = {}  # the grid names a job's site once, when it starts

        def listen(event: dict[str, Any]) -> None:
            job = str(event.get("job", ""))
            site_of.setdefault(job, str(event.get("site") or ""))
            event = {**event, "site": site_of[job] or None}
            folder.event(event)
            on_event(event)

        def conduct(coordinator: Coordinator) -> Study:
            return _conducted(simulation, coordinator, folder, store, test, divided, on_event=listen)

        return launch(
            simulation,
            conduct,
            engine=engine,
            store=store.root,
            data_root=data_root,
            workers=workers,
            on_event=listen,
        )

    return _framed(simulation, work, out, engine, data_root, cache, fresh, workers)


def run_on(simulation: Simulation, coordinator: Coordinator, *, out: Path, data_root: str | None = None) -> Finished:
    """`run` on a grid that somebody else opened, such as Flower's own."""

    def work(folder: RunFolder, store: Store, test: ImageSet, divided: list[Holdings]) -> Study:
        return _conducted(simulation, coordinator, folder, store, test, divided, on_event=folder.event)

    return _framed(simulation, work, out, "flower", data_root, None, False, None)


def _conducted(
    simulation: Simulation,
    coordinator: Coordinator,
    folder: RunFolder,
    store: Store,
    test: ImageSet,
    divided: list[Holdings],
    *,
    on_event: Callable[[dict[str, Any]], None],
) -> Study:
    study = Study(simulation, coordinator, folder, store, test, divided, on_event=on_event)
    study.scored = coordinator.conduct(study.run())
    return study


def _framed(
    simulation: Simulation,
    work: Callable[[RunFolder, Store, ImageSet, list[Holdings]], Study],
    out: Path,
    engine: str,
    data_root: str | None,
    cache: Path | None,
    fresh: bool,
    workers: int | None,
) -> Finished:
    """Checks before, tables after."""
    start = time.perf_counter()
    test = test_set(simulation.federation, data_root)
    # Every redraw of who holds what is tried before any work: a rule that fails does so now.
    drawn: list[tuple[str, Any, Tensors]] = []

    def note(kind: str, detail: Any, make: Callable[[], Tensors]) -> Tensors:
        drawn.append((kind, detail, make()))
        return drawn[-1][2]

    divided = [holdings(simulation.federation, p, data_root, note) for p in range(simulation.partitions)]
    if len(test) == 0:
        raise DataError("The test split is empty: there is nothing to compare on.")
    with opened(out, simulation, fresh=fresh) as folder:
        store = Store((cache or folder.work).resolve())
        for kind, detail, made in drawn:  # found there by the workers, which spares each the partitioners' import
            store.put(kind, key_of(detail), made)
        folder.json("environment", environment(simulation, data_root, engine=engine, workers=workers))
        study = work(folder, store, test, divided)
        scored: list[Scored] = study.scored
        dataset = " + ".join(Path(name).name for name in simulation.federation.datasets())
        rows = results(simulation, dataset, test.labels, scored)
        by_site = sites(simulation, study.site_rows, study.at_sites)
        compared = comparison(simulation, test.labels, scored, rows, by_site)
        folder.results(rows)
        folder.table("sites", by_site)
        folder.table("comparison", compared)
        folder.table("traffic", pd.DataFrame(study.desk.coordinator.traffic.rows()))
        if study.federated.curves:
            folder.table("rounds", study.federated.table())
        write_grids(folder, study.releases(), test)
        return Finished(
            simulation,
            folder.root,
            rows,
            compared,
            by_site,
            divided[0],
            time.perf_counter() - start,
            study.computed,
            study.found,
        )
