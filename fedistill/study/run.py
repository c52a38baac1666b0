"""The run of a plan: checks before any work, then all studies on one runtime, then the folder's tables."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fedistill.config import Holdings, Plan, Simulation
from fedistill.core.events import Event, OnEvent, ignore, now
from fedistill.core.files import require_folder
from fedistill.core.store import Store, key_of
from fedistill.errors import RunError
from fedistill.study.folder.environment import describe_environment
from fedistill.study.folder.networks import preprocessing_of, write_networks
from fedistill.study.folder.run_folder import RunFolder, open_run_folder
from fedistill.study.orchestrator import Study, plan_record
from fedistill.study.preflight import PointData, prepare_data, shared_gpus
from fedistill.study.tables.grids import shows_real, write_grids
from fedistill.study.tables.holdings_table import licences
from fedistill.study.tables.screening import write_screens
from fedistill.study.tables.write import write_tables
from fedistill.study.timing import Timing
from fedistill.study.tracking import tracking
from fedistill.transport.server.coordinator import Coordinator
from fedistill.transport.server.launch import Launched, engine_here, launch, require_engine


@dataclass(frozen=True, eq=False)
class Finished:
    """The results of a run, which its folder holds on disk.

    Args:
        holdings: the sites' data in the first partition of the first point.
        seconds: from the beginning until the tables were written.
        computed, found: distillations, networks and shadows that were computed, and that were in the store.
        timing: of sites and server; None if unknown, as on Flower's own runtime.
    """

    plan: Plan
    root: Path
    rows: pd.DataFrame
    comparison: pd.DataFrame
    sites: pd.DataFrame
    holdings: Holdings
    seconds: float
    computed: int
    found: int
    timing: Timing | None

    @property
    def simulation(self) -> Simulation:
        """The simulation; of a sweep, the first point's."""
        return self.plan.first


def run(
    simulation: Simulation | Plan,
    *,
    out: Path,
    engine: str | None = None,
    data_root: str | None = None,
    cache: Path | None = None,
    fresh: bool = False,
    workers: int | None = None,
    on_event: OnEvent = ignore,
    began: float | None = None,
) -> Finished:
    """Run a simulation, or all points of a sweep, and write the run folder.

    Args:
        simulation: or a plan of several, which may also say to which programs' files the run is copied.
        out: the run folder; an earlier run of the same simulation there is resumed.
        engine: ``local`` (Ray on this machine), ``inline`` (this process) or HOST:PORT of a Ray cluster; default
            ``$RAY_ADDRESS``, else ``local``.
        data_root: folder of MedMNIST files.
        cache: a store shared with other runs, instead of the run folder's own.
        fresh: set an earlier run aside first.
        workers: number of CPUs of a local Ray; default all.
        on_event: receives every event that goes to events.jsonl.
        began: ``time.perf_counter()`` when the user's command began, so that imports count; default now.

    Raises:
        UserError: the simulation, the data or the folder is invalid; nothing was done.
        RunError: the run could not be finished; finished work is kept.
    """
    plan = simulation if isinstance(simulation, Plan) else Plan.of(simulation)
    require_folder(out, "--out")
    if cache is not None:
        require_folder(cache, "--cache")
    engine = engine or engine_here()
    for point in plan.points:
        require_engine(engine, point.simulation, workers)
    # Absolute, because workers start in another folder.
    data_root = None if data_root is None else str(Path(data_root).expanduser().resolve())

    notes = [] if engine == "inline" else shared_gpus(plan)

    def work(folder: RunFolder, store: Store, ready: Sequence[PointData]) -> Launched:
        def listen(event: Event) -> None:
            folder.event(event)
            for tracker in trackers:
                tracker(event)
            on_event(event)

        def conduct(coordinators: Sequence[Coordinator]) -> list[Study]:
            return _run_studies(plan, coordinators, folder, store, ready, notes=notes, on_event=listen)

        return launch(
            plan, conduct, engine=engine, store=store.root, data_root=data_root, workers=workers, on_event=listen
        )

    with tracking(plan.track, plan.name) as trackers:
        finished = _check_run_write(plan, work, out, engine, data_root, cache, fresh, workers, began)
        for tracker in trackers:
            tracker.finish(finished.root, finished.comparison, list(plan.sweep and plan.columns()[0]))
    return finished


