"""Runs a plan: everything checked before any work, then its studies on one runtime, then the folder's tables."""

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
from fedistill.study.folder.environment import environment
from fedistill.study.folder.run_folder import RunFolder, opened
from fedistill.study.orchestrator import Study
from fedistill.study.planned import planned
from fedistill.study.preflight import Ready, made_ready
from fedistill.study.tables.grids import shows_real, write_grids
from fedistill.study.tables.holdings_table import licences
from fedistill.study.tables.screening import write_screens
from fedistill.study.tables.write import write_tables
from fedistill.study.timing import Timing
from fedistill.transport.server.coordinator import Coordinator
from fedistill.transport.server.launch import Launched, engine_here, launch, require_engine


@dataclass(frozen=True, eq=False)
class Finished:
    """What a run leaves in memory: the folder has it all on disk.

    Args:
        holdings: who holds what, in the first partition of the first point.
        seconds: from the beginning to the tables.
        timing: what the time went to; None where nobody knows, as on Flower's own runtime.
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
        """The only simulation, or the first point's."""
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
    """Run a simulation, or all points of a sweep, to its rows.

    Args:
        out: the run folder. An earlier run of the same simulation there is resumed.
        engine: ``local`` (Ray on this machine), ``inline`` (this process) or HOST:PORT of a Ray cluster; default
            ``$RAY_ADDRESS``, else ``local``.
        data_root: folder of MedMNIST files.
        cache: a store to share with other runs, instead of the run folder's own.
        fresh: set an earlier run aside first.
        workers: CPUs of a local Ray; default all.
        on_event: told of every event, on its way to events.jsonl.
        began: ``time.perf_counter()`` when the user's command began, for its imports count as well; default now.

    Raises:
        UserError: something in the simulation, the data or the folder cannot be; nothing was done.
        RunError: the run could not be finished; what was finished is kept.
    """
    plan = simulation if isinstance(simulation, Plan) else Plan.of(simulation)
    require_folder(out, "--out")
    if cache is not None:
        require_folder(cache, "--cache")
    engine = engine or engine_here()
    for point in plan.points:
        require_engine(engine, point.simulation, workers)
    # Workers on this machine have a folder of their own to start from.
    data_root = None if data_root is None else str(Path(data_root).expanduser().resolve())

    def work(folder: RunFolder, store: Store, ready: Sequence[Ready]) -> Launched:
        def listen(event: Event) -> None:
            folder.event(event)
            on_event(event)

        def conduct(coordinators: Sequence[Coordinator]) -> list[Study]:
            return _conducted(plan, coordinators, folder, store, ready, on_event=listen)

        return launch(
            plan, conduct, engine=engine, store=store.root, data_root=data_root, workers=workers, on_event=listen
        )

    return _framed(plan, work, out, engine, data_root, cache, fresh, workers, began)


def run_on(
    simulation: Simulation, coordinator: Coordinator, *, out: Path, data_root: str | None = None, deployed: bool = False
) -> Finished:
    """`run` of a single simulation on a grid that somebody else opened, such as Flower's own.

    Args:
        deployed: whether the sites hold data of their own, which the coordinator knows nothing of.
    """
    plan = Plan.of(simulation)

    def work(folder: RunFolder, store: Store, ready: Sequence[Ready]) -> list[Study]:
        return _conducted(plan, [coordinator], folder, store, ready, on_event=folder.event)

    engine = "superlink" if deployed else "flower"
    return _framed(plan, work, out, engine, data_root, None, False, None, None, deployed=deployed)


def _conducted(
    plan: Plan,
    coordinators: Sequence[Coordinator],
    folder: RunFolder,
    store: Store,
    ready: Sequence[Ready],
    *,
    on_event: OnEvent,
) -> list[Study]:
    """The points' studies, all at once, to their ends."""
    for note in dict.fromkeys(note for data in ready for note in data.notes()):
        on_event(now("note", message=note))
    studies = []
    for number, (point, coordinator, data) in enumerate(zip(plan.points, coordinators, ready, strict=True)):
        here, label = folder.of_point(number), point.label if plan.sweep else ""

        def listen(event: Event, label: str = label) -> None:
            on_event(replace(event, point=label))

        study = Study(
            point.simulation, coordinator, here, store, data.test, data.divided, val=data.val, on_event=listen
        )
        studies.append(study)

    plans = planned(plan)
    folder.json("plan", plans)
    on_event(now("planned", plan=plans))

    async def one(study: Study, label: str) -> None:
        try:
            study.scored = await study.run()
        except RunError as error:
            if not label:
                raise
            raise RunError(f"At {label}: {error}") from error

    async def everything() -> None:
        tasks = [asyncio.ensure_future(one(s, p.label)) for s, p in zip(studies, plan.points, strict=True)]
        try:
            await asyncio.gather(*tasks)  # the first failure ends the run: what is finished is in the store
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    coordinators[0].conduct(everything())
    return studies


def _framed(
    plan: Plan,
    work: Callable[[RunFolder, Store, Sequence[Ready]], Launched | list[Study]],
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
    """Checks before, tables after."""
    start = time.perf_counter() if began is None else began
    ready, drawn = made_ready(plan, data_root, deployed=deployed)
    with opened(out, plan, fresh=fresh) as folder:
        store = Store(
            (cache or folder.work).resolve(),
            on_damage=lambda words: folder.event(now("damaged file", message=words)),
        )
        for kind, detail, made in drawn:  # found there by the workers, which spares each the partitioners' import
            store.put(kind, key_of(detail), made)
        about = environment(plan, data_root, engine=engine, workers=workers)
        folder.json("environment", {**about, "licences": licences(s for data in ready for s in data.sources)})
        done = work(folder, store, ready)
        studies: list[Study] = done.result if isinstance(done, Launched) else done
        rows, compared, by_site = write_tables(plan, studies, ready, folder)
        write_grids(folder, studies[0].releases(), ready[0].test, real=shows_real(plan.first))
        write_screens(plan, studies, folder)
        seconds, timing = time.perf_counter() - start, None
        if isinstance(done, Launched):
            worked = done.busy.sites_seconds, done.busy.server_seconds
            timing = Timing(done.workers, seconds, done.start_seconds, *worked, began=start)
            timing.write(folder.root)
        return Finished(
            plan,
            folder.root,
            rows,
            compared,
            by_site,
            ready[0].divided[0],
            seconds,
            sum(study.computed for study in studies),
            sum(study.found for study in studies),
            timing,
        )
