"""Sites train networks of their own.

``local`` shares nothing. ``ensemble`` sends the same networks once, and the server averages their predictions (one-shot
federated learning, Guha et al., arXiv 1902.11175). ``dpsgd-local`` and ``dpsgd-ensemble`` do so by DP-SGD (Abadi et
al., CCS 2016, arXiv 1607.00133).

A site chooses its recipe from the common grid on its own validation images. A private site takes it from its settings,
because the validation images are patients' too. The server receives the networks of ``local`` only to score them on the
official test split, which a real site would not see: they do not count as shared.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from fedistill.config import Simulation
from fedistill.consent.items import Item, whatever_comes
from fedistill.core.settings import Frozen
from fedistill.core.store import key_of
from fedistill.privacy.accounting.guarantee import PrivacyGuarantee
from fedistill.privacy.attacks.shadows import VERSION
from fedistill.privacy.policy.floors import MethodSettings
from fedistill.privacy.policy.rules import PolicyRequest
from fedistill.schemes.base import Networks, NoNetwork, StudyScheme
from fedistill.schemes.local_shadow import LocalShadow
from fedistill.schemes.private import PrivateTraining, guarantee_of
from fedistill.schemes.server.choice import grid
from fedistill.schemes.server.condition import Condition, Result, Transfer, network_seed
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.shadows import (
    AuditData,
    AuditTarget,
    ShadowSpec,
    cap_steps,
    network_seeds,
    shadow_detail,
    task_arguments,
)
from fedistill.schemes.server.trainer import Trained, trained_by_sites
from fedistill.schemes.server.work import Forecast, TrainingWork, expected_steps
from fedistill.schemes.site.training import answer_local_training
from fedistill.training.dpsgd import DPSGD
from fedistill.training.dpsgd import VERSION as DPSGD_VERSION
from fedistill.training.fit import VERSION as FIT_VERSION
from fedistill.training.search import Grid
from fedistill.transport.protocol.release_sizes import network_sizes
from fedistill.transport.protocol.training_messages import LocalTrainReply, LocalTrainRequest
from fedistill.transport.site.context import SiteContext


class PrivateLocalSettings(PrivateTraining):
    """Settings of local training under differential privacy.

    Args:
        steps: of DP-SGD.
    """

    # PneumoniaMNIST, 941 images, width 32, validation AUC (balanced accuracy) of one network at epsilon 10: 97.9
    # (91.9); lr 2: 98.0 (92.8); momentum 0.9, lr 0.1: 97.8 (91.3). At epsilon 1: 96.0 (76.2); lr 2: 93.0 (66.9).
    steps: Annotated[int, Field(ge=1, le=100_000)] = 40

    @property
    def private(self) -> DPSGD:
        """The settings of DP-SGD."""
        return self.of_steps(self.steps)


class SiteNetworks(StudyScheme):
    """The common part of schemes whose sites train networks to the end."""

    request = LocalTrainRequest
    trains_at_sites = True

    def request_for(self, ctx: StudyContext, condition: Condition, site: str, **more: Any) -> LocalTrainRequest:
        """Return the request to train a condition's networks at a site; see `request_in`."""
        return self.request_in(ctx.simulation, condition, site, **more)

    def request_in(
        self,
        simulation: Simulation,
        condition: Condition,
        site: str,
        *,
        scheme: str,
        releases: tuple[bytes, ...] = (),
        share: float = 0.0,
        private: DPSGD | None = None,
    ) -> LocalTrainRequest:
        """Return the request to train a condition's networks at a site.

        The requests of schemes with equal networks name the same ``scheme``. ``releases``, of other sites, make up
        ``share`` of the training images; ``private`` are the settings of DP-SGD.
        """
        budget = condition.ipc if scheme == self.name and self.has_budget else None
        named = Condition(condition.partition, scheme, budget, condition.seed, condition.model, "common")
        return LocalTrainRequest(
            name=f"{site} {named.name}",
            site=site,
            scheme=scheme,
            model=condition.model,
            width=simulation.width,
            partition=condition.partition,
            grid=grid(simulation, grows=True) if private is None else Grid(private.recipe(), (private.lr,)),
            pilots=min(simulation.recipe.pilots, simulation.networks),
            seeds=tuple(network_seed(simulation, condition, i) for i in range(simulation.networks)),
            releases=releases,
            share=share,
            private=private,
        )

    async def trained(self, ctx: StudyContext, request: LocalTrainRequest) -> LocalTrainReply | str:
        """Return a site's networks, or, after reporting it, a one-line reason why there are none."""

        async def requested() -> LocalTrainReply | str:
            reply = await ctx.coordinator.train_locally(request, ctx.trainer.network(request.model))
            if isinstance(reply, str):
                ctx.report_failure(request.site, request.name, reply)
            return reply

        return await ctx.once(("alone", request.name), requested)

    async def result(
        self, ctx: StudyContext, condition: Condition, reply: LocalTrainReply | str, transfer: Transfer
    ) -> tuple[Result, Networks]:
        """Return the result of one site's networks on the official test split, and the networks.

        Raises:
            NoNetwork: the site trained none.
        """
        if isinstance(reply, str):
            raise NoNetwork(reply)
        networks = unstack_networks(ctx, reply, condition.model)
        probabilities = await ctx.trainer.test(condition, networks)
        n, steps = len(networks), reply.recipe.steps_for(reply.examples)
        result = Result(
            condition, [transfer] * n, [reply.recipe] * n, [steps] * n, probabilities, [reply.seconds / n] * n
        )
        return result, [[network] for network in networks]

    def answer(self, request: LocalTrainRequest, site: SiteContext) -> LocalTrainReply:
        """Train networks on the site's own images and the Releases in the request."""
        return answer_local_training(request, site)


