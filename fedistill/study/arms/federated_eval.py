"""Networks go to sites, counts come back: how each scores them on its own images.

No prediction and no image leaves a site. What comes back is checked, for a site's word is not trusted.
"""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from fedistill.study.arms.context import Desk
from fedistill.training.metrics import Tally
from fedistill.transport.protocol.messages import EvalRequest


async def counted(
    desk: Desk,
    sites: Sequence[str],
    name: str,
    params: Mapping[str, Tensor],
    *,
    model: str,
    partition: int,
    split: str = "val",
    members: int = 1,
) -> dict[str, list[Tally]]:
    """Each site's tallies, one for each group of ``members`` networks; sites that could not are named and left out.

    Args:
        name: of the question, for people; each site's job is called ``SITE NAME``.
        params: by name, each stacked with a leading axis over the networks.
        split: ``val`` or ``held_out``.
    """
    groups = len(next(iter(params.values()))) // members

    def question(site: str) -> EvalRequest:
        return EvalRequest(f"{site} {name}", model, desk.simulation.width, partition, params, split, members)

    replies = await asyncio.gather(*[desk.coordinator.score(site, question(site)) for site in sites])
    found = {}
    for site, reply in zip(sites, replies, strict=True):
        problem = reply if isinstance(reply, str) else _problem(reply, groups, desk.expected.classes)
        if problem:
            desk.failed(site, f"{site} {name}", problem)
        else:
            assert not isinstance(reply, str)
            found[site] = reply
    return found


async def tallied(
    desk: Desk, sites: Sequence[str], name: str, params: Mapping[str, Tensor], *, model: str, partition: int
) -> list[Tally]:
    """The sites' tallies on their validation images, added up: one for each network.

    Raises:
        RunError: fewer sites could score than ``min_sites`` wants.
    """
    found = await counted(desk, sites, name, params, model=model, partition=partition)
    missing = {site: "it could not score" for site in sites if site not in found}
    desk.require(len(found), len(sites), f"{name!r} on their validation images", missing)
    return [sum(each[1:], start=each[0]) for each in zip(*found.values(), strict=True)]


def _problem(tallies: Sequence[Tally], groups: int, classes: int) -> str:
    """What is wrong with a site's counts; empty where nothing is."""
    if len(tallies) != groups:
        return f"counts for {len(tallies)} networks came, not for {groups}"
    for tally in tallies:
        parts = (tally.concordant, tally.pairs, tally.correct, tally.count)
        if any(part.shape != (classes,) or not np.isfinite(part).all() or (part < 0).any() for part in parts):
            return "its counts are not counts"
        if (tally.concordant > tally.pairs).any() or (tally.correct > tally.count).any():
            return "its counts exceed what was counted"
    return ""
