"""``join``: a site trains on its own images and on the Releases that the others sent for another scheme.

Compared with ``local``, it shows whether a hospital has a reason to join. The server receives the networks only to
score them on the official test split; only the others' Releases count as shared.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from fedistill.config import Simulation
from fedistill.config.scheme import scheme_named
from fedistill.consent.items import Item
from fedistill.core.settings import Frozen
from fedistill.schemes.base import Networks, study_scheme
from fedistill.schemes.images import ImageScheme
from fedistill.schemes.local import SiteNetworks, networks_item, own_conditions, training_at
from fedistill.schemes.server.condition import Condition, Result, Transfer
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.work import Forecast, TrainingWork
from fedistill.transport.protocol.release_sizes import request_size
from fedistill.transport.protocol.training_messages import LocalTrainRequest, releases_in


class JoinSettings(Frozen):
    """Settings of a site that trains on its own images and the others' Releases.

    Args:
        of: the simulation's scheme whose Releases the others send.
        share: of the training images that are the others', which are repeated to reach it; 0 for no repetition.
    """

    of: str = "dc"
    share: Annotated[float, Field(ge=0, lt=1)] = 0.25


class JoinScheme(SiteNetworks):
    """A scheme whose sites each train on their own images and the others' Releases."""

    has_budget = True
    of_each_site = True

    def label(self, budget: str) -> str:
        """Return the scheme's label in a report."""
        return f"Own images joined with the others' distilled ones ({budget})"

    def check_simulation(self, simulation: Simulation, settings: Sequence[Any]) -> None:
        """Raise ValueError if no other site sends Releases that the scheme can join."""
        of = settings[0].of

        def joinable(name: str) -> bool:
            scheme = scheme_named(name)
            return scheme.pools_releases and scheme.has_budget

        if of not in simulation.scheme or not joinable(of):
            known = [name for name in simulation.scheme if joinable(name)]
            raise ValueError(f"scheme {self.name!r} cannot join Releases of {of!r}: set `of` to one of {known}")
        if len(simulation.federation.sites) < 2:
            raise ValueError(f"scheme {self.name!r} needs at least two sites; this federation has one")

    def conditions(self, simulation: Simulation, condition: Condition) -> Iterator[Condition]:
        """Yield a condition for each site's own networks."""
        if condition.recipe == "common":
            yield from (replace(condition, site=site) for site in simulation.federation.sites)

    async def run(self, condition: Condition, ctx: StudyContext) -> tuple[Result, Networks]:
        """Score the site's networks on the official test split."""
        settings = self.read(ctx.simulation.settings(self.name))
        source = study_scheme(settings.of)
        assert isinstance(source, ImageScheme)  # `check_simulation` has checked it
        pool, _ = await source.pool(ctx, condition.partition, condition.ipc, condition.seed)
        releases = await source.releases(ctx, condition.partition, condition.ipc, condition.seed)
        others = tuple(release for site, release in releases.items() if site != condition.site)
        request = self.request_for(
            ctx, condition, condition.site, scheme=self.name, releases=others, share=settings.share
        )
        images = round(pool.images_shared * len(others) / max(1, len(releases)))
        sent = sum(map(len, others))
        transfer = Transfer(
            tuple(releases), dict(pool.missing), images, images / pool.classes, sent, 0, request_size(request)
        )
        return await self.result(ctx, condition, await self.trained(ctx, request), transfer)

    def items(self, simulation: Simulation, site: str) -> Iterator[Item]:
        """Yield the networks that a site trains with the others' Releases, which come with the message."""
        settings = self.read(simulation.settings(self.name))
        for condition in own_conditions(simulation, self.name):
            request = self.request_in(simulation, condition, site, scheme=self.name, share=settings.share)

            def build(releases: Any, request: LocalTrainRequest = request) -> LocalTrainRequest:
                return replace(request, releases=releases_in(releases))

            yield networks_item(self.name, request, build)

    def work(self, condition: Condition, forecast: Forecast) -> Iterator[tuple[Hashable, TrainingWork]]:
        """Yield the training at the site."""
        key = (self.name, condition.site, condition.seed, condition.ipc, condition.model)
        yield key, training_at(condition, condition.site, None, forecast)


JOIN = JoinScheme("join", "a site's own images plus the others' Releases", JoinSettings)
