"""Which site a process is, where its data lie and where it keeps things: from its own configuration alone."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from flwr.app import Context

from fedistill.config import Federation, Job, Share, everything, holdings_here, load_simulation
from fedistill.config.scheme import EVERYONE
from fedistill.core.store import Store
from fedistill.data import ImageSet
from fedistill.errors import PlanError
from fedistill.privacy.policy.disclosure import too_small, without
from fedistill.privacy.policy.rules import Policy
from fedistill.privacy.policy.secret import read_secret, seed_for
from fedistill.training.device import device_for


@dataclass(frozen=True)
class SiteContext:
    """This site: its federation and place in it, its data folder, its store.

    One place beyond the last site is called `EVERYONE`, as no site can be: in a simulation, all sites' data at one, for
    ``central-`` schemes.
    The noise of private methods follows from the seed, which the server knows, unless the site's own configuration says
    ``entropy=system``: what is meant to protect patients must say so.

    Args:
        federation: its place in it; data_root: folder of MedMNIST files; store: where it keeps what it has computed.
        entropy: where the noise of private methods comes from.
        ledger: the site's own, named in its configuration; None in a simulation, whose sites have theirs in the store.
        secret: goes into every seed of a deployed site; None in a simulation, whose seeds the server knows.
        recipient: who asks, as the ledger calls it.
    """

    federation: Federation
    place: int
    data_root: str | None
    store: Store
    entropy: str = "seeded"
    ledger: Path | None = None
    secret: bytes | None = None
    recipient: str = "simulation"

    @property
    def policy(self) -> Policy:
        """Its own rules."""
        return self.federation.policy_of(self.name)

    @property
    def deployed(self) -> bool:
        """Whether this is a hospital's own node: what it sends leaves, adds up, and cannot be called back. In a
        simulation what is asked for are alternatives, of which a real site would release one.
        """
        return self.ledger is not None

    def seed_of(self, job: Job) -> int:
        """Return the seed that a job's random numbers follow from: at a deployed site of its secret and the whole job.

        So nobody else can draw them again, and jobs that differ in a single setting share no number.
        """
        return job.random_seed if self.secret is None else seed_for(self.secret, asdict(job))

    @property
    def ledger_path(self) -> Path:
        """Where its ledger is."""
        return self.store.root / "ledger" / f"{self.name}.jsonl" if self.ledger is None else self.ledger

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

    def whole(self, partition: int) -> Share:
        """All of its images. For private methods, whose bound an exact count of a class would break."""
        held = holdings_here(self.federation, partition, self.data_root, self.store.remember)
        return everything(held) if self.name == EVERYONE else held.shares[self.place]

    def share(self, partition: int) -> Share:
        """Its images, without classes that are too small by its policy, counted over its training images."""
        held = self.whole(partition)
        small = self.small(partition)
        return Share(*[without(images, small) for images in (held.train, held.val, held.held_out)])

    def small(self, partition: int) -> frozenset[int]:
        """Return the classes that are too small to take part in anything without a privacy bound."""
        return too_small(self.whole(partition).train, self.policy.least_in_class)

    def scored(self, partition: int, split: str) -> ImageSet:
        """What networks are scored on: a split of its share, without classes that are too small in that split."""
        share = self.share(partition)
        images = {"val": share.val, "held_out": share.held_out}[split]
        return without(images, too_small(images, self.policy.min_class_size))


@lru_cache(maxsize=8)
def _federation(text: str) -> Federation:
    """Read once a process, not once a message: of a thousand sites it takes longer than what is asked of one."""
    return Federation.model_validate_json(text, strict=False)


def read_context(context: Context) -> SiteContext:
    """The site's own configuration."""
    own, run = context.node_config, context.run_config
    place = int(str(own["partition-id"]))
    if "federation" in own:
        federation = _federation(str(own["federation"]))
        root, store = str(own.get("data-root", "")), _store(own)
    else:
        simulation = load_simulation(str(run["simulation"]), phantom=bool(run.get("phantom", False)))
        federation = simulation.federation
        root, out = str(run.get("data-root", "")), str(run.get("out", "")) or f"runs/{simulation.name}"
        store = Path(out) / "work"
    places = len(federation.sites) + bool(own.get("everyone"))
    if place >= places:
        raise PlanError(
            f"Federation {federation.name!r} has no site number {place + 1}.",
            expected=f"at most {len(federation.sites)} nodes",
            found=f"partition-id={place}",
        )
    ledger = str(own.get("ledger", ""))
    return SiteContext(
        federation,
        place,
        root or None,
        Store(store),
        str(own.get("entropy", "seeded")),
        ledger=Path(ledger) if ledger else None,
        secret=read_secret(Path(str(own["secret"]))) if ledger else None,
        recipient=f"run {context.run_id}" if ledger else "simulation",
    )


def _store(own: Mapping[str, Any]) -> Path:
    """The run's store where this machine sees it, as all do that share a disk; else this machine's own.

    >>> _store({"store": "/no/such/run/work", "store-elsewhere": "/tmp/own"})
    PosixPath('/tmp/own')
    >>> _store({"store": "/var/lib/fedistill/new"})
    PosixPath('/var/lib/fedistill/new')
    """
    store, elsewhere = Path(str(own["store"])), str(own.get("store-elsewhere", ""))
    if not elsewhere or store.is_dir():
        return store
    return Path(os.environ.get("FEDISTILL_STORE") or elsewhere).expanduser()
