"""Jobs: (site, scheme, seed) with all its budgets, the unit of parallel work, retry and progress."""

from dataclasses import dataclass
from typing import Any

from fedistill.distill import METHODS
from fedistill.plan.simulation import Simulation
from fedistill.seeds import spawn


@dataclass(frozen=True)
class Job:
    """What a site is asked for. It names no file and no data: the site knows its own.

    Args:
        site, scheme, seed: whose, made how, in which repeat; partition: in which redraw of who holds what.
        ipcs: budgets in images per class; empty for a scheme without one.
        settings: of the scheme, as the simulation's file gives them.
        draws: independent subsets a budget, for schemes whose outcome is one random draw.
        model, width: the network to match on; precision: what it computes in.
        random_seed: where everything random of this job comes from.
        encoding: what synthetic images must travel as; see `fedistill.distill.release`.
    """

    site: str
    scheme: str
    seed: int
    partition: int
    ipcs: tuple[int, ...]
    settings: dict[str, Any]
    draws: int
    model: str
    width: int
    precision: str
    random_seed: int
    encoding: str = "uint8"

    @property
    def name(self) -> str:
        """For people and for progress: ``north dc seed 0``."""
        redraw = f" partition {self.partition}" if self.partition else ""
        return f"{self.site} {self.scheme} seed {self.seed}{redraw}"

    @property
    def budgets(self) -> tuple[int | None, ...]:
        """Its ipcs; None alone for a scheme without a budget."""
        return self.ipcs or (None,)


def job(simulation: Simulation, site: str, scheme: str, seed: int, partition: int) -> Job:
    """One job of a simulation."""
    method = METHODS[scheme]
    return Job(
        site=site,
        scheme=scheme,
        seed=seed,
        partition=partition,
        ipcs=simulation.ipc if method.budget else (),
        settings=dict(simulation.settings(scheme)),
        draws=simulation.networks if method.drawn else 1,
        model=simulation.models[0],
        width=simulation.width,
        precision=simulation.precision,
        random_seed=spawn(simulation.seed, site, scheme, seed, partition),
        encoding=simulation.encoding,
    )