def run_on(
    simulation: Simulation, coordinator: Coordinator, *, out: Path, data_root: str | None = None, deployed: bool = False
) -> Finished:
    """Run a single simulation on an open grid, such as Flower's own; for the rest see `run`.

    ``deployed`` sites hold data of their own, unknown to the coordinator.
    """
    plan = Plan.of(simulation)

    def work(folder: RunFolder, store: Store, ready: Sequence[PointData]) -> list[Study]:
        return _run_studies(plan, [coordinator], folder, store, ready, on_event=folder.event)

    engine = "superlink" if deployed else "flower"
    return _check_run_write(plan, work, out, engine, data_root, None, False, None, None, deployed=deployed)


def _run_studies(
    plan: Plan,
    coordinators: Sequence[Coordinator],
    folder: RunFolder,
    store: Store,
    ready: Sequence[PointData],
    *,
    notes: Sequence[str] = (),
    on_event: OnEvent,
) -> list[Study]:
    """Run the studies of all points concurrently, and return them; ``notes`` are told before."""
    said = [*notes, *coordinators[0].notes, *(note for data in ready for note in data.notes())]
    for note in dict.fromkeys(said):
        on_event(now("note", message=note))
    studies = []
    for number, (point, coordinator, data) in enumerate(zip(plan.points, coordinators, ready, strict=True)):
        point_folder, label = folder.of_point(number), point.label if plan.sweep else ""

        def listen(event: Event, label: str = label) -> None:
            on_event(replace(event, point=label))

        study = Study(
            point.simulation, coordinator, point_folder, store, data.test, data.holdings, val=data.val, on_event=listen
        )
        studies.append(study)

    plans = plan_record(plan)
    folder.json("plan", plans)
    on_event(now("planned", plan=plans))

    async def run_point(study: Study, label: str) -> None:
        try:
            study.scored = await study.run()
        except RunError as error:
            if not label:
                raise
            raise RunError(f"At {label}: {error}") from error

    async def run_all() -> None:
        tasks = [asyncio.ensure_future(run_point(s, p.label)) for s, p in zip(studies, plan.points, strict=True)]
        try:
            await asyncio.gather(*tasks)  # the first failure ends the run; finished work is in the store
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    coordinators[0].conduct(run_all())
    return studies


def _check_run_write(
    plan: Plan,
    work: Callable[[RunFolder, Store, Sequence[PointData]], Launched | list[Study]],
    out: Path,
    engine: str,
    data_root: str | None,
    cache: Path | None,
    fresh: bool,
    workers: int | None,
    began: float | None,
    *,
    deployed: bool = False,
) -> Finished:
    """Check and load the data, run ``work``, and write the tables."""
    start = time.perf_counter() if began is None else began
    ready, drawn = prepare_data(plan, data_root, deployed=deployed)
    records = [preprocessing_of(point.simulation.federation) for point in plan.points]
    with open_run_folder(out, plan, fresh=fresh) as folder:
        store = Store(
            (cache or folder.work).resolve(),
            on_damage=lambda words: folder.event(now("damaged file", message=words)),
        )
        for kind, detail, tensors in drawn:  # for the workers, which need not import the partitioners
            store.put(kind, key_of(detail), tensors)
        about = describe_environment(plan, data_root, engine=engine, workers=workers)
        folder.json("environment", {**about, "licences": licences(s for data in ready for s in data.sources)})
        outcome = work(folder, store, ready)
        studies: list[Study] = outcome.result if isinstance(outcome, Launched) else outcome
        write_networks(folder, plan, [d.test for d in ready], records, [study.networks() for study in studies])
        rows, compared, by_site = write_tables(plan, studies, ready, folder)
        write_grids(folder, studies[0].releases(), ready[0].test, real=shows_real(plan.first))
        write_screens(plan, studies, folder)
        seconds, timing = time.perf_counter() - start, None
        if isinstance(outcome, Launched):
            compute = outcome.busy.sites_seconds, outcome.busy.server_seconds
            timing = Timing(outcome.workers, seconds, outcome.start_seconds, *compute, began=start)
            timing.write(folder.root)
        return Finished(
            plan,
            folder.root,
            rows,
            compared,
            by_site,
            ready[0].holdings[0],
            seconds,
            sum(study.computed for study in studies),
            sum(study.found for study in studies),
            timing,
        )
