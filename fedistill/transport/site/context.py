"""The context of a site, which site it is and where its data and store are, from its own configuration only."""

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
from fedistill.privacy.accounting.counter import counter_of
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.policy.disclosure import too_small, without
from fedistill.privacy.policy.rules import Policy
from fedistill.privacy.policy.secret import read_secret, seed_for
from fedistill.training.device import device_for


@dataclass(frozen=True)
class SiteContext:
    """A site: its federation, its place in it, its data folder and its store.

    In a simulation with ``central-`` schemes, the place beyond the last site holds all sites' data; its name `EVERYONE`
    cannot be a site's. The noise of private methods follows from the seed, which the server knows, unless the site's
    own configuration says ``entropy=system``, which protects patients.

    Args:
        federation: of all sites.
        place: number of the site in it, from 0.
        data_root: folder of MedMNIST files.
        store: of the site's results.
        entropy: source of the noise of private methods, ``seeded`` or ``system``.
        ledger: path in the configuration of a deployed site; None in a simulation, whose ledgers are in the store.
        secret: part of every seed of a deployed site; None in a simulation, whose seeds the server knows.
        recipient: name of the requester in the ledger.
        agreements: folder of a deployed site's agreements.
        agreement: HASH of the study that it answers just now.
    """

    federation: Federation
    place: int
    data_root: str | None
    store: Store
    entropy: str = "seeded"
    ledger: Path | None = None
    secret: bytes | None = None
    recipient: str = "simulation"
    agreements: Path | None = None
    agreement: str = ""

    @property
    def policy(self) -> Policy:
        """The site's own rules."""
        return self.federation.policy_of(self.name)

    @property
    def deployed(self) -> bool:
        """True on a hospital's own node, whose Releases add up and cannot be recalled.

        A simulation's requests are alternatives, of which a real site would answer one.
        """
        return self.ledger is not None

    def seed_of(self, job: Job) -> int:
        """Return the seed of a job's random numbers; at a deployed site it depends on a secret and the whole job.

        So nobody else can reproduce them, and jobs that differ in any setting share none.
        """
        return job.random_seed if self.secret is None else seed_for(self.secret, asdict(job))

    def mixed(self, seed: int, name: str) -> int:
        """Return a seed of a network that is trained here; at a deployed site with its secret in it."""
        return seed if self.secret is None else seed_for(self.secret, {"seed": seed, "name": name})

    @property
    def ledger_path(self) -> Path:
        """Path of the site's ledger."""
        return self.store.root / "ledger" / f"{self.name}.jsonl" if self.ledger is None else self.ledger

    @property
    def book(self) -> Ledger:
        """The site's ledger; a deployed site's lines are counted, in its store."""
        counter = counter_of(self.store.root) if self.agreements is not None else None
        return Ledger(self.ledger_path, counter)

    @property
    def device(self) -> str:
        """Device of the site's jobs: a GPU if its settings give it one."""
        return str(device_for(self.gpus))

    @property
    def gpus(self) -> float:
        """Share of a GPU for each job."""
        return self.federation.of(self.name).gpus

    @property
    def name(self) -> str:
        """Name of the site, or `EVERYONE`."""
        return (*self.federation.sites, EVERYONE)[self.place]

    def whole(self, partition: int) -> Share:
        """Return all images of the site, as private methods need: an exact count of a class would break their bound."""
        holdings = holdings_here(self.federation, partition, self.data_root, self.store.remember)
        return everything(holdings) if self.name == EVERYONE else holdings.shares[self.place]

    def share(self, partition: int) -> Share:
        """Return the site's images without the classes whose training images are too few by its policy."""
        whole = self.whole(partition)
        small = self.small(partition)
        return Share(*[without(images, small) for images in (whole.train, whole.val, whole.held_out)])

    def small(self, partition: int) -> frozenset[int]:
        """Return the classes that are too small for anything without a privacy bound."""
        return too_small(self.whole(partition).train, self.policy.least_in_class)

    def scored(self, partition: int, split: str) -> ImageSet:
        """Return a split's images for scoring networks, without classes that are too small in that split."""
        share = self.share(partition)
        images = {"val": share.val, "held_out": share.held_out}[split]
        return without(images, too_small(images, self.policy.min_class_size))


@lru_cache(maxsize=8)
def _federation(text: str) -> Federation:
    """Parse a federation once a process: for a thousand sites that takes longer than answering a message."""
    return Federation.model_validate_json(text, strict=False)


def read_context(context: Context) -> SiteContext:
    """Return the site's context from its own configuration.

    Raises:
        PlanError: the federation has no such site.
    """
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
        secret=read_secret(Path(str(own["secret"]))) if ledger and own["secret"] else None,
        recipient=f"run {context.run_id}" if ledger else "simulation",
        agreements=Path(str(own["agreements"])) if ledger else None,
    )


def _store(own: Mapping[str, Any]) -> Path:
    """Return the run's store if this machine sees it, as all do that share a disk; else the machine's own.

    >>> _store({"store": "/no/such/run/work", "store-elsewhere": "/tmp/own"})
    PosixPath('/tmp/own')
    >>> _store({"store": "/var/lib/fedistill/new"})
    PosixPath('/var/lib/fedistill/new')
    """
    store, elsewhere = Path(str(own["store"])), str(own.get("store-elsewhere", ""))
    if not elsewhere or store.is_dir():
        return store
    return Path(os.environ.get("FEDISTILL_STORE") or elsewhere).expanduser()