class LocalScheme(SiteNetworks):
    """A scheme of local training.

    Args:
        ensemble: whether sites send their networks, whose predictions the server averages.
        settings: `PrivateLocalSettings` if sites train by DP-SGD.
    """

    attackable = True

    def __init__(self, name: str, summary: str, settings: type[Frozen] | None = None, *, ensemble: bool) -> None:
        super().__init__(name, summary, *([] if settings is None else [settings]))
        self.ensemble = ensemble

    @property
    def private(self) -> bool:
        """True if sites train by DP-SGD."""
        return issubclass(self.settings, PrivateTraining)

    @property
    def of_each_site(self) -> bool:  # type: ignore[override]
        """True if every site has networks of its own, which an ensemble's do not."""
        return not self.ensemble

    def label(self, budget: str) -> str:
        """Return the scheme's label in a report."""
        if self.ensemble:
            return "Local networks sent once, predictions averaged"
        return "Each site alone, sharing nothing"

    def training(self, values: Mapping[str, Any]) -> DPSGD | None:
        """Return the settings of DP-SGD; None without privacy."""
        settings = self.read(values)
        return settings.private if isinstance(settings, PrivateLocalSettings) else None

    def disclosure(
        self, settings: Sequence[Any], *, ipcs: Sequence[int | None], held_out: bool, costed: bool
    ) -> PolicyRequest:
        """Return what each site would send: networks."""
        if not self.private:
            return PolicyRequest(self.name, sends="networks")
        training: DPSGD = settings[0].private
        return PolicyRequest(
            self.name, sends="networks", private=True, costs=(training.cost(training.steps),) if costed else ()
        )

    def guarantee(self, simulation: Simulation, ipc: int | None, rounds: int | None) -> PrivacyGuarantee | None:
        """Return the guarantee of one network."""
        training = self.training(simulation.settings(self.name))
        return None if training is None else guarantee_of(training, training.steps)

    def conditions(self, simulation: Simulation, condition: Condition) -> Iterator[Condition]:
        """Yield a condition for each site; for an ensemble, a single one."""
        if condition.recipe != "common":
            return
        if self.ensemble:
            yield condition
        else:
            yield from (replace(condition, site=site) for site in simulation.federation.sites)

    async def run(self, condition: Condition, ctx: StudyContext) -> tuple[Result, Networks]:
        """Score one site's networks, or the ensemble of all sites', on the official test split."""
        if not self.ensemble:
            reply = await self.at(ctx, condition.site, condition)
            return await self.result(ctx, condition, reply, Transfer((condition.site,)))
        replies = await asyncio.gather(*[self.at(ctx, site, condition) for site in ctx.sites])
        by_site = dict(zip(ctx.sites, replies, strict=True))
        trained = {site: reply for site, reply in by_site.items() if isinstance(reply, LocalTrainReply)}
        why = {site: reply for site, reply in by_site.items() if isinstance(reply, str)}
        ctx.require_sites(len(trained), len(ctx.sites), repr(self.name), why)
        missing = dict.fromkeys(why, "it trained no network")
        networks = [unstack_networks(ctx, reply, condition.model) for reply in trained.values()]
        groups = [list(group) for group in zip(*networks, strict=True)]
        probabilities = await ctx.trainer.test(condition, [network for group in groups for network in group])
        probabilities = probabilities.reshape(len(groups), len(trained), *probabilities.shape[1:]).mean(1)
        sizes = [
            network_sizes(self.request_at(ctx.simulation, site, condition, scheme=self.name), reply)
            for site, reply in trained.items()
        ]
        up, down = (sum(size[i] for size in sizes) for i in (0, 1))
        seconds = sum(reply.seconds for reply in trained.values()) / len(groups)
        transfer = Transfer(tuple(trained), missing, release_bytes=up, up=up, down=down, seconds=seconds)
        # Each site chose its own recipe: report the mean of the steps and the first site's recipe.
        first = next(iter(trained.values()))
        steps = round(float(np.mean([reply.recipe.steps_for(reply.examples) for reply in trained.values()])))
        n = len(groups)
        result = Result(condition, [transfer] * n, [first.recipe] * n, [steps] * n, probabilities, [seconds] * n)
        return result, groups

    def most_members(self, simulation: Simulation) -> int:
        """Return how many networks give one prediction together: an ensemble's, one of each site."""
        return len(simulation.federation.sites) if self.ensemble else 1

    def request_at(self, simulation: Simulation, site: str, condition: Condition, *, scheme: str) -> LocalTrainRequest:
        """Return the request to train on a site's own images only."""
        private = self.training(simulation.settings(self.name))
        return self.request_in(simulation, condition, site, scheme=scheme, private=private)

    @property
    def networks_of(self) -> str:
        """Name of the scheme whose networks these are.

        ``ensemble`` and ``local`` have the same networks; the private schemes each have their own settings.
        """
        return self.name if self.private else LOCAL.name

    async def at(self, ctx: StudyContext, site: str, condition: Condition) -> LocalTrainReply | str:
        """Return the networks that a site trained on its own images only; or a one-line reason why there are none."""
        return await self.trained(ctx, self.request_at(ctx.simulation, site, condition, scheme=self.networks_of))

    def items(self, simulation: Simulation, site: str) -> Iterator[Item]:
        """Yield the networks that a site trains on its own images, one item a repeat and model."""
        private = self.training(simulation.settings(self.name))
        for condition in own_conditions(simulation, self.name):
            request = self.request_at(simulation, site, condition, scheme=self.networks_of)
            costs = () if private is None else (private.cost(private.steps),) * simulation.networks
            yield networks_item(self.name, request, whatever_comes(request), costs=costs)

    def work(self, condition: Condition, forecast: Forecast) -> Iterator[tuple[Hashable, TrainingWork]]:
        """Yield the training at each site, which ``ensemble`` and ``local`` share."""
        private = self.training(forecast.simulation.settings(self.name))
        for site in [condition.site] if condition.site else forecast.simulation.federation.sites:
            key = (self.name.replace("ensemble", "local"), site, condition.seed, condition.ipc, condition.model)
            yield key, training_at(condition, site, private, forecast)

    async def shadow(self, target: AuditTarget, site: str, data: AuditData, ctx: StudyContext) -> ShadowSpec | None:
        """Return the specification of shadows that train on their images by the recipe that the site chose."""
        simulation = ctx.simulation
        condition = Condition(0, self.name, None, 0, simulation.models[0], "common", site=site)
        reply = await self.at(ctx, site, condition)
        if isinstance(reply, str):
            return None
        settings = self.read(simulation.settings(self.name))
        private, seeds = self.training(simulation.settings(self.name)), network_seeds(simulation)
        if private is None:
            recipe = cap_steps(simulation, reply.recipe)
        else:
            # The epsilon is for all of these steps, and for one network.
            recipe, seeds = reply.recipe, seeds[:1]
        network = ctx.trainer.network(simulation.models[0])
        maker = LocalShadow(network, recipe, seeds, data.attacked.images.mirror, private)
        about = {
            **shadow_detail(simulation, data, method=None, network=network, recipe=recipe, seeds=seeds),
            "private": None if private is None else asdict(private),
            "version": [DPSGD_VERSION if private else 0, FIT_VERSION, VERSION],
        }
        return ShadowSpec(maker, settings, None, key_of(about), about, task_arguments(simulation, None))

    def shadow_work(self, target: AuditTarget, site: str, scored: int, forecast: Forecast) -> Iterator[TrainingWork]:
        """Yield the training of one shadow's networks on half of the site's images."""
        simulation, audit = forecast.simulation, forecast.simulation.audit
        assert audit is not None
        half = (len(forecast.share(site).train) + 1) // 2
        private, model = self.training(simulation.settings(self.name)), simulation.models[0]
        if private is not None:
            yield TrainingWork(model, half, private.steps, 1, scored, private=private)
            return
        steps = expected_steps(simulation, grows=True, chooses=False)[0] / simulation.networks
        steps = steps if audit.steps is None else min(steps, audit.steps)
        yield TrainingWork(model, max(1, half), audit.networks * steps, 1, audit.networks * scored)


