"""One study, from jobs to rows: every arm of the comparison is a short line of awaits, all of them at once.

An arm is one (partition, scheme, ipc, seed, model, recipe). It waits for its sites' Releases, pools them, has its step
size chosen by the sites' validation data, its networks trained, and only then are those scored on the official test
split, once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from fedistill.data import ImageSet
from fedistill.distill import METHODS
from fedistill.distill.release import Release, sha256
from fedistill.errors import ReleaseError, RunError
from fedistill.federation.coordinator import Coordinator
from fedistill.federation.intake import Expected, inspect
from fedistill.plan import Job, Simulation, job
from fedistill.store import Store
from fedistill.study.arm import Arm, Choice
from fedistill.study.choice import choose
from fedistill.study.folder import RunFolder
from fedistill.study.pool import Pool, pooled
from fedistill.study.rows import Scored, SiteRow
from fedistill.study.trainer import Trainer
from fedistill.training.recipe import Recipe

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of a job: the Release the server accepted, or why there is none."""

    job: Job
    release: Release | None
    why: str
    seconds: dict[int | None, float]


class Study:
    """Runs a simulation's arms on a Coordinator.

    Args:
        folder: where Releases and tracebacks are kept; store: where networks are.
        test: the official test split, the server's alone.
        on_event: told when a site fails.
    """

    def __init__(
        self,
        simulation: Simulation,
        coordinator: Coordinator,
        folder: RunFolder,
        store: Store,
        test: ImageSet,
        *,
        on_event: Callable[[dict[str, Any]], None],
    ) -> None:
        self.simulation, self.coordinator, self.folder, self.test = simulation, coordinator, folder, test
        self.expected = Expected(test.channels, test.size, test.n_classes, test.multilabel)
        self.trainer = Trainer(simulation, coordinator, store, test)
        self.on_event = on_event
        self.scored: list[Scored] = []
        self.site_rows: list[SiteRow] = []
        self._accepted: list[Release] = []
        self._begun: dict[Any, asyncio.Task[Any]] = {}

    @property
    def computed(self) -> int:
        """Distillations and networks that this run computed, and (`found`) that it found in the store."""
        made = [row for row in self.site_rows if row.status == "shared" and not METHODS[row.scheme].real]
        return self.trainer.computed + sum(not row.found for row in made)

    @property
    def found(self) -> int:
        return self.trainer.found + sum(row.found for row in self.site_rows)

    def releases(self) -> list[Release]:
        """Those the server accepted, in the simulation's order whatever came first."""
        schemes, sites = list(self.simulation.scheme), list(self.simulation.federation.sites)
        return sorted(self._accepted, key=lambda r: (schemes.index(r.scheme), r.partition, r.seed, sites.index(r.site)))

    async def run(self) -> list[Scored]:
        """All arms.

        Raises:
            RunError: fewer sites answered than ``min_sites`` wants, or the server's own work failed.
        """
        arms = [self._arm(arm) for arm in self._arms()]
        tasks = [asyncio.ensure_future(arm) for arm in arms]
        try:
            # The first failure ends the run: what is finished is in the store.
            return list(await asyncio.gather(*tasks))
        finally:
            for task in [*tasks, *self._begun.values()]:
                task.cancel()
            await asyncio.gather(*tasks, *self._begun.values(), return_exceptions=True)

    def _arms(self) -> Iterator[Arm]:
        sim = self.simulation
        for partition in range(sim.partitions):
            for scheme in sim.scheme:
                for seed in sim.repeats(scheme):
                    for ipc in sim.budgets(scheme):
                        for model in sim.models:
                            for recipe in sim.recipes:
                                if recipe == "common" or METHODS[scheme].native is not None:
                                    yield Arm(partition, scheme, ipc, seed, model, recipe)

    async def _arm(self, arm: Arm) -> Scored:
        pool, seconds = await self._pool(arm.partition, arm.scheme, arm.ipc, arm.seed)
        if arm.recipe == "native":
            choice = Choice(self._native(arm, pool), {})
        else:
            # Chosen once, on the first repeat's pool: repeats differ in data and chance, not in how they are trained.
            first = Arm(arm.partition, arm.scheme, arm.ipc, 0, arm.model, arm.recipe)
            choice = await self._once(("choice", first), lambda: self._choose(first))
        networks = await self.trainer.networks(arm, pool, choice.recipe, range(self.simulation.networks))
        scores = await self.trainer.test(arm, networks)
        return Scored(arm, pool, choice, scores, seconds, [network.seconds for network in networks])

    def _native(self, arm: Arm, pool: Pool) -> Recipe:
        recipe = METHODS[arm.scheme].native
        assert recipe is not None
        return recipe if pool.lr is None else recipe.with_lr(pool.lr)

    async def _choose(self, arm: Arm) -> Choice:
        pool, _ = await self._pool(arm.partition, arm.scheme, arm.ipc, arm.seed)
        return await choose(self.simulation, self.coordinator, self.trainer, arm, pool, missed=self._failed)

    def _failed(self, site: str, job: str, why: str, trace: str = "") -> None:
        """Name a failure where people look: the progress, events.jsonl, and a file of its own."""
        self.folder.failure(job, f"{why}\n\n{trace}\n")
        self.on_event({"job": job, "site": site, "stage": "failed", "message": why})

    async def _pool(self, partition: int, scheme: str, ipc: int | None, seed: int) -> tuple[Pool, float]:
        """The pool, and the seconds its sites took together."""
        sites = self.simulation.federation.sites
        answers = await asyncio.gather(*[self._answer(site, scheme, seed, partition) for site in sites])
        good = [a for a in answers if a.release is not None]
        missing = {a.job.site: a.why for a in answers if a.release is None}
        if len(good) < self.simulation.sites_needed:
            causes = "; ".join(f"{site}: {why}" for site, why in missing.items())
            raise RunError(
                f"Too few sites answered for {scheme!r}.",
                expected=f"at least {self.simulation.sites_needed} of {len(sites)} (min_sites)",
                found=f"{len(good)}; {causes}",
                mend=f"see {self.folder.root / 'failures'}; run again to resume, or lower min_sites",
            )

        async def join() -> Pool:
            releases = [a.release for a in good if a.release is not None]
            return pooled(releases, ipc, missing, classes=self.test.n_classes)

        pool = await self._once(("pool", partition, scheme, ipc, seed), join)
        return pool, sum(a.seconds[ipc] for a in good)

    async def _answer(self, site: str, scheme: str, seed: int, partition: int) -> Answer:
        asked = job(self.simulation, site, scheme, seed, partition)
        return await self._once(("answer", asked.name), lambda: self._ask(asked))

    async def _ask(self, asked: Job) -> Answer:
        outcome = await self.coordinator.release(asked)
        why, trace = outcome.refused or outcome.error, outcome.trace
        release = None
        if outcome.release is not None and not why:
            try:
                release = inspect(outcome.release, asked, self.expected)
                if len(outcome.seconds) != len(asked.budgets):
                    raise ReleaseError("The reply's times do not fit its budgets.")
                self._keep(asked, release, outcome.release)
                self._accepted.append(release)
            except ReleaseError as error:
                release, why, trace = None, f"refused by the server: {error.what}", str(error)
        if release is None:
            self._failed(asked.site, asked.name, why, trace)
        seconds = dict(zip(asked.budgets, outcome.seconds, strict=False))
        self.site_rows.extend(SiteRow.of(asked, release, outcome, why))
        return Answer(asked, release, why, seconds)

    def _keep(self, asked: Job, release: Release, data: bytes) -> None:
        keep = not release.real or self.simulation.keep_real_images
        self.folder.release(asked.site, asked.scheme, asked.seed, asked.partition, data, keep=keep, name=sha256(data))

    async def _once(self, key: Any, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of work that several arms wait for, begun by the first of them."""
        if key not in self._begun:
            self._begun[key] = asyncio.ensure_future(begin())
        waiting: Awaitable[T] = asyncio.shield(self._begun[key])
        return await waiting
