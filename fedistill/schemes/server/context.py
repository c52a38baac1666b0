"""The study's context, shared by the conditions of all schemes."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fedistill.config import Holdings, Simulation
from fedistill.core.events import Kind, OnEvent, now
from fedistill.core.single_flight import single_flight
from fedistill.core.store import Store
from fedistill.errors import RunError
from fedistill.release.release import Release
from fedistill.schemes.server.site_row import SiteRow
from fedistill.schemes.server.trainer import Trainer
from fedistill.transport.server.coordinator import Coordinator
from fedistill.transport.server.release_validation import Expected

T = TypeVar("T")


class Archive(Protocol):
    """The place where a study stores Releases and tracebacks."""

    root: Path

    def failure(self, name: str, text: str) -> Path:
        """Store a traceback."""

    def release(self, site: str, scheme: str, seed: int, partition: int, data: bytes, *, keep: bool, name: str) -> None:
        """Store a Release; of real images (``keep`` false) only its SHA-256."""


@dataclass(frozen=True, eq=False)
class StudyContext:
    """The state of one simulation's study while it runs.

    Args:
        trainer: of the server's networks.
        store: of networks.
        folder: of Releases and tracebacks.
        expected: image shape and label space of the sites' Releases.
        holdings: the sites' data, one for each redraw of the partition.
        on_event: receives every event of the study.
        begun: shared work of several conditions, by its key.

    Attributes:
        releases: every Release that the server accepted, with its scheme.
        site_rows: lines of sites.csv.
        curves: lines of rounds.csv.
    """

    simulation: Simulation
    coordinator: Coordinator
    trainer: Trainer
    store: Store
    folder: Archive
    expected: Expected
    holdings: Sequence[Holdings]
    on_event: OnEvent
    begun: dict[Any, "asyncio.Task[Any]"] = field(default_factory=dict)
    releases: list[tuple[str, Release]] = field(default_factory=list)
    site_rows: list[SiteRow] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of all sites, in the federation's order."""
        return self.simulation.federation.sites

    async def once(self, key: Any, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of work that several conditions share; the first of them begins it."""
        return await single_flight(self.begun, key, begin)

    async def once_per_run(self, key: str, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of work that points of a sweep share; the key names everything it depends on."""
        return await single_flight(self.coordinator.begun, key, begin)

    def report_failure(self, site: str, job: str, why: str, trace: str = "") -> None:
        """Report a failure as an event, and store its traceback in a file."""
        self.folder.failure(job, f"{why}\n\n{trace}\n")
        self.on_event(now("failed", job=job, site=site, message=why))

    def report(self, job: str, kind: Kind, message: str = "", *, seconds: float | None = None) -> None:
        """Report how far a condition, or a shadow, is; and at its end how long it took."""
        self.on_event(now(kind, job=job, message=message, seconds=seconds))

    def require_sites(self, answered: int, of: int, what: str, missing: dict[str, str]) -> None:
        """Raise RunError if fewer sites answered than ``min_sites`` requires.

        ``of`` is the number of sites that received a request: in a round, only those drawn.
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