def own_conditions(simulation: Simulation, scheme: str) -> Iterator[Condition]:
    """Yield the conditions that a site's own networks are trained for."""
    for seed in simulation.repeats(scheme):
        for ipc in simulation.budgets(scheme):
            for model in simulation.models:
                yield Condition(0, scheme, ipc, seed, model, "common")


def networks_item(
    scheme: str, request: LocalTrainRequest, build: Callable[[Any], LocalTrainRequest], *, costs: tuple[Any, ...] = ()
) -> Item:
    """Return the item of networks that a site trains to their end."""
    shape = MethodSettings(model=request.model, width=request.width)
    private = request.private is not None
    sends = PolicyRequest(scheme, sends="networks", private=private, costs=costs, settings=shape)
    key = key_of(asdict(replace(request, releases=())))
    return Item(request.name, "networks", scheme, sends, key, build, networks=len(request.seeds))


def unstack_networks(ctx: StudyContext, reply: LocalTrainReply, model: str) -> list[Trained]:
    """Return the networks of a reply as a list."""
    names = ctx.trainer.network(model).names
    count = len(reply.params[names[0]])
    seconds = reply.seconds / count
    return [trained_by_sites(tuple(reply.params[name][i] for name in names), seconds) for i in range(count)]


def training_at(condition: Condition, site: str, private: DPSGD | None, forecast: Forecast) -> TrainingWork:
    """Return the training of a condition's networks at one site."""
    share, networks = forecast.share(site), forecast.simulation.networks
    if private:
        steps, evaluated = float(networks * private.steps), 0.0
    else:
        steps, evaluated = expected_steps(forecast.simulation, grows=True, chooses=True)
    scored, images = evaluated * len(share.val) + networks * forecast.test, max(1, len(share.train))
    return TrainingWork(condition.model, images, steps, 1, scored, networks / 2, at_sites=True, private=private)


LOCAL = LocalScheme("local", "nothing: each site trains alone", ensemble=False)
ENSEMBLE = LocalScheme("ensemble", "local networks, sent once, their predictions averaged", ensemble=True)
DPSGD_LOCAL = LocalScheme(
    "dpsgd-local",
    "nothing: each site trains alone, differentially private",
    PrivateLocalSettings,
    ensemble=False,
)
DPSGD_ENSEMBLE = LocalScheme(
    "dpsgd-ensemble",
    "private local networks, sent once, their predictions averaged",
    PrivateLocalSettings,
    ensemble=True,
)
