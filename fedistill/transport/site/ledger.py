"""What a job at a site enters in the site's ledger: what it will spend, before any noise is drawn; and what leaves.

A real site names its ledger in its own configuration (``ledger="PATH"``): one account, for all who ask and all they ask
for, and every Release is entered. A simulation's sites have one each in the run's store, for private schemes alone.
There, schemes, repeats and points of a sweep are alternatives, of which a real site would release one: each is an
account by itself, so that no result depends on which job came first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from fedistill.config import Job
from fedistill.core.accounting import PrivacyCost
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.errors import PolicyError
from fedistill.privacy.accounting.budget import Charge
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.accounting.ledger_lines import Occasion
from fedistill.privacy.accounting.release_limits import Leaving
from fedistill.privacy.policy.disclosure import unit
from fedistill.release.release import sha256
from fedistill.transport.site.context import Here

Answers = tuple[Mapping[str, Any], PrivacyCost]
"""What determines noisy answers, and what they cost."""


@dataclass(frozen=True)
class Account:
    """One job's part of its site's ledger.

    Args:
        site: whose; occasion: what for.
        name: within which budgets add up; empty at a real site.
        unit: whom a bound would be for.
        each_apart: several networks are asked for of which a real site would send one: each has an account.
        charged: keys of what this job has entered.
    """

    site: Here
    occasion: Occasion
    name: str
    unit: str
    each_apart: bool = False
    charged: list[str] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.site.ledger_path)

    def require(self, asked: Sequence[Answers]) -> None:
        """Refuse, before any work, answers that the budget does not cover all together.

        Raises:
            PolicyError: names the rule.
        """
        if asked:
            self._require_noise()
            self.ledger.require([self._charge(about, cost) for about, cost in asked])

    def require_room(self, item: str, per_class: int | None, *, bounded: bool) -> None:
        """Refuse, at a deployed site and before any work, a Release beyond those that its policy lets out in all.

        Raises:
            PolicyError: names the rule.
        """
        if self.site.deployed:
            self.ledger.require_room(self._leaving(item, per_class, bounded=bounded))

    def charge(self, about: Mapping[str, Any], cost: PrivacyCost) -> None:
        """Enter a cost; noise is drawn when this has returned. See `fedistill.methods.engine.method.Charge`.

        Raises:
            PolicyError: the budget does not cover it, or the noise would protect nobody.
        """
        self._require_noise()
        charge = self._charge(about, cost)
        self.ledger.charge(self.occasion, charge)
        self.charged.append(charge.key)

    def release(self, data: bytes, asked: Sequence[Answers] = (), *, item: str, per_class: int | None) -> None:
        """Enter a Release file that is about to leave, and the answers that it was made of.

        Raises:
            PolicyError: others have left since there was room for it.
        """
        leaving = self._leaving(item, per_class, bounded=bool(asked))
        self._enter(lambda: sha256(data), [key_of(about) for about, _ in asked], leaving)

    def leaves(self, params: Sequence[Tensor]) -> None:
        """Enter networks that are about to leave: the SHA-256 of their numbers, one tensor after another."""
        self._enter(lambda: sha256(b"".join(each.numpy().tobytes() for each in params)), self.charged, None)

    def _enter(self, digest: Callable[[], str], keys: Sequence[str], leaving: Leaving | None) -> None:
        """At a real site everything; in a simulation, which should not wait for its disk, what was paid for."""
        if keys or self.site.deployed:
            self.ledger.release(self.occasion, digest(), keys, leaving if self.site.deployed else None)

    def _leaving(self, item: str, per_class: int | None, *, bounded: bool) -> Leaving:
        policy = self.site.policy
        return Leaving(item, 0 if bounded else per_class or 0, policy.max_releases, policy.max_ipc)

    def _charge(self, about: Mapping[str, Any], cost: PrivacyCost) -> Charge:
        return Charge(
            key=key_of(about),
            account=f"{self.name} seed {about['seed']}" if self.each_apart and self.name else self.name,
            images=str(about["images"]),
            unit=self.unit,
            entropy=self.site.entropy,
            cost=cost,
            limit=self.site.policy.limit,
        )

    def _require_noise(self) -> None:
        site = self.site
        if site.deployed and site.policy.limit is not None and site.entropy != "system":
            raise PolicyError(
                "The site's policy forbids it: noise from a seed that the server knows can be taken off again, "
                "and keeps to no budget (rule epsilon_max).",
                expected='entropy = "system" in the configuration of a site with an epsilon_max',
                found=f"entropy = {site.entropy!r}",
            )


def account_of(job: Job, site: Here, images: ImageSet) -> Account:
    """The account of a job that makes a Release of these images."""
    about = {name: value for name, value in asdict(job).items() if name not in ("ipcs", "encoding")}
    redraw = f" partition {job.partition}" if job.partition else ""
    label = f"{job.scheme} seed {job.seed}{redraw} {key_of({**about, 'images': images.fingerprint()})[:8]}"
    return account(site, job.scheme, label, images, ipcs=job.ipcs)


def account(
    site: Here, scheme: str, label: str, images: ImageSet, *, ipcs: tuple[int, ...] = (), each_apart: bool = False
) -> Account:
    """The account of any other work on these images.

    Args:
        label: what an account of a simulation is called.
    """
    name = "" if site.deployed else label
    return Account(site, Occasion(site.recipient, scheme, ipcs), name, unit(images), each_apart)
