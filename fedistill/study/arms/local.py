"""Arms in which sites train for themselves: ``local``, ``ensemble`` of local networks, ``join`` with others' Releases,
and the first two by DP-SGD, ``dpsgd-local`` and ``dpsgd-ensemble``.

A site chooses its recipe on its own validation images, from the same grid as everyone; a private one has it from its
settings, for these images are patients' too. The networks of ``local`` and ``join`` are at the server only to be scored
on the official test split, which a real site would not see: nothing is counted as shared for the one, and only what the
others sent for the other.
"""

import asyncio

import numpy as np

from fedistill.config.scheme_settings import JoinSettings, PrivateAloneSettings, scheme_named
from fedistill.core.seeds import spawn
from fedistill.study.arms.choice import grid
from fedistill.study.arms.condition import Arm, Scored, Shared
from fedistill.study.arms.context import Desk
from fedistill.study.arms.image_scheme import Pooled
from fedistill.study.arms.trainer import Trained, trained_elsewhere
from fedistill.training.dpsgd import DPSGD
from fedistill.training.search import Grid
from fedistill.transport.protocol.release_sizes import network_sizes, request_size
from fedistill.transport.protocol.training_messages import LocalTrainReply, LocalTrainRequest


class Local:
    """Arms of ``local``, ``ensemble`` and ``join`` of one study."""

    def __init__(self, desk: Desk, pooled: Pooled) -> None:
        self.desk, self.pooled = desk, pooled

    async def arm(self, arm: Arm) -> tuple[Scored, list[list[Trained]]]:
        """The arm's networks on the official test split; and the networks, those that predict together side by side.

        Raises:
            NoNetwork: the site of the arm trained none.
        """
        if scheme_named(arm.scheme).kind == "ensemble":
            return await self._ensemble(arm)
        learned, shared = await self._at(arm)
        networks = self.networks(learned, arm.model)
        probabilities = await self.desk.trainer.test(arm, networks)
        each = learned.seconds / len(networks)
        steps = learned.recipe.steps_for(learned.examples)
        n = len(networks)
        scored = Scored(arm, [shared] * n, [learned.recipe] * n, [steps] * n, probabilities, [each] * n)
        return scored, [[network] for network in networks]

    def networks(self, learned: LocalTrainReply, model: str) -> list[Trained]:
        """The networks a site trained, one by one."""
        names = self.desk.trainer.network(model).names
        count = len(learned.params[names[0]])
        each = learned.seconds / count
        return [trained_elsewhere(tuple(learned.params[name][i] for name in names), each) for i in range(count)]

    async def local(self, site: str, arm: Arm) -> LocalTrainReply | str:
        """The networks a site trained on nothing but its own images; or one line on why there are none."""
        # The networks of `ensemble` are those of `local`; private ones have settings of their own.
        request = self._request(arm, site, "local" if self._private(arm.scheme) is None else arm.scheme)
        return await self._asked(request)

    async def _ensemble(self, arm: Arm) -> tuple[Scored, list[list[Trained]]]:
        found = await self._all(arm)
        missing = {site: "it trained no network" for site in self.desk.sites if site not in found}
        each_site = [self.networks(learned, arm.model) for learned in found.values()]
        groups = [list(group) for group in zip(*each_site, strict=True)]
        flat = [network for group in groups for network in group]
        probabilities = await self.desk.trainer.test(arm, flat)
        probabilities = probabilities.reshape(len(groups), len(found), *probabilities.shape[1:]).mean(1)
        sizes = [network_sizes(self._request(arm, site, arm.scheme), each) for site, each in found.items()]
        up, down = (sum(size[i] for size in sizes) for i in (0, 1))
        seconds = sum(each.seconds for each in found.values()) / len(groups)
        shared = Shared(tuple(found), missing, release_bytes=up, up=up, down=down, seconds=seconds)
        # The sites chose each for itself: the steps are the mean, the recipe the first one's.
        first = next(iter(found.values()))
        steps = round(float(np.mean([each.recipe.steps_for(each.examples) for each in found.values()])))
        n = len(groups)
        return Scored(arm, [shared] * n, [first.recipe] * n, [steps] * n, probabilities, [seconds] * n), groups

    async def _all(self, arm: Arm) -> dict[str, LocalTrainReply]:
        """Every site's local networks.

        Raises:
            RunError: fewer sites answered than ``min_sites`` wants.
        """
        answers = await asyncio.gather(*[self.local(site, arm) for site in self.desk.sites])
        found = {s: a for s, a in zip(self.desk.sites, answers, strict=True) if isinstance(a, LocalTrainReply)}
        missing = {s: a for s, a in zip(self.desk.sites, answers, strict=True) if isinstance(a, str)}
        self.desk.require(len(found), len(self.desk.sites), f"{arm.scheme!r}", missing)
        return found

    async def _at(self, arm: Arm) -> tuple[LocalTrainReply, Shared]:
        """What one site learned alone, or joining others."""
        if scheme_named(arm.scheme).kind == "local":
            answer, shared = await self.local(arm.site, arm), Shared((arm.site,))
        else:
            request, shared = await self._joining(arm)
            answer = await self._asked(request)
        if isinstance(answer, str):
            raise NoNetwork(answer)
        return answer, shared

    async def _joining(self, arm: Arm) -> tuple[LocalTrainRequest, Shared]:
        settings = scheme_named(arm.scheme).read(self.desk.simulation.settings(arm.scheme))
        assert isinstance(settings, JoinSettings)
        pool, _ = await self.pooled.pool(arm.partition, settings.of, arm.ipc, arm.seed)
        releases = await self.pooled.releases(arm.partition, settings.of, arm.ipc, arm.seed)
        others = [release for site, release in releases.items() if site != arm.site]
        request = self._request(arm, arm.site, arm.scheme, tuple(others), settings.share)
        down = request_size(request)
        images = round(pool.images_shared * len(others) / max(1, len(releases)))
        return request, Shared(
            tuple(releases), dict(pool.missing), images, images / pool.classes, sum(map(len, others)), 0, down
        )

    def _request(
        self, arm: Arm, site: str, scheme: str, releases: tuple[bytes, ...] = (), share: float = 0.0
    ) -> LocalTrainRequest:
        simulation = self.desk.simulation
        named = Arm(arm.partition, scheme, arm.ipc if releases else None, arm.seed, arm.model, "common")
        seeds = tuple(
            spawn(simulation.seed, "network", arm.partition, arm.seed, arm.model, i) for i in range(simulation.networks)
        )
        pilots, private = min(simulation.recipe.pilots, simulation.networks), self._private(scheme)
        return LocalTrainRequest(
            name=f"{site} {named.name}",
            site=site,
            scheme=scheme,
            model=arm.model,
            width=simulation.width,
            partition=arm.partition,
            grid=grid(simulation, grows=True) if private is None else Grid(private.recipe(), (private.lr,)),
            pilots=pilots,
            seeds=seeds,
            releases=releases,
            share=share,
            private=private,
        )

    def _private(self, scheme: str) -> DPSGD | None:
        """What sites are told of a private scheme's training."""
        known = scheme_named(scheme)
        if not issubclass(known.settings, PrivateAloneSettings):
            return None
        settings = known.read(self.desk.simulation.settings(scheme))
        assert isinstance(settings, PrivateAloneSettings)
        return settings.private

    async def _asked(self, request: LocalTrainRequest) -> LocalTrainReply | str:
        async def ask() -> LocalTrainReply | str:
            answer = await self.desk.coordinator.alone(request, self.desk.trainer.network(request.model))
            if isinstance(answer, str):
                self.desk.failed(request.site, request.name, answer)
            return answer

        return await self.desk.once(("alone", request.name), ask)


class NoNetwork(Exception):
    """A site trained no network; the message says why."""
