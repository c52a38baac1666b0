"""A forecast of a run's time, memory and bytes, from the list of its work and a few measured steps of each kind."""

import os
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fedistill.config import Holdings, Job, Plan, Share, Simulation, everything, holdings
from fedistill.config.scheme import EVERYONE, scheme_named
from fedistill.core.store import key_of
from fedistill.methods import METHODS, labels_for, settings_for
from fedistill.methods.engine.settings import pack_of
from fedistill.release.release import ENCODINGS
from fedistill.schemes.base import study_scheme
from fedistill.schemes.server.work import Forecast
from fedistill.study.forecast.rates import StepTimer
from fedistill.study.forecast.work_list import OVERHEAD_BYTES, attack_seconds, release_bytes, shadows_of, trainings
from fedistill.study.orchestrator import conditions, release_jobs
from fedistill.study.preflight import prepare_data

START_SECONDS, TABLES_SECONDS = 12.0, 8.0
"""Seconds until Ray's workers have imported torch, and for tables, figures and the report, on two cores."""
TASK_SECONDS = 0.05
"""Seconds for a message, its reply, and storing the result."""
EFFICIENCY = 0.8
"""Parallel efficiency of several workers: two of them on two cores took 0.57 to 0.64 of one's time, not half."""
RAY_BYTES = 700 << 20
"""Memory of Ray's own processes and its object store."""


@dataclass(frozen=True)
class Work:
    """A kind of work.

    Args:
        what: label for people.
        tasks: number of tasks.
        seconds: of all tasks on one worker.
        longest: seconds of the longest task.
        at_sites: whether sites do it; else the server.
    """

    what: str
    tasks: int
    seconds: float
    longest: float
    at_sites: bool


@dataclass(frozen=True)
class PlanCost:
    """The forecast of a plan.

    Args:
        work: of every kind.
        worker_bytes, driver_bytes: peak memory of a worker and of the driver.
        up, down: bytes from and to all sites.
    """

    work: tuple[Work, ...]
    worker_bytes: int
    driver_bytes: int
    up: int
    down: int

    @property
    def seconds(self) -> float:
        """Seconds of all work on one worker."""
        return sum(each.seconds + TASK_SECONDS * each.tasks for each in self.work)

    def wall(self, workers: int) -> float:
        """Return the seconds on this number of workers: all are busy, unless the longest chain of tasks takes longer.

        >>> PlanCost((Work("a", 4, 100.0, 30.0, True), Work("b", 2, 20.0, 10.0, False)), 0, 0, 0, 0).wall(1000)
        60.0
        """
        chain = sum(max((w.longest for w in self.work if w.at_sites is side), default=0.0) for side in (True, False))
        effective = workers if workers == 1 else EFFICIENCY * workers
        return START_SECONDS + TABLES_SECONDS + max(self.seconds / effective, chain)

    def memory(self, workers: int) -> int:
        """Return the bytes of driver and workers on one machine."""
        return self.driver_bytes + workers * self.worker_bytes + RAY_BYTES


def cost(
    plan: Plan, data_root: str | None = None, *, on_measure: Callable[[str], None] = lambda what: None
) -> PlanCost:
    """Forecast a plan: count its work, and measure a few steps of each kind.

    ``on_measure`` receives a label of each measurement.

    Raises:
        UserError: as a run would.
    """
    ready, _ = prepare_data(plan, data_root)
    works: dict[tuple[str, bool], Work] = {}
    seen: set[str] = set()
    up = down = 0
    for point, data in zip(plan.points, ready, strict=True):
        simulation = point.simulation
        first_holdings = holdings(simulation.federation, 0, data_root)
        meter = StepTimer(simulation, first_holdings, on_measure)
        for job, scheme in release_jobs(simulation):
            by_site = data.holdings[job.partition]
            request = study_scheme(scheme).asked(job, simulation, by_site)
            sent = _release_size(request, scheme, _share(by_site, simulation, job.site))
            up, down = up + sent, down + (OVERHEAD_BYTES // 6 if sent else 0)
            key = key_of({"federation": simulation.federation.model_dump_json(), **asdict(request)})
            if key not in seen:  # points of a sweep share equal jobs
                seen.add(key)
                _add(works, scheme, True, 1, meter.job(request, _share(by_site, simulation, job.site).train))
        every = [each for each in conditions(simulation) if _is_new(seen, simulation, each.scheme, asdict(each))]
        for partition, by_site in enumerate(data.holdings):
            forecast = Forecast(simulation, by_site, len(data.test))
            sites = len(simulation.federation.sites)
            for each in trainings([each for each in every if each.partition == partition], forecast):
                seconds, parameters = meter.training(each, data.test)
                _add(works, "networks", each.at_sites, each.tasks, seconds, each.tasks)
                crossing = each.sent if each.at_sites else each.sent * sites
                down += int(crossing * parameters)
                up += int(crossing * parameters) if each.at_sites else 0
        for shadows in shadows_of(Forecast(simulation, first_holdings, len(data.test))):
            if _is_new(seen, simulation, shadows.target.scheme, repr(shadows.key)):
                distilled = 0.0 if shadows.job is None else meter.job(shadows.job, shadows.images)
                seconds = distilled * (shadows.target.releases or 1)
                seconds += sum(meter.training(each, data.test)[0] for each in shadows.trainings)
                what = f"shadows of {shadows.target.scheme}"
                _add(works, what, False, shadows.count, shadows.count * seconds, shadows.count)
                _add(works, "what attacks find", False, 1, attack_seconds(shadows))
    # This process has loaded what a worker loads, and the data as the driver does.
    peak = _peak()
    return PlanCost(tuple(works.values()), peak, peak, up, down)


def cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def _add(
    works: dict[tuple[str, bool], Work], what: str, at_sites: bool, tasks: int, seconds: float, of: int = 1
) -> None:
    known = works.get((what, at_sites), Work(what, 0, 0.0, 0.0, at_sites))
    longest = max(known.longest, seconds / max(1, of))
    works[what, at_sites] = Work(what, known.tasks + tasks, known.seconds + seconds, longest, at_sites)


def _share(by_site: Holdings, simulation: Simulation, site: str) -> Share:
    return everything(by_site) if site == EVERYONE else by_site.shares[simulation.federation.sites.index(site)]


def _release_size(job: Job, scheme: str, share: Share) -> int:
    if scheme_named(scheme).one_place:
        return 0
    pixel = 1 if METHODS[job.method].real else ENCODINGS[job.encoding].itemsize
    classes = share.train.n_classes if labels_for(job.method, job.settings).soft else 0
    packs = {ipc: pack_of(settings_for(job.method, job.settings, ipc=ipc)) for ipc in job.budgets}
    return sum(release_bytes(share.train, ipc, job.draws, pixel, soft=classes * pack**2) for ipc, pack in packs.items())


def _is_new(seen: set[str], simulation: Simulation, scheme: str, what: Any) -> bool:
    """Return whether the work is new, and not shared with an earlier point of the sweep."""
    same = simulation.model_dump(mode="json", exclude={"scheme", "audit"})
    key = key_of({**same, "settings": simulation.settings(scheme), "what": what})
    known = key in seen
    seen.add(key)
    return not known


def _peak() -> int:
    """Return the peak memory of this process in bytes."""
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo
