"""Jobs: (site, scheme, seed) with all its budgets, the unit of parallel work, retry and progress."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedistill.distill import METHODS
from fedistill.plan.schemes import scheme_named
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


def job(
    simulation: Simulation,
    site: str,
    scheme: str,
    seed: int,
    partition: int,
    ipcs: Mapping[int | None, int | None] | None = None,
) -> Job:
    """One job of a simulation, for a scheme that makes images.

    Args:
        ipcs: what the job is asked for in place of each of the simulation's budgets; the same unless given.
    """
    name = scheme_named(scheme).method
    assert name is not None
    method = METHODS[name]
    asked = {ipc: ipc for ipc in simulation.budgets(scheme)} if ipcs is None else ipcs
    settings = dict(simulation.settings(scheme))
    if "ipc" in settings:  # settings of one budget go with what is asked for in its place
        tables = settings["ipc"]
        settings["ipc"] = {str(new): tables[str(old)] for old, new in asked.items() if str(old) in tables}
    return Job(
        site=site,
        scheme=name,
        seed=seed,
        partition=partition,
        ipcs=tuple(new for new in asked.values() if new is not None),
        settings=settings,
        draws=simulation.networks if method.drawn else 1,
        model=simulation.models[0],
        width=simulation.width,
        precision=simulation.precision,
        # All sites' data in one place draw as they did when that place went by a word that a site may have.
        random_seed=spawn(simulation.seed, site.strip("()"), name, seed, partition),
        encoding=simulation.encoding,
    )
