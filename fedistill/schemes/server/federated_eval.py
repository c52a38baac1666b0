"""Federated evaluation: each site scores networks on its own images, and returns counts.

No prediction and no image leaves a site. The server does not trust a site's counts, and checks them. Scores on held-out
images show what the official test split cannot: whether a hospital gains by joining, over its own local network.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fedistill.schemes.server.condition import Condition
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.questions import evaluation_name
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
) -> tuple[dict[str, list[Tally]], dict[str, str]]:
    """Return by site one tally for each group of ``members`` networks; and by site why others fail, which is reported.

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
    tallies, missing = {}, {}
    for site, reply in zip(sites, replies, strict=True):
        problem = reply if isinstance(reply, str) else _find_problem(reply, groups, ctx.expected.classes)
        if problem:
            ctx.report_failure(site, f"{site} {name}", problem)
            missing[site] = problem
        else:
            assert not isinstance(reply, str)
            tallies[site] = reply
    return tallies, missing


async def sum_tallies(
    ctx: StudyContext, sites: Sequence[str], name: str, params: Mapping[str, Tensor], *, model: str, partition: int
) -> list[Tally]:
    """Return for each network the sum of the sites' tallies on their validation images.

    Raises:
        RunError: fewer sites could score than ``min_sites`` requires.
    """
    tallies, failed = await request_tallies(ctx, sites, name, params, model=model, partition=partition)
    missing = dict.fromkeys(failed, "it could not score")
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
        accuracy, balanced_accuracy: NaN where a site tells no right guesses, as deployed ones do not.
        why: one-line reason why a deployed site did not score the condition; empty if it did.
    """

    condition: Condition
    site: str
    network: int
    images: int | None
    auc: float
    accuracy: float
    balanced_accuracy: float
    why: str = ""


async def score_at_sites(
    ctx: StudyContext, condition: Condition, groups: Sequence[Sequence[Trained]]
) -> list[SiteScore]:
    """Score a condition's networks at the sites that hold images out; a site's own networks at that site only.

    Deployed sites are asked if the study has an ``evaluation_epsilon``. Their counts have noise, and tell an AUC alone;
    for each that does not score there is one SiteScore with the reason.

    Args:
        ctx: of the study.
        condition: whose networks they are.
        groups: the networks, each a group whose predictions are averaged.
    """
    shares = ctx.holdings[condition.partition].shares
    deployed = not shares  # which do not say what they hold out, and are all asked
    if deployed and ctx.simulation.evaluation_epsilon is None:
        return []
    holding = ctx.sites if deployed else [s for s, share in zip(ctx.sites, shares, strict=True) if len(share.held_out)]
    sites = [name for name in holding if condition.site in ("", name)]
    if not sites:
        return []
    params = ctx.trainer.stacked([network for group in groups for network in group], condition.model)
    tallies_by_site, missing = await request_tallies(
        ctx,
        sites,
        evaluation_name(condition),
        params,
        model=condition.model,
        partition=condition.partition,
        split="held_out",
        members=len(groups[0]),
    )
    scores = []
    for site, tallies in tallies_by_site.items():
        disclosed = not deployed and ctx.simulation.federation.policy_of(site).share_counts != "none"
        for network, tally in enumerate(tallies):
            # Each image counts once for every label, so all labels of a multi-label set have the same count.
            images = int(tally.count.max() if ctx.expected.multilabel else tally.count.sum())
            auc, accuracy, balanced = (round(v, 6) for v in (tally.auc, tally.accuracy, tally.balanced_accuracy))
            scores.append(SiteScore(condition, site, network, images if disclosed else None, auc, accuracy, balanced))
    if deployed:
        nothing = (0, None, math.nan, math.nan, math.nan)
        scores += [SiteScore(condition, site, *nothing, why=why) for site, why in missing.items()]
    return scores
