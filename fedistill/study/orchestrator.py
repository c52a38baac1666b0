"""One study, from jobs to rows: every arm of the comparison is a short line of awaits, all of them at once.

An arm is one (partition, scheme, budget, seed, model, recipe). Where images are shared it waits for its sites'
Releases, pools them and has networks trained (`pooled`); where weights are, it goes through its rounds (`federated`);
where nothing is, each site trains for itself (`local`). Only then are its networks scored on the official test split,
once, and where sites set images aside, on those (`at_sites`).
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fedistill.config import Holdings, Simulation
from fedistill.config.scheme_settings import EVERYONE, scheme_named
from fedistill.core.events import OnEvent
from fedistill.core.store import Store
from fedistill.data import ImageSet
from fedistill.errors import RunError
from fedistill.methods import METHODS
from fedistill.release.release import Release
from fedistill.study.arms.at_sites import AtSite, score_at_sites
from fedistill.study.arms.condition import Arm, Scored
from fedistill.study.arms.context import Desk
from fedistill.study.arms.image_scheme import Pooled
from fedistill.study.arms.local import Local, NoNetwork
from fedistill.study.arms.rounds import Federated
from fedistill.study.arms.site_row import SiteRow
from fedistill.study.arms.trainer import Trained, Trainer
from fedistill.study.audit.auditing import Auditing
from fedistill.study.folder.run_folder import RunFolder
from fedistill.transport.server.coordinator import Coordinator
from fedistill.transport.server.release_validation import Expected


class Study:
    """Runs a simulation's arms on a Coordinator.

    Args:
        folder: where Releases and tracebacks are kept; store: where networks are.
        test: the official test split, the server's alone.
        holdings: who holds what, a redraw after another.
        val: the official validation split, where recipes are chosen on the coordinator's own.
        on_event: told when a site fails.
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
        self.desk = Desk(simulation, coordinator, self.trainer, store, folder, expected, holdings, on_event)
        self.pooled = Pooled(self.desk)
        self.federated = Federated(self.desk)
        self.local = Local(self.desk, self.pooled)
        self.audit = Auditing(self.desk, self.pooled, self.federated, self.local, test)
        self.scored: list[Scored] = []
        self.at_sites: list[AtSite] = []

    @property
    def site_rows(self) -> list[SiteRow]:
        return self.pooled.rows

    @property
    def computed(self) -> int:
        """Distillations, networks and shadows that this run computed, and (`found`) that it found in the store."""
        return self.trainer.computed + sum(not row.found for row in self._distilled()) + self.audit.computed

    @property
    def found(self) -> int:
        return self.trainer.found + sum(row.found for row in self._distilled()) + self.audit.found

    def _distilled(self) -> list[SiteRow]:
        return [row for row in self.site_rows if row.status == "shared" and not scheme_named(row.scheme).real]

    def releases(self) -> list[Release]:
        """Those the server accepted, in the simulation's order whatever came first."""
        schemes, sites = list(self.simulation.scheme), [*self.simulation.federation.sites, EVERYONE]
        ordered = sorted(
            self.pooled.accepted,
            key=lambda kept: (schemes.index(kept[0]), kept[1].partition, kept[1].seed, sites.index(kept[1].site)),
        )
        return [release for _, release in ordered]

    async def run(self) -> list[Scored]:
        """All arms; then the audit, where one is asked for.

        Raises:
            RunError: fewer sites answered than ``min_sites`` wants, or the server's own work failed.
        """
        arms = list(self.arms())
        tasks = [asyncio.ensure_future(self._arm(arm)) for arm in arms]
        begun = self.desk.begun
        try:
            # The first failure ends the run: what is finished is in the store.
            found = await asyncio.gather(*tasks)
            self._require_sites(arms, found)
            await self.audit.run()
        finally:
            for task in [*tasks, *begun.values()]:
                task.cancel()
            await asyncio.gather(*tasks, *begun.values(), return_exceptions=True)
        place = {arm: i for i, arm in enumerate(arms)}
        self.at_sites.sort(key=lambda row: place[row.arm])
        return [scored for scored in found if scored is not None]

    def arms(self) -> Iterator[Arm]:
        """Every line of the comparison, in the order of the simulation's file."""
        sim = self.simulation
        for partition in range(sim.partitions):
            for scheme in sim.scheme:
                for seed in sim.repeats(scheme):
                    for ipc in sim.budgets(scheme):
                        for rounds in sim.rounds(scheme):
                            for model in sim.models:
                                for recipe in sim.recipes:
                                    arm = Arm(partition, scheme, ipc, seed, model, recipe, rounds)
                                    yield from self._variants(arm)

    def _variants(self, arm: Arm) -> Iterator[Arm]:
        """The arm; or one for each site; or besides, one for each site left out."""
        kind, sites = scheme_named(arm.scheme).kind, self.simulation.federation.sites
        if arm.recipe == "native" and (kind != "images" or METHODS[arm.scheme].native is None):
            return
        if kind in ("local", "join"):
            yield from (replace(arm, site=site) for site in sites)
            return
        yield arm
        if arm.scheme in self.simulation.leave_out and arm.recipe == "common":
            yield from (replace(arm, left_out=site) for site in sites)

    async def _arm(self, arm: Arm) -> Scored | None:
        """The arm's scores; None where its one site trained no network."""
        kind = scheme_named(arm.scheme).kind
        groups: Sequence[Sequence[Trained]]
        if kind in ("images", "central"):
            scored, groups = await self.pooled.arm(arm)
        elif kind == "rounds":
            scored, groups = await self.federated.arm(arm)
        else:
            try:
                scored, groups = await self.local.arm(arm)
            except NoNetwork:
                self.desk.told(arm.name, "scored", "no network")
                return None
        self.at_sites.extend(await score_at_sites(self.desk, arm, groups))
        self.desk.told(arm.name, "scored")
        return scored

    def _require_sites(self, arms: Sequence[Arm], found: Sequence[Scored | None]) -> None:
        """Raise RunError where too few sites trained a network of their own."""
        lines: dict[Arm, list[bool]] = {}
        for arm, scored in zip(arms, found, strict=True):
            if arm.site:
                lines.setdefault(replace(arm, site=""), []).append(scored is not None)
        for arm, answered in lines.items():
            if sum(answered) < self.simulation.sites_needed:
                raise RunError(
                    f"Too few sites trained a network of their own for {arm.name!r}.",
                    expected=f"at least {self.simulation.sites_needed} of {len(answered)} (min_sites)",
                    found=sum(answered),
                    mend=f"see {self.desk.folder.root / 'failures'}; run again to resume, or lower min_sites",
                )
