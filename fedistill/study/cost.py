"""What a run would take: time, memory and bytes, from the list of its work and a few measured steps of each kind."""

import os
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fedistill.distill import METHODS, settings_for
from fedistill.distill.method import Task
from fedistill.distill.release import ENCODINGS
from fedistill.federation.coordinator import Coordinator
from fedistill.federation.executor import InlineExecutor
from fedistill.federation.inline_grid import InlineGrid
from fedistill.federation.launch import CLIENT
from fedistill.models import build
from fedistill.plan import Holdings, Job, Plan, Share, Simulation, everything, holdings
from fedistill.plan.schemes import EVERYONE, scheme_named
from fedistill.store import Store, key_of
from fedistill.study.conduct import Study
from fedistill.study.folder import RunFolder
from fedistill.study.meter import distilling, scoring, training_step
from fedistill.study.planned import jobs_of
from fedistill.study.pooled import budgets
from fedistill.study.ready import made_ready
from fedistill.study.workload import OVERHEAD_BYTES, Training, release_bytes, trainings, weight
from fedistill.training.recipe import Recipe

START_SECONDS, TABLES_SECONDS = 12.0, 8.0
"""Until Ray and its workers are up and have imported torch; and for tables, figures and the report: on two cores."""
TASK_SECONDS = 0.05
"""A message, its answer, and writing down what came."""
EFFICIENCY = 0.8
"""Of each of several workers: two of them on two cores took 0.64 of one's time, not half (README, Workers)."""
RAY_BYTES = 700 << 20
"""Of Ray's own processes and the memory they share."""


@dataclass(frozen=True)
class Work:
    """One kind of work.

    Args:
        what: in words; tasks: it is done in.
        seconds: of all tasks on one worker; longest: of the longest task.
        at_sites: whether sites do it; else the server.
    """

    what: str
    tasks: int
    seconds: float
    longest: float
    at_sites: bool


@dataclass(frozen=True)
class Cost:
    """What a plan takes.

    Args:
        work: every kind.
        unmeasured: what has no number here, in words.
        worker_bytes: memory of a worker at its peak; driver_bytes: of the driver.
        up, down: bytes from and to all sites.
    """

    work: tuple[Work, ...]
    unmeasured: tuple[str, ...]
    worker_bytes: int
    driver_bytes: int
    up: int
    down: int

    @property
    def seconds(self) -> float:
        """Of all work on one worker."""
        return sum(each.seconds + TASK_SECONDS * each.tasks for each in self.work)

    def wall(self, workers: int) -> float:
        """Seconds on so many workers: all of them busy, unless the longest chain of tasks takes longer.

        >>> Cost((Work("a", 4, 100.0, 30.0, True), Work("b", 2, 20.0, 10.0, False)), (), 0, 0, 0, 0).wall(1000)
        60.0
        """
        chain = sum(max((w.longest for w in self.work if w.at_sites is side), default=0.0) for side in (True, False))
        alike = workers if workers == 1 else EFFICIENCY * workers
        return START_SECONDS + TABLES_SECONDS + max(self.seconds / alike, chain)

    def memory(self, workers: int) -> int:
        """Bytes of driver and workers on one machine."""
        return self.driver_bytes + workers * self.worker_bytes + RAY_BYTES


