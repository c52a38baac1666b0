"""A simulation's audit: shadows of what the attacked site sends as jobs of the server, and what attacks find in them.

Every shadow is kept in the store by all that determines it, so an audit that was stopped goes on where it was, and
points of a sweep that ask for the same shadows have them made once.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedistill.config import Audit
from fedistill.core.seeds import spawn
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.errors import RunError
from fedistill.privacy.attacks.attack_metrics import Leak
from fedistill.privacy.attacks.registry import verdicts, whole_pairs
from fedistill.privacy.attacks.shadows import Signals
from fedistill.study.arms.context import Desk
from fedistill.study.arms.image_scheme import Pooled
from fedistill.study.arms.local import Local
from fedistill.study.arms.rounds import Federated
from fedistill.study.audit.shadow_spec import Dealt, Line, Made, dealt, mechanism
from fedistill.study.audit.shadow_spec_rounds import require_turns, rounds_mechanism
from fedistill.study.audit.shadow_task import cast


@dataclass(frozen=True, eq=False)
class Verdict:
    """What attacks found out of one line.

    Args:
        settings: of the method; leaks: by attack.
    """

    line: Line
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

    def __init__(self, desk: Desk, pooled: Pooled, federated: Federated, local: Local, test: ImageSet) -> None:
        self.desk, self.pooled, self.federated, self.local = desk, pooled, federated, local
        self.computed = self.found = 0
        self.verdicts: list[Verdict] = []
        self._dealt: dict[str, Dealt] = {}
        if self.asked is not None:
            share = desk.holdings[0].shares[desk.sites.index(self.site)]
            for records in dict.fromkeys(line.records for line in self.lines()):
                self._dealt[records] = dealt(desk.simulation, self.site, records, share.train, share.val, test)
            for line in self.lines():
                if line.rounds is not None:
                    require_turns(desk, federated, line, self.site)

    @property
    def asked(self) -> Audit | None:
        return self.desk.simulation.audit

    @property
    def site(self) -> str:
        """The attacked one; empty where nobody is."""
        return "" if self.asked is None else self.asked.site_of(self.desk.sites)

    def lines(self) -> list[Line]:
        """In the order of the simulation's file."""
        if self.asked is None:
            return []
        simulation, records = self.desk.simulation, ["halves", *["canaries"] * self.asked.canaries]
        return [
            Line(scheme, ipc, each, simulation.rounds(scheme)[-1])
            for scheme in self.asked.schemes_of(simulation.scheme)
            for ipc in self.asked.budgets_of(scheme, simulation.ipc)
            for each in records
        ]

    def jobs(self) -> dict[str, str]:
        """Every shadow by the name in its events, and what people call its kind."""
        shadows = 0 if self.asked is None else self.asked.shadows
        return {line.shadow(n): f"shadows of {line.scheme}" for line in self.lines() for n in range(shadows)}

    async def run(self) -> None:
        """All lines.

        Raises:
            RunError: so many shadows of a line failed that fewer than six are left in pairs.
        """
        tasks = [asyncio.ensure_future(self._line(line)) for line in self.lines()]
        try:
            self.verdicts = [found for found in await asyncio.gather(*tasks) if found is not None]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _line(self, line: Line) -> Verdict | None:
        """What attacks found; None where the site itself failed, and there is nothing to attack."""
        whole = self._dealt[line.records]
        made = await self._mechanism(line, whole)
        if made is None:
            return None
        begun, keys = self.desk.coordinator.begun, [self._key(line, n, made) for n in range(whole.design.shadows)]
        found = await asyncio.gather(*[self._shadow(line, n, key, made) for n, key in enumerate(keys)])

        async def judged() -> Mapping[str, Leak]:
            kept, left = whole_pairs(found, whole.design, what=f"{line.name} at {self.site}")
            return verdicts(kept, left, seed=self.desk.simulation.seed)

        key = key_of({"verdicts of": keys})
        if key not in begun:
            begun[key] = asyncio.ensure_future(judged())
        return Verdict(line, made.shape.settings, await asyncio.shield(begun[key]))

    async def _mechanism(self, line: Line, whole: Dealt) -> Made | None:
        if line.rounds is not None:
            return await rounds_mechanism(self.desk, self.federated, line, self.site, whole)
        return await mechanism(self.desk, self.pooled, self.local, line, self.site, whole)

    def _seed(self, line: Line, number: int) -> int:
        """Of a shadow: its own, and no site's."""
        return spawn(self.desk.simulation.seed, "audit", self.site, line.scheme, line.records, number)

    def _key(self, line: Line, number: int, made: Made) -> str:
        held = self._dealt[line.records].held[number]
        return key_of({**made.about, "held": held, "seed": self._seed(line, number)})

    async def _shadow(self, line: Line, number: int, key: str, made: Made) -> Signals | None:
        """One shadow's signals: from the store, or another point's, or made; None where it failed, which is told."""
        name, begun = line.shadow(number), self.desk.coordinator.begun
        if key not in begun:
            begun[key] = asyncio.ensure_future(self._cast(line, number, key, made))
        try:
            signals, seconds = await asyncio.shield(begun[key])
        except RunError as error:
            trace = "\n".join(getattr(error, "__notes__", []))
            self.desk.failed(self.site, name, f"left out, and its partner with it: {error}", trace)
            return None
        self.desk.told(name, "done", seconds=seconds)
        found: Signals = signals
        return found

    async def _cast(self, line: Line, number: int, key: str, made: Made) -> tuple[Signals, float]:
        """One shadow's signals, and the seconds it took, whenever that was."""
        coordinator, simulation = self.desk.coordinator, self.desk.simulation
        kept = self.desk.store.get("shadow", key)
        if kept is not None:
            self.found += 1
            return Signals.of(kept[0]), float(kept[1]["seconds"])
        name, whole = line.shadow(number), self._dealt[line.records]
        tensors, seconds = await coordinator.compute(
            f"{name} {key[:8]}",
            cast,
            name,
            number,
            self._seed(line, number),
            made.shape,
            coordinator.share_once(f"attacked {whole.name}", lambda: whole.attacked),
            coordinator.share_once(f"among {made.shared}", lambda: made.others),
            simulation.gpus,
            threads=simulation.threads,
            gpus=simulation.gpus,
        )
        self.desk.store.put("shadow", key, tensors, {"seconds": seconds})
        self.computed += 1
        return Signals.of(tensors), seconds
