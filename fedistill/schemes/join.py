"""``join``: a site trains on its own images and on the Releases that the others sent for another scheme.

Would a hospital have a reason to join? Its networks are held against those of ``local``. They are at the server only to
be scored on the official test split; what counts as shared is what the others sent.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from fedistill.config import Simulation
from fedistill.config.base import Frozen
from fedistill.config.scheme import scheme_named
from fedistill.schemes.base import Networks, study_scheme
from fedistill.schemes.images import ImageScheme
from fedistill.schemes.local import SiteNetworks, training_at
from fedistill.schemes.server.condition import Condition, Result, Transfer
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.work import Forecast, Training
from fedistill.transport.protocol.release_sizes import request_size


class JoinSettings(Frozen):
    """Settings of a site that trains on its own images and the others' Releases.

    Args:
        of: the scheme whose Releases the others send; one of the simulation's.
        share: of the images it trains on that are the others', each repeated as often as that takes; 0 for as they are.
    """

    of: str = "dc"
    share: Annotated[float, Field(ge=0, lt=1)] = 0.25


class JoinScheme(SiteNetworks):
    """Each site trains on its own images and the others' Releases."""

    has_budget = True
    of_each_site = True

    def label(self, budget: str) -> str:
        """Return what it is in a report's sentence."""
        return f"Own images joined with the others' distilled ones ({budget})"

    def check_simulation(self, simulation: Simulation, settings: Sequence[Any]) -> None:
        """Raise ValueError where nobody sends the Releases to join."""
        of = settings[0].of

        def joinable(name: str) -> bool:
            scheme = scheme_named(name)
            return scheme.pools_releases and scheme.has_budget

        if of not in simulation.scheme or not joinable(of):
            known = [name for name in simulation.scheme if joinable(name)]
            raise ValueError(f"scheme {self.name!r} joins Releases of {of!r}: `of` names one of {known} here")
        if len(simulation.federation.sites) < 2:
            raise ValueError(f"scheme {self.name!r} needs other sites: this federation has one")

    def conditions(self, simulation: Simulation, condition: Condition) -> Iterator[Condition]:
        """Yield a condition for each site's own networks."""
        if condition.recipe == "common":
            yield from (replace(condition, site=site) for site in simulation.federation.sites)

    async def run(self, condition: Condition, ctx: StudyContext) -> tuple[Result, Networks]:
        """Score the site's networks on the official test split."""
        settings = self.read(ctx.simulation.settings(self.name))
        source = study_scheme(settings.of)
        assert isinstance(source, ImageScheme)  # as was checked when the file was read
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

    def work(self, condition: Condition, forecast: Forecast) -> Iterator[tuple[Hashable, Training]]:
        """Yield the training at the site."""
        key = (self.name, condition.site, condition.seed, condition.ipc, condition.model)
        yield key, training_at(condition, condition.site, None, forecast)


JOIN = JoinScheme("join", "a site's own images plus the others' Releases", JoinSettings)