def cost(plan: Plan, data_root: str | None = None, *, told: Callable[[str], None] = lambda what: None) -> Cost:
    """Measure and count.

    Args:
        told: what is being measured, in words.

    Raises:
        UserError: as a run would.
    """
    ready, _ = made_ready(plan, data_root)
    works: dict[tuple[str, bool], Work] = {}
    unmeasured: dict[str, None] = {}
    seen: set[str] = set()
    up = down = 0
    for point, data in zip(plan.points, ready, strict=True):
        simulation = point.simulation
        held = holdings(simulation.federation, 0, data_root)
        meter = _Meter(simulation, held, told)
        for job, scheme in jobs_of(simulation):
            divided = data.divided[job.partition]
            asked = replace(job, ipcs=tuple(ipc for ipc in budgets(simulation, scheme, divided).values() if ipc))
            sent = _sent(asked, scheme, _share(divided, simulation, job.site))
            up, down = up + sent, down + (OVERHEAD_BYTES // 6 if sent else 0)
            key = key_of({"federation": simulation.federation.model_dump_json(), **asdict(asked)})
            if key not in seen:  # points of a sweep make what they have in common once
                seen.add(key)
                _add(works, scheme, True, 1, meter.job(asked, _share(divided, simulation, job.site).train))
        arms = list(_study(plan, simulation, data.test, data.divided).arms())
        for partition, divided in enumerate(data.divided):
            mine = [arm for arm in arms if arm.partition == partition and not _private(arm.scheme)]
            unmeasured.update(dict.fromkeys(arm.scheme for arm in arms if _private(arm.scheme)))
            sites = len(simulation.federation.sites)
            for each in trainings(simulation, mine, divided, len(data.test)):
                seconds, parameters = meter.training(each, data.test)
                _add(works, "networks", each.at_sites, each.tasks, seconds, each.tasks)
                crossing = each.asked if each.at_sites else each.asked * sites
                down += int(crossing * parameters)
                up += int(crossing * parameters) if each.at_sites else 0
        if simulation.audit is not None:
            unmeasured["the audit's shadows"] = None
    # Whoever measures has loaded what a worker loads, and the data as the driver has them.
    peak = _peak()
    return Cost(tuple(works.values()), tuple(unmeasured), peak, peak, up, down)


def cpus() -> int:
    """Of this machine, those that this process may use."""
    return len(os.sched_getaffinity(0))


class _Meter:
    """Seconds of one simulation's tasks; each kind of step is measured once, on the site in the middle."""

    def __init__(self, simulation: Simulation, held: Holdings, told: Callable[[str], None]) -> None:
        self.simulation, self.held, self.told = simulation, held, told
        self._known: dict[Any, Any] = {}

    def job(self, job: Job, images: Any) -> float:
        """Seconds of a job at a site with these images, whose pixels nobody looks at."""
        total = 0.0
        for ipc in job.budgets:
            settings = settings_for(job.scheme, job.settings, ipc=ipc, dataset=images.name)
            key = (job.scheme, ipc, job.site == EVERYONE)
            if key not in self._known:
                threads = self.simulation.federation.of(job.site).threads
                self.told(f"{'central-' * (job.site == EVERYONE)}{job.scheme}{'' if ipc is None else f' ipc {ipc}'}")
                share = self._middle(job.site, ipc, getattr(settings, "batch_real", None))
                task = Task(
                    share.train,
                    ipc,
                    draws=job.draws,
                    model=job.model,
                    width=job.width,
                    val=share.val if len(share.val) else None,
                    precision=job.precision,
                )
                self._known[key] = distilling(task, job.scheme, settings, threads), share.train
            parts, measured = self._known[key]
            batch = getattr(settings, "batch_real", None)
            scale = weight(images, ipc, batch) / max(1, weight(measured, ipc, batch))
            # Experts serve all budgets of a job.
            once = 0.0 if ipc != job.budgets[0] else parts.get("experts", 0.0) + parts.get("early networks", 0.0)
            total += once + scale * parts["iterations"] + parts.get("looks", 0.0)
        return total

    def training(self, each: Training, test: Any) -> tuple[float, int]:
        """Seconds of training and scoring, and bytes of one network."""
        recipe = self.simulation.recipe
        batch, key = min(recipe.batch, each.images), ("network", each.model, min(recipe.batch, each.images))
        network = build(
            each.model,
            channels=test.channels,
            classes=test.n_classes,
            size=test.size,
            width=self.simulation.width,
        )
        if key not in self._known:
            self.told(f"networks, {each.model}, batches of {batch}")
            step = Recipe(batch=recipe.batch, augment=recipe.augment)
            x = self._middle("", 1, None).train
            self._known[key] = training_step(network, x, each.images, step, self.simulation.threads)
        if ("score", each.model) not in self._known:
            self._known["score", each.model] = scoring(network, test, self.simulation.threads)
        seconds = each.steps * self._known[key] + each.scored * self._known["score", each.model]
        parameters = sum(p.numel() for p in network.init(_fresh()))
        return seconds, 4 * parameters

    def _middle(self, site: str, ipc: int | None, batch: int | None) -> Share:
        if site == EVERYONE:
            return everything(self.held)
        some = [share for share in self.held.shares if len(share.train)]
        return sorted(some, key=lambda share: weight(share.train, ipc, batch))[len(some) // 2]


def _add(
    works: dict[tuple[str, bool], Work], what: str, at_sites: bool, tasks: int, seconds: float, of: int = 1
) -> None:
    known = works.get((what, at_sites), Work(what, 0, 0.0, 0.0, at_sites))
    longest = max(known.longest, seconds / max(1, of))
    works[what, at_sites] = Work(what, known.tasks + tasks, known.seconds + seconds, longest, at_sites)


def _share(held: Holdings, simulation: Simulation, site: str) -> Share:
    return everything(held) if site == EVERYONE else held.shares[simulation.federation.sites.index(site)]


def _sent(job: Job, scheme: str, share: Share) -> int:
    if scheme_named(scheme).kind == "central":
        return 0
    pixel = 1 if METHODS[job.scheme].real else ENCODINGS[job.encoding].itemsize
    return sum(release_bytes(share.train, ipc, job.draws, pixel) for ipc in job.budgets)


def _private(scheme: str) -> bool:
    return scheme_named(scheme).name.startswith(("dpsgd-", "dp-fedavg"))


def _study(plan: Plan, simulation: Simulation, test: Any, held: Sequence[Holdings]) -> Study:
    """A study that is asked for its arms and never run."""
    nowhere = Path(tempfile.gettempdir()) / "fedistill-nowhere"
    wire = Coordinator(InlineGrid(CLIENT, [], {}), InlineExecutor(), simulation.federation.sites)
    return Study(simulation, wire, RunFolder(nowhere, plan), Store(nowhere), test, held, on_event=lambda event: None)


def _fresh() -> Any:
    import torch

    return torch.Generator()


def _peak() -> int:
    """Bytes this process had at most."""
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo
