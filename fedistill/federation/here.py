"""Which site a process is, where its data lie and where it keeps things: from its own configuration alone."""

from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context

from fedistill.errors import PlanError
from fedistill.plan import Federation, Share, everything, holdings_here, load_simulation
from fedistill.plan.schemes import EVERYONE
from fedistill.store import Store
from fedistill.training.device import device_for


@dataclass(frozen=True)
class Here:
    """This site: its federation and place in it, its data folder, its store.

    One place beyond the last site is ``everyone``: in a simulation, all sites' data at one, for ``central-`` schemes.
    The noise of private methods follows from the seed, which the server knows, unless the site's own configuration says
    ``entropy=system``: what is meant to protect patients must say so.
    """

    federation: Federation
    place: int
    data_root: str | None
    store: Store
    entropy: str = "seeded"

    @property
    def device(self) -> str:
        """Where its jobs compute: on a GPU where its site's settings give them one."""
        return str(device_for(self.gpus))

    @property
    def gpus(self) -> float:
        return self.federation.of(self.name).gpus

    @property
    def name(self) -> str:
        return (*self.federation.sites, EVERYONE)[self.place]

    def share(self, partition: int) -> Share:
        held = holdings_here(self.federation, partition, self.data_root, self.store.remember)
        return everything(held) if self.name == EVERYONE else held.shares[self.place]


def here(context: Context) -> Here:
    """The site's own configuration."""
    own, run = context.node_config, context.run_config
    place = int(str(own["partition-id"]))
    if "federation" in own:
        federation = Federation.model_validate_json(str(own["federation"]), strict=False)
        root, store = str(own.get("data-root", "")), str(own["store"])
    else:
        simulation = load_simulation(str(run["simulation"]), phantom=bool(run.get("phantom", False)))
        federation = simulation.federation
        root, out = str(run.get("data-root", "")), str(run.get("out", "")) or f"runs/{simulation.name}"
        store = str(Path(out) / "work")
    places = len(federation.sites) + bool(own.get("everyone"))
    if place >= places:
        raise PlanError(
            f"Federation {federation.name!r} has no site number {place + 1}.",
            expected=f"at most {len(federation.sites)} nodes",
            found=f"partition-id={place}",
        )
    return Here(federation, place, root or None, Store(Path(store)), str(own.get("entropy", "seeded")))
