"""What every arm of a study works with, whatever its scheme: who to ask, who trains, where things are kept."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fedistill.config import Holdings, Simulation
from fedistill.core.events import Kind, OnEvent, now
from fedistill.core.store import Store
from fedistill.errors import RunError
from fedistill.study.arms.trainer import Trainer
from fedistill.study.folder.run_folder import RunFolder
from fedistill.transport.server.coordinator import Coordinator
from fedistill.transport.server.release_validation import Expected

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Desk:
    """One simulation's study on its way.

    Args:
        trainer: of the server's own networks.
        expected: shape and label space of what sites send.
        holdings: who holds what, a redraw after another.
        on_event: told when a site fails.
    """

    simulation: Simulation
    coordinator: Coordinator
    trainer: Trainer
    store: Store
    folder: RunFolder
    expected: Expected
    holdings: Sequence[Holdings]
    on_event: OnEvent
    begun: dict[Any, "asyncio.Task[Any]"] = field(default_factory=dict)

    @property
    def sites(self) -> tuple[str, ...]:
        return self.simulation.federation.sites

    async def once(self, key: Any, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of work that several arms wait for, begun by the first of them."""
        if key not in self.begun:
            self.begun[key] = asyncio.ensure_future(begin())
        waiting: Awaitable[T] = asyncio.shield(self.begun[key])
        return await waiting

    def failed(self, site: str, job: str, why: str, trace: str = "") -> None:
        """Name a failure where people look: the progress, events.jsonl, and a file of its own."""
        self.folder.failure(job, f"{why}\n\n{trace}\n")
        self.on_event(now("failed", job=job, site=site, message=why))

    def told(self, job: str, kind: Kind, message: str = "", *, seconds: float | None = None) -> None:
        """Say how far an arm, or a shadow, is; and at its end what it took."""
        self.on_event(now(kind, job=job, message=message, seconds=seconds))

    def require(self, answered: int, of: int, what: str, missing: dict[str, str]) -> None:
        """Raise RunError where fewer sites answered than ``min_sites`` wants.

        Args:
            of: how many were asked; fewer than all where a round draws some.
        """
        needed = min(self.simulation.sites_needed, of)
        if answered < needed:
            causes = "; ".join(f"{site}: {why}" for site, why in missing.items())
            raise RunError(
                f"Too few sites answered for {what}.",
                expected=f"at least {needed} of {of} (min_sites)",
                found=f"{answered}; {causes}",
                mend=f"see {self.folder.root / 'failures'}; run again to resume, or lower min_sites",
            )
