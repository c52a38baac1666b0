"""A check of a simulation's schemes against the sites' policies before any work, by the rules that the sites apply.

A scheme is refused where so few sites would take part that no pool could be made. What only some sites forbid, where
``min_sites`` lets the run go on without them, is left to these: their refusals are named in the run.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fedistill.config.federation import Federation
from fedistill.config.scheme import Scheme
from fedistill.privacy.policy.rules import objection


def require_permitted(
    federation: Federation,
    scheme: Scheme,
    chosen: Sequence[Any],
    *,
    ipcs: Sequence[int | None],
    needed: int,
    soft: bool = False,
) -> None:
    """Raise ValueError where the policies leave too few sites.

    Args:
        federation: the sites, with their policies.
        scheme: the scheme.
        chosen: the scheme's settings, of every budget.
        ipcs: these budgets.
        needed: sites that must answer.
        soft: whether the scheme's images have soft labels.
    """
    # What is made of all data in one place never leaves it: hardly a rule has a say in it.
    sites = scheme.sites(federation.sites)
    counted = any(federation.policy_of(site).limit is not None for site in sites)  # which takes seconds
    request = scheme.disclosure(chosen, ipcs=ipcs, held_out=federation.held_out > 0, costed=counted)
    request = replace(request, soft=soft)
    answers = {site: objection(federation.policy_of(site), request) for site in sites}
    objections = {site: each for site, each in answers.items() if each is not None}
    if not objections or len(sites) - len(objections) >= min(needed, len(sites)):
        return
    first = next(iter(objections.values()))
    some = len(objections) < len(sites)
    who = f"{', '.join(objections)} forbids, and {needed} sites are needed" if some else "the sites forbids"
    raise ValueError(
        f"scheme {scheme.name!r} {first.does}, which the policy of {who} (rule {first.rule}): leave the scheme out, or "
        f"{first.mend}"
    )


def require_equal_weights(federation: Federation, *, by_counts: bool) -> None:
    """Raise ValueError if sites are weighted by counts that some of them do not share.

    A site that does not share its counts says 1, and would count for nothing beside one that says 500.

    Args:
        federation: the sites, with their policies.
        by_counts: whether anything in the simulation is weighted by how many images sites hold.
    """
    silent = [site for site in federation.sites if federation.policy_of(site).share_counts == "none"]
    if by_counts and 0 < len(silent) < len(federation.sites):
        raise ValueError(
            f'{", ".join(silent)} tells no counts (share_counts = "none") and other sites do: weighted by them, as '
            'federated averaging and pooling = "weighted" are, it would count for nothing. Give all sites the same rule'
        )
