"""A job's entries in its site's ledger: the budget it spends, before any noise is drawn, and the data that leave.

A real site names its ledger in its own configuration (``ledger="PATH"``): it has one account for all requests, and
every Release is entered. A simulation's sites have ledgers in the run's store, for private schemes only. There,
schemes, repeats and points of a sweep are alternatives, of which a real site would release one: each has its own
account, so that no result depends on the order of jobs.
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
from fedistill.transport.site.context import SiteContext

Answers = tuple[Mapping[str, Any], PrivacyCost]
"""Everything that determines noisy answers, and their cost."""


@dataclass(frozen=True)
class Account:
    """A job's account in its site's ledger.

    Args:
        site: whose ledger it is.
        occasion: recipient, scheme and budgets of the entries.
        name: of the account within which budgets add up; empty at a real site.
        unit: of privacy, image or patient.
        each_apart: whether every network has its own account, as alternatives of which a real site would send one.
        charged: keys of this job's charges.
    """

    site: SiteContext
    occasion: Occasion
    name: str
    unit: str
    each_apart: bool = False
    charged: list[str] = field(default_factory=list)

    @property
    def ledger(self) -> Ledger:
        """The site's ledger."""
        return self.site.book

    def require(self, answers: Sequence[Answers]) -> None:
        """Refuse, before any work, answers that the budget does not cover together.

        Raises:
            PolicyError: names the rule.
        """
        if answers:
            self._require_noise()
            self.ledger.require([self._charge(about, cost) for about, cost in answers])

    def require_room(self, item: str, per_class: int | None, *, bounded: bool) -> None:
        """Refuse, at a deployed site and before any work, a Release beyond the total that its policy allows.

        Raises:
            PolicyError: names the rule.
        """
        if self.site.deployed:
            self.ledger.require_room(self._leaving(item, per_class, bounded=bounded))

    def charge(self, about: Mapping[str, Any], cost: PrivacyCost) -> None:
        """Enter a cost, before the noise is drawn. See `fedistill.methods.engine.method.Charge`.

        Raises:
            PolicyError: the budget does not cover it, or the noise would protect nobody.
        """
        self._require_noise()
        charge = self._charge(about, cost)
        self.ledger.charge(self.occasion, charge)
        self.charged.append(charge.key)

    def release(self, data: bytes, answers: Sequence[Answers] = (), *, item: str, per_class: int | None) -> None:
        """Enter a Release file that is about to leave, and the answers in it.

        Raises:
            PolicyError: other Releases have used up the room meanwhile.
        """
        leaving = self._leaving(item, per_class, bounded=bool(answers))
        self._enter(lambda: sha256(data), [key_of(about) for about, _ in answers], leaving)

    def leaves(self, params: Sequence[Tensor]) -> None:
        """Enter networks that are about to leave, by the SHA-256 of their concatenated tensors."""
        self._enter(lambda: sha256(b"".join(each.numpy().tobytes() for each in params)), self.charged, None)

    def _enter(self, digest: Callable[[], str], keys: Sequence[str], leaving: Leaving | None) -> None:
        """Enter data that leave: at a real site all, in a simulation, to spare the disk, only those with charges."""
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
                "The site's policy forbids it: noise from a seed that the server knows can be subtracted, "
                "and bounds nothing (rule epsilon_max).",
                expected='entropy = "system" in the configuration of a site with an epsilon_max',
                found=f"entropy = {site.entropy!r}",
            )


def open_job_account(job: Job, site: SiteContext, images: ImageSet) -> Account:
    """Return the account of a job that makes a Release of these images."""
    about = {name: value for name, value in asdict(job).items() if name not in ("ipcs", "encoding")}
    redraw = f" partition {job.partition}" if job.partition else ""
    label = f"{job.scheme} seed {job.seed}{redraw} {key_of({**about, 'images': images.fingerprint()})[:8]}"
    return open_account(site, job.scheme, label, images, ipcs=job.ipcs)


def open_account(
    site: SiteContext,
    scheme: str,
    label: str,
    images: ImageSet,
    *,
    ipcs: tuple[int, ...] = (),
    each_apart: bool = False,
) -> Account:
    """Return the account of other work on these images; ``label`` is its name in a simulation."""
    name = "" if site.deployed else label
    occasion = Occasion(site.recipient, scheme, ipcs, site.agreement)
    return Account(site, occasion, name, unit(images), each_apart)
