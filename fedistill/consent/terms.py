"""Terms of an agreement, held against a site's rules before the yes: each scheme, and all of it in sum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fedistill.consent.agreement import Agreements
from fedistill.consent.items import Item, answerable
from fedistill.core.accounting import PrivacyCost
from fedistill.errors import PolicyError
from fedistill.privacy.accounting.budget import spent
from fedistill.privacy.accounting.ledger_lines import Entry
from fedistill.privacy.accounting.release_limits import gone_from
from fedistill.privacy.policy.rules import Policy, objection


@dataclass(frozen=True)
class Totals:
    """Totals over what has left, what was agreed to before and has not left, and this study.

    Args:
        releases, per_class: Releases, and images of a class in those without a privacy bound.
        epsilon: of all private answers together, at the policy's delta; 0 without any.
    """

    releases: int
    per_class: int
    epsilon: float


def forbidden(items: Mapping[str, Item], policy: Policy, *, held_out: bool) -> dict[str, str]:
    """Return the schemes that a policy forbids, with the reason of each.

    Args:
        items: of the study.
        policy: the site's rules.
        held_out: whether the site has images set aside.
    """
    reasons: dict[str, str] = {}
    for item in items.values():
        if item.scheme in reasons:
            continue
        sends = replace(item.sends, held_out=held_out, costs=item.sends.costs if policy.limit else ())
        against = objection(policy, sends)
        if against is not None:
            reasons[item.scheme] = f"it {against.does} (rule {against.rule})"
        elif item.sends.private and policy.limit is None:
            reasons[item.scheme] = "the site has no privacy budget for it (rule epsilon_max)"
    return reasons


def totals(
    items: Mapping[str, Item], agreements: Agreements, entries: Sequence[Entry], policy: Policy, *, held_out: bool
) -> Totals:
    """Return what leaves in all if a site agrees to these items too.

    A Release that two studies share, with every setting alike, is the same bytes and counts once.

    Args:
        items: that it would answer.
        agreements: of the site.
        entries: all lines of its ledger.
        policy: its rules.
        held_out: whether it has images set aside.
    """
    gone = gone_from(entries)
    known = {entry.item for entry in gone.values()}
    begun, rejected = (
        {(entry.occasion.agreement, entry.about["item"]) for entry in entries if entry.kind == kind}
        for kind in ("begun", "rejected")
    )
    ahead = {
        item.key: item
        for each in agreements.holding()
        for item in answerable(each.items(), held_out=held_out).values()
        if (each.hash, item.name) not in rejected
        and (item.kind == "release" or (each.hash, item.name) not in begun)  # its costs are in the ledger
    }
    ahead |= {item.key: item for item in items.values()}
    left = [item for key, item in ahead.items() if key not in known]
    releases = [item for item in left if item.kind == "release"]
    per_class = sum(entry.per_class for entry in gone.values())
    per_class += sum(item.per_class or 0 for item in releases if not item.sends.private)
    charged = [entry.charge.cost for entry in entries if entry.charge is not None]
    costs = [*charged, *_costs(left)]
    return Totals(len(gone) + len(releases), per_class, spent(costs, delta=policy.delta) if costs else 0.0)


def _costs(items: Sequence[Item]) -> list[PrivacyCost]:
    return [cost for item in items for cost in item.sends.costs]


def require_within(sums: Totals, policy: Policy) -> None:
    """Refuse to agree to more than a policy lets out in all.

    Raises:
        PolicyError: names the rule.
    """
    what = "With this study and those agreed to before, more would leave than the site's policy allows"
    if policy.max_releases is not None and sums.releases > policy.max_releases:
        raise PolicyError(
            f"{what}: {sums.releases} Releases, and {policy.max_releases} may in all (rule max_releases).",
            mend="revoke an agreement, leave a scheme out (--without), or raise max_releases",
        )
    if policy.max_ipc is not None and sums.per_class > policy.max_ipc:
        raise PolicyError(
            f"{what}: {sums.per_class} images of a class, and {policy.max_ipc} may in all (rule max_ipc).",
            mend="revoke an agreement, leave a scheme out (--without), or raise max_ipc",
        )
    if policy.limit is not None and sums.epsilon > policy.limit[0] * (1 + 1e-6):
        raise PolicyError(
            f"{what}: epsilon {sums.epsilon:.4g}, and {policy.limit[0]:g} may be spent in all (rule epsilon_max).",
            mend="revoke an agreement, leave a scheme out (--without), or raise epsilon_max",
        )
