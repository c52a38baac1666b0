"""Federated evaluation: global networks go to the sites, each scores them on images it set aside, and returns counts.

It answers what the official test split cannot: would this hospital have wanted to join? So a site's own local network,
where the simulation trains any, is scored on the same images, and the difference is the gain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fedistill.schemes.server.condition import Condition
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.federated_eval import counted
from fedistill.schemes.server.trainer import Trained
from fedistill.training.metrics import Tally


@dataclass(frozen=True)
class SiteScore:
    """One network of a condition at one site.

    Args:
        images: set aside at the site, as it tells them; None where it tells none.
    """

    condition: Condition
    site: str
    network: int
    images: int | None
    auc: float
    accuracy: float
    balanced_accuracy: float


async def score_at_sites(
    ctx: StudyContext, condition: Condition, groups: Sequence[Sequence[Trained]]
) -> list[SiteScore]:
    """A condition's networks at every site that set images aside; at its own alone where each site has its own network.

    Args:
        groups: for each network of the condition those that predict together.
    """
    held = ctx.holdings[condition.partition].shares
    if not held:
        return []  # deployed: what sites set aside is theirs alone to know
    sites = [
        name
        for name, share in zip(ctx.sites, held, strict=True)
        if len(share.held_out) and condition.site in ("", name)
    ]
    if not sites:
        return []
    flat = [network.params for group in groups for network in group]
    named = zip(ctx.trainer.network(condition.model).names, zip(*flat, strict=True), strict=True)
    params: dict[str, Any] = {name: torch.stack(parts) for name, parts in named}
    found = await counted(
        ctx,
        sites,
        f"evaluation {condition.name}",
        params,
        model=condition.model,
        partition=condition.partition,
        split="held_out",
        members=len(groups[0]),
    )
    rules, several = ctx.simulation.federation.policy_of, ctx.expected.multilabel
    return [
        _row(
            condition,
            site,
            i,
            tally,
            None if rules(site).share_counts == "none" else _images(tally, multilabel=several),
        )
        for site, tallies in found.items()
        for i, tally in enumerate(tallies)
    ]


def _row(condition: Condition, site: str, network: int, tally: Tally, images: int | None) -> SiteScore:
    return SiteScore(
        condition,
        site,
        network,
        images,
        round(tally.auc, 6),
        round(tally.accuracy, 6),
        round(tally.balanced_accuracy, 6),
    )


def _images(tally: Tally, *, multilabel: bool) -> int:
    # Multi-label counts are the same for every label: each image is one decision on each.
    return int(tally.count.max() if multilabel else tally.count.sum())
