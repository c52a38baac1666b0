"""A simulation's audit: the server makes shadows of what the attacked site sends, and attacks them.

The store keeps every shadow under everything that determines it, so that an interrupted audit resumes, and points of a
sweep share equal shadows.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedistill.config import Simulation
from fedistill.core.seeds import spawn
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.errors import RunError
from fedistill.privacy.attacks.attack_metrics import Leak
from fedistill.privacy.attacks.registry import Evidence, Knowledge, verdicts, whole_pairs
from fedistill.privacy.attacks.shadows import Signals
from fedistill.schemes.base import study_scheme
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.shadows import AuditData, AuditTarget, ShadowSpec, deal
from fedistill.study.audit.shadow_task import run_shadow
from fedistill.transport.backend.job import torch_threads


@dataclass(frozen=True, eq=False)
class Verdict:
    """The results of the attacks on one target.

    Args:
        settings: of the scheme.
        leaks: by attack.
    """

    target: AuditTarget
    settings: Any
    leaks: Mapping[str, Leak]


class Auditing:
    """The audit of one study, empty if its simulation has none.

    Args:
        test: the official test split, from which the server draws its population.

    Attributes:
        computed, found: number of shadows that were computed, and that were in the store.
        verdicts: one for each target, after `run`.

    Raises:
        SettingError, DataError: the attacked site holds too few images, or takes part in no round; before any work.
    """

    def __init__(self, ctx: StudyContext, test: ImageSet) -> None:
        self.ctx = ctx
        self.computed = self.found = 0
        self.verdicts: list[Verdict] = []
        self._data: dict[str, AuditData] = {}
        audit = ctx.simulation.audit
        self.site = "" if audit is None else audit.site_of(ctx.sites)
        self.targets = targets(ctx.simulation)
        for target in self.targets:
            if target.records not in self._data:
                share = ctx.holdings[0].shares[ctx.sites.index(self.site)]
                self._data[target.records] = deal(
                    ctx.simulation, self.site, target.records, share.train, share.val, test
                )
        for target in self.targets:
            study_scheme(target.scheme).check_audit(target, self.site, ctx)

    async def run(self) -> None:
        """Make all shadows and attack them.

        Raises:
            RunError: fewer than six shadows of a target are left in pairs, because the others failed.
        """
        tasks = [asyncio.ensure_future(self._verdict(target)) for target in self.targets]
        try:
            self.verdicts = [verdict for verdict in await asyncio.gather(*tasks) if verdict is not None]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _verdict(self, target: AuditTarget) -> Verdict | None:
        """Return the attacks' results; None if the site itself failed, so that there is nothing to attack."""
        data = self._data[target.records]
        spec = await study_scheme(target.scheme).shadow(target, self.site, data, self.ctx)
        if spec is None:
            return None
        keys = [self._key(target, n, spec) for n in range(data.design.shadows)]
        signals = await asyncio.gather(*[self._shadow(target, n, key, spec) for n, key in enumerate(keys)])

        knows = self.knows

        async def attack() -> Mapping[str, Leak]:
            kept, left = whole_pairs(signals, data.design, what=f"{target.name} at {self.site}")
            with torch_threads(self.ctx.simulation.threads):
                tracer = data.tracer(population=knows.population) if kept[0].images is not None else None
                evidence = Evidence.of(kept, left, tracer=tracer, knows=knows)
            return verdicts(evidence, seed=self.ctx.simulation.seed)

        leaks = await self.ctx.once_per_run(key_of({"verdicts of": keys, "knows": asdict(knows)}), attack)
        return Verdict(target, spec.settings, leaks)

    @property
    def knows(self) -> Knowledge:
        """Return what the attacker knows beside seed and method."""
        audit = self.ctx.simulation.audit
        assert audit is not None
        return Knowledge(population=audit.population == "known", half=audit.members == "half")

    def _seed(self, target: AuditTarget, number: int) -> int:
        """Return the seed of one shadow, independent of all sites' seeds; one for all where the seed is known."""
        if target.seed_known:
            return spawn(self.ctx.simulation.seed, "audit", self.site, target.scheme, target.records, "known")
        return spawn(self.ctx.simulation.seed, "audit", self.site, target.scheme, target.records, number)

    def _key(self, target: AuditTarget, number: int, spec: ShadowSpec) -> str:
        fingerprint = self._data[target.records].fingerprints[number]
        return key_of({**spec.about, "held": fingerprint, "seed": self._seed(target, number)})

    async def _shadow(self, target: AuditTarget, number: int, key: str, spec: ShadowSpec) -> Signals | None:
        """Return one shadow's signals; None, after reporting it, if the shadow failed."""
        name = target.job(number)
        try:
            signals, seconds = await self.ctx.once_per_run(key, lambda: self._compute(target, number, key, spec))
        except RunError as error:
            trace = "\n".join(getattr(error, "__notes__", []))
            self.ctx.report_failure(self.site, name, f"left out together with its partner: {error}", trace)
            return None
        self.ctx.report(name, "done", seconds=seconds)
        return signals

    async def _compute(self, target: AuditTarget, number: int, key: str, spec: ShadowSpec) -> tuple[Signals, float]:
        """Return one shadow's signals, computed or from the store, and the seconds it took."""
        coordinator, simulation = self.ctx.coordinator, self.ctx.simulation
        stored = self.ctx.store.get("shadow", key)
        if stored is not None:
            self.found += 1
            return Signals.of(stored[0]), float(stored[1]["seconds"])
        name, data = target.job(number), self._data[target.records]
        tensors, seconds = await coordinator.compute(
            f"{name} {key[:8]}",
            run_shadow,
            name,
            number,
            self._seed(target, number),
            spec.maker,
            spec.task,
            coordinator.share_once(f"attacked {data.name}", lambda: data.attacked),
            coordinator.share_once(f"among {spec.others_name}", lambda: spec.others),
            simulation.gpus,
            threads=simulation.threads,
            gpus=simulation.gpus,
        )
        self.ctx.store.put("shadow", key, tensors, {"seconds": seconds})
        self.computed += 1
        return Signals.of(tensors), seconds


def targets(simulation: Simulation) -> list[AuditTarget]:
    """Return the targets of a simulation's audit, in the order of its file; none without an audit."""
    audit = simulation.audit
    if audit is None:
        return []
    return [
        AuditTarget(
            scheme,
            ipc,
            records,
            simulation.rounds(scheme)[-1],
            seed_known=seed == "known",
            releases=_releases(simulation, scheme, ipc),
        )
        for scheme in audit.schemes_of(simulation.scheme)
        for ipc in audit.budgets_of(scheme, simulation.ipc)
        for records in audit.records()
        for seed in audit.seed
    ]


def _releases(simulation: Simulation, scheme: str, ipc: int | None) -> int | None:
    """Return the number of Releases that are attacked at once; None for a scheme without budgets."""
    assert simulation.audit is not None
    if ipc is None:
        return None
    # A second private Release costs its epsilon again: what was promised is for one.
    private = study_scheme(scheme).guarantee(simulation, ipc, None) is not None
    return 1 if private else simulation.audit.releases


def shadow_jobs(simulation: Simulation) -> dict[str, str]:
    """Return for every shadow the name in its events, and a label of its kind."""
    shadows = 0 if simulation.audit is None else simulation.audit.shadows
    every = targets(simulation)
    return {target.job(n): f"shadows of {target.scheme}" for target in every for n in range(shadows)}
