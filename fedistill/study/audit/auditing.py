"""A simulation's audit: shadows of what the attacked site sends as jobs of the server, and what attacks find in them.

Every shadow is kept in the store by all that determines it, so an audit that was stopped goes on where it was, and
points of a sweep that ask for the same shadows have them made once.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedistill.config import Simulation
from fedistill.core.seeds import spawn
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.errors import RunError
from fedistill.privacy.attacks.attack_metrics import Leak
from fedistill.privacy.attacks.registry import verdicts, whole_pairs
from fedistill.privacy.attacks.shadows import Signals
from fedistill.schemes.base import study_scheme
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.shadows import AuditData, AuditTarget, ShadowSpec, deal
from fedistill.study.audit.shadow_task import run_shadow


@dataclass(frozen=True, eq=False)
class Verdict:
    """What attacks found out of one target.

    Args:
        settings: of the scheme; leaks: by attack.
    """

    target: AuditTarget
    settings: Any
    leaks: Mapping[str, Leak]


class Auditing:
    """The audit of one study; it does nothing where its simulation asks for none.

    Args:
        test: the official test split, of which the server takes its population.

    Attributes:
        computed, found: shadows that were made, and that were in the store.
        verdicts: a line each, once `run` is done.

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
            RunError: so many shadows of a target failed that fewer than six are left in pairs.
        """
        tasks = [asyncio.ensure_future(self._verdict(target)) for target in self.targets]
        try:
            self.verdicts = [verdict for verdict in await asyncio.gather(*tasks) if verdict is not None]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _verdict(self, target: AuditTarget) -> Verdict | None:
        """Return what attacks found; None where the site itself failed, and there is nothing to attack."""
        data = self._data[target.records]
        spec = await study_scheme(target.scheme).shadow(target, self.site, data, self.ctx)
        if spec is None:
            return None
        keys = [self._key(target, n, spec) for n in range(data.design.shadows)]
        signals = await asyncio.gather(*[self._shadow(target, n, key, spec) for n, key in enumerate(keys)])

        async def judged() -> Mapping[str, Leak]:
            kept, left = whole_pairs(signals, data.design, what=f"{target.name} at {self.site}")
            return verdicts(kept, left, seed=self.ctx.simulation.seed)

        leaks = await self.ctx.once_per_run(key_of({"verdicts of": keys}), judged)
        return Verdict(target, spec.settings, leaks)

    def _seed(self, target: AuditTarget, number: int) -> int:
        """Return the seed of one shadow, independent of all sites' seeds."""
        return spawn(self.ctx.simulation.seed, "audit", self.site, target.scheme, target.records, number)

    def _key(self, target: AuditTarget, number: int, spec: ShadowSpec) -> str:
        held = self._data[target.records].fingerprints[number]
        return key_of({**spec.about, "held": held, "seed": self._seed(target, number)})

    async def _shadow(self, target: AuditTarget, number: int, key: str, spec: ShadowSpec) -> Signals | None:
        """Return one shadow's signals, wherever they come from; None where it failed, which is reported."""
        name = target.job(number)
        try:
            signals, seconds = await self.ctx.once_per_run(key, lambda: self._computed(target, number, key, spec))
        except RunError as error:
            trace = "\n".join(getattr(error, "__notes__", []))
            self.ctx.report_failure(self.site, name, f"left out, and its partner with it: {error}", trace)
            return None
        self.ctx.report(name.removeprefix("server: "), "done", seconds=seconds)
        return signals

    async def _computed(self, target: AuditTarget, number: int, key: str, spec: ShadowSpec) -> tuple[Signals, float]:
        """Return one shadow's signals, and the seconds it took, whenever that was."""
        coordinator, simulation = self.ctx.coordinator, self.ctx.simulation
        kept = self.ctx.store.get("shadow", key)
        if kept is not None:
            self.found += 1
            return Signals.of(kept[0]), float(kept[1]["seconds"])
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
    """Return what a simulation's audit attacks, in the order of its file; nothing without an audit."""
    audit = simulation.audit
    if audit is None:
        return []
    return [
        AuditTarget(scheme, ipc, records, simulation.rounds(scheme)[-1])
        for scheme in audit.schemes_of(simulation.scheme)
        for ipc in audit.budgets_of(scheme, simulation.ipc)
        for records in ["halves", *["canaries"] * audit.canaries]
    ]


def shadow_jobs(simulation: Simulation) -> dict[str, str]:
    """Return every shadow by the name in its events, and what people call its kind."""
    shadows = 0 if simulation.audit is None else simulation.audit.shadows
    every = targets(simulation)
    return {target.job(n): f"shadows of {target.scheme}" for target in every for n in range(shadows)}
