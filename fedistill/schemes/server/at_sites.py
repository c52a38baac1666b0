"""Federated evaluation: each site scores the networks on images that it has held out, and returns counts.

It shows what the official test split cannot: whether this hospital gains by joining. If the simulation trains the
site's own local network, that is scored on the same images, and the difference is the gain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fedistill.schemes.server.condition import Condition
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.federated_eval import request_tallies
from fedistill.schemes.server.trainer import Trained
from fedistill.training.metrics import Tally


@dataclass(frozen=True)
class SiteScore:
    """The scores of one network of a condition at one site.

    Args:
        images: number of held-out images, as the site discloses it; None if it does not.
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
    """Score a condition's networks at the sites that hold images out; a site's own networks at that site only.

    ``groups`` are the condition's networks, each a group whose predictions are averaged.
    """
    shares = ctx.holdings[condition.partition].shares
    if not shares:
        return []  # deployed sites do not disclose what they hold out
    sites = [
        name
        for name, share in zip(ctx.sites, shares, strict=True)
        if len(share.held_out) and condition.site in ("", name)
    ]
    if not sites:
        return []
    flat = [network.params for group in groups for network in group]
    named = zip(ctx.trainer.network(condition.model).names, zip(*flat, strict=True), strict=True)
    params: dict[str, Any] = {name: torch.stack(parts) for name, parts in named}
    tallies_by_site = await request_tallies(
        ctx,
        sites,
        f"evaluation {condition.name}",
        params,
        model=condition.model,
        partition=condition.partition,
        split="held_out",
        members=len(groups[0]),
    )
    rules, multilabel = ctx.simulation.federation.policy_of, ctx.expected.multilabel
    return [
        _row(
            condition,
            site,
            i,
            tally,
            None if rules(site).share_counts == "none" else _images(tally, multilabel=multilabel),
        )
        for site, tallies in tallies_by_site.items()
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
    # Each image counts once for every label, so all labels of a multi-label set have the same count.
    return int(tally.count.max() if multilabel else tally.count.sum())
