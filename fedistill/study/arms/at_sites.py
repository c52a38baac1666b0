"""Federated evaluation: global networks go to the sites, each scores them on images it set aside, and returns counts.

It answers what the official test split cannot: would this hospital have wanted to join? So a site's own local network,
where the simulation trains any, is scored on the same images, and the difference is the gain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fedistill.study.arms.condition import Arm
from fedistill.study.arms.context import Desk
from fedistill.study.arms.federated_eval import counted
from fedistill.study.arms.trainer import Trained
from fedistill.training.metrics import Tally


@dataclass(frozen=True)
class AtSite:
    """One network of an arm at one site.

    Args:
        images: set aside at the site, as it tells them; None where it tells none.
    """

    arm: Arm
    site: str
    network: int
    images: int | None
    auc: float
    accuracy: float
    balanced_accuracy: float


async def score_at_sites(desk: Desk, arm: Arm, groups: Sequence[Sequence[Trained]]) -> list[AtSite]:
    """An arm's networks at every site that set images aside; at its own alone where each site has its own network.

    Args:
        groups: for each network of the arm those that predict together.
    """
    held = desk.holdings[arm.partition].shares
    if not held:
        return []  # deployed: what sites set aside is theirs alone to know
    sites = [
        name for name, share in zip(desk.sites, held, strict=True) if len(share.held_out) and arm.site in ("", name)
    ]
    if not sites:
        return []
    flat = [network.params for group in groups for network in group]
    named = zip(desk.trainer.network(arm.model).names, zip(*flat, strict=True), strict=True)
    params: dict[str, Any] = {name: torch.stack(parts) for name, parts in named}
    found = await counted(
        desk,
        sites,
        f"evaluation {arm.name}",
        params,
        model=arm.model,
        partition=arm.partition,
        split="held_out",
        members=len(groups[0]),
    )
    rules, several = desk.simulation.federation.policy_of, desk.expected.multilabel
    return [
        _row(arm, site, i, tally, None if rules(site).share_counts == "none" else _images(tally, multilabel=several))
        for site, tallies in found.items()
        for i, tally in enumerate(tallies)
    ]


def _row(arm: Arm, site: str, network: int, tally: Tally, images: int | None) -> AtSite:
    return AtSite(
        arm,
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
