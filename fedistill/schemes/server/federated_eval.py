"""Federated evaluation: each site scores networks on its own images, and returns counts.

No prediction and no image leaves a site. The server does not trust a site's counts, and checks them. Scores on held-out
images show what the official test split cannot: whether a hospital gains by joining, over its own local network.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedistill.schemes.server.condition import Condition
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.trainer import Trained
from fedistill.training.metrics import Tally
from fedistill.transport.protocol.messages import EvalRequest


async def request_tallies(
    ctx: StudyContext,
    sites: Sequence[str],
    name: str,
    params: Mapping[str, Tensor],
    *,
    model: str,
    partition: int,
    split: str = "val",
    members: int = 1,
) -> dict[str, list[Tally]]:
    """Return by site one tally for each group of ``members`` networks; report the sites that fail, and leave them out.

    Args:
        ctx: of the study.
        sites: that score.
        name: of the request, for people; each site's job is called ``SITE NAME``.
        params: by name, each stacked with a leading axis over the networks.
        model: name of the networks' architecture.
        partition: number of the redraw.
        split: ``val`` or ``held_out``.
        members: networks in a group, whose predictions are averaged.
    """
    groups = len(next(iter(params.values()))) // members

    def question(site: str) -> EvalRequest:
        return EvalRequest(f"{site} {name}", model, ctx.simulation.width, partition, params, split, members)

    replies = await asyncio.gather(*[ctx.coordinator.score(site, question(site)) for site in sites])
    tallies = {}
    for site, reply in zip(sites, replies, strict=True):
        problem = reply if isinstance(reply, str) else _find_problem(reply, groups, ctx.expected.classes)
        if problem:
            ctx.report_failure(site, f"{site} {name}", problem)
        else:
            assert not isinstance(reply, str)
            tallies[site] = reply
    return tallies


async def sum_tallies(
    ctx: StudyContext, sites: Sequence[str], name: str, params: Mapping[str, Tensor], *, model: str, partition: int
) -> list[Tally]:
    """Return for each network the sum of the sites' tallies on their validation images.

    Raises:
        RunError: fewer sites could score than ``min_sites`` requires.
    """
    tallies = await request_tallies(ctx, sites, name, params, model=model, partition=partition)
    missing = {site: "it could not score" for site in sites if site not in tallies}
    ctx.require_sites(len(tallies), len(sites), f"{name!r} on their validation images", missing)
    return [sum(each[1:], start=each[0]) for each in zip(*tallies.values(), strict=True)]


def _find_problem(tallies: Sequence[Tally], groups: int, classes: int) -> str:
    """Return the defect of a site's counts; empty if there is none."""
    if len(tallies) != groups:
        return f"it returned counts for {len(tallies)} networks, not for {groups}"
    for tally in tallies:
        parts = (tally.concordant, tally.pairs, tally.correct, tally.count)
        if any(part.shape != (classes,) or not np.isfinite(part).all() or (part < 0).any() for part in parts):
            return "its counts are not valid counts"
        if (tally.concordant > tally.pairs).any() or (tally.correct > tally.count).any():
            return "its counts exceed their totals"
    return ""


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
    params = ctx.trainer.stacked([network for group in groups for network in group], condition.model)
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
    scores = []
    for site, tallies in tallies_by_site.items():
        disclosed = ctx.simulation.federation.policy_of(site).share_counts != "none"
        for network, tally in enumerate(tallies):
            # Each image counts once for every label, so all labels of a multi-label set have the same count.
            images = int(tally.count.max() if ctx.expected.multilabel else tally.count.sum())
            auc, accuracy, balanced = (round(v, 6) for v in (tally.auc, tally.accuracy, tally.balanced_accuracy))
            scores.append(SiteScore(condition, site, network, images if disclosed else None, auc, accuracy, balanced))
    return scores
