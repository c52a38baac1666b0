"""A study: all conditions run concurrently, each in its own scheme; then the audit.

A condition's networks are scored once on the official test split, and at the sites on the images that they hold out.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from fedistill.config import Holdings, Job, Plan, Simulation
from fedistill.config.scheme import EVERYONE, scheme_named
from fedistill.core.events import OnEvent
from fedistill.core.store import Store
from fedistill.data import ImageSet
from fedistill.errors import RunError
from fedistill.release.release import Release
from fedistill.schemes.base import NoNetwork, study_scheme
from fedistill.schemes.server.condition import Condition, Result
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.federated_eval import SiteScore, score_at_sites
from fedistill.schemes.server.site_row import SiteRow
from fedistill.schemes.server.trainer import Trainer
from fedistill.study.audit.auditing import Auditing, shadow_jobs
from fedistill.study.folder.networks import NetworkRow, keep_networks
from fedistill.study.folder.run_folder import RunFolder
from fedistill.transport.server.coordinator import Coordinator
from fedistill.transport.server.release_validation import Expected


def conditions(simulation: Simulation) -> Iterator[Condition]:
    """Yield every condition of the comparison, in the order of the simulation's file."""
    for partition in range(simulation.partitions):
        for name in simulation.scheme:
            yield from study_scheme(name).every_condition(simulation, partition)


def release_jobs(simulation: Simulation) -> Iterator[tuple[Job, str]]:
    """Yield the jobs that make Releases at sites, with their schemes."""
    for name in simulation.scheme:
        for job in study_scheme(name).jobs(simulation):
            yield job, name


def plan_record(plan: Plan) -> dict[str, Any]:
    """Return plan.json: for every point its label, its jobs and its conditions, by the names in events.

    Points of a sweep run a shared job once, under the label of any of them.
    """
    points = []
    for point in plan.points:
        jobs = {job.name: scheme for job, scheme in release_jobs(point.simulation)}
        jobs |= shadow_jobs(point.simulation)
        arms = {condition.name: condition.scheme for condition in conditions(point.simulation)}
        points.append({"point": point.label if plan.sweep else "", "jobs": jobs, "arms": arms})
    return {"name": plan.name, "points": points}


class Study:
    """A simulation's conditions and their audit, run on a Coordinator.

    Args:
        folder: of Releases and tracebacks.
        store: of networks.
        test: the official test split, which only the server holds.
        holdings: the sites' data, one for each redraw of the partition.
        val: the official validation split, if the coordinator chooses recipes on it.
        on_event: receives every event of the study.
    """

    def __init__(
        self,
        simulation: Simulation,
        coordinator: Coordinator,
        folder: RunFolder,
        store: Store,
        test: ImageSet,
        holdings: Sequence[Holdings],
        *,
        val: ImageSet | None = None,
        on_event: OnEvent,
    ) -> None:
        self.simulation = simulation
        self.trainer = Trainer(simulation, coordinator, store, test, val)
        expected = Expected(test.channels, test.size, test.n_classes, test.multilabel)
        self.ctx = StudyContext(simulation, coordinator, self.trainer, store, folder, expected, holdings, on_event)
        self.audit = Auditing(self.ctx, test)
        self.scored: list[Result] = []
        self.at_sites: list[SiteScore] = []
        self._networks: dict[Condition, list[NetworkRow]] = {}

    @property
    def site_rows(self) -> list[SiteRow]:
        """Rows of sites.csv."""
        return self.ctx.site_rows

    @property
    def computed(self) -> int:
        """Number of distillations, networks and shadows that this run computed."""
        return self.trainer.computed + sum(not row.stored for row in self._distilled()) + self.audit.computed

    @property
    def found(self) -> int:
        """Number of distillations, networks and shadows that were in the store."""
        return self.trainer.found + sum(row.stored for row in self._distilled()) + self.audit.found

    def _distilled(self) -> list[SiteRow]:
        return [row for row in self.site_rows if row.status == "shared" and not scheme_named(row.scheme).real]

    def networks(self) -> list[NetworkRow]:
        """Return where the networks of every condition are kept, in the order of the simulation's file."""
        return [row for each in self.scored for row in self._networks[each.condition]]

    def releases(self) -> list[Release]:
        """Return the accepted Releases, in the order of the simulation's file."""
        schemes, sites = list(self.simulation.scheme), [*self.simulation.federation.sites, EVERYONE]
        ordered = sorted(
            self.ctx.releases,
            key=lambda pair: (schemes.index(pair[0]), pair[1].partition, pair[1].seed, sites.index(pair[1].site)),
        )
        return [release for _, release in ordered]

    async def run(self) -> list[Result]:
        """Run all conditions, then the audit if there is one.

        Raises:
            RunError: fewer sites answered than ``min_sites`` requires, or the server's own work failed.
        """
        every = list(conditions(self.simulation))
        tasks = [asyncio.ensure_future(self._run(condition)) for condition in every]
        begun = self.ctx.begun
        try:
            # The first failure ends the run; finished work is in the store.
            results = await asyncio.gather(*tasks)
            self._require_sites(every, results)
            await self.audit.run()
        finally:
            for task in [*tasks, *begun.values()]:
                task.cancel()
            await asyncio.gather(*tasks, *begun.values(), return_exceptions=True)
        place = {condition: i for i, condition in enumerate(every)}
        self.at_sites.sort(key=lambda row: place[row.condition])
        return [result for result in results if result is not None]

    async def _run(self, condition: Condition) -> Result | None:
        """Return a condition's result; None if its only site trained no network."""
        try:
            result, networks = await study_scheme(condition.scheme).run(condition, self.ctx)
        except NoNetwork:
            self.ctx.report(condition.name, "scored", "no network")
            return None
        self._networks[condition] = keep_networks(condition, networks, self.trainer, self.ctx.store)
        self.at_sites.extend(await score_at_sites(self.ctx, condition, networks))
        self.ctx.report(condition.name, "scored")
        return result

    def _require_sites(self, every: Sequence[Condition], results: Sequence[Result | None]) -> None:
        """Raise RunError if too few sites trained a network of their own."""
        lines: dict[Condition, list[bool]] = {}
        for condition, result in zip(every, results, strict=True):
            if condition.site:
                lines.setdefault(replace(condition, site=""), []).append(result is not None)
        for condition, answered in lines.items():
            if sum(answered) < self.simulation.sites_needed:
                raise RunError(
                    f"Too few sites trained a network of their own for {condition.name!r}.",
                    expected=f"at least {self.simulation.sites_needed} of {len(answered)} (min_sites)",
                    found=sum(answered),
                    mend=f"see {self.ctx.folder.root / 'failures'}; run again to resume, or lower min_sites",
                )
