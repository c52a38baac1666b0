"""``fedavg``, federated averaging: networks go back and forth between server and sites, round after round.

McMahan et al., AISTATS 2017 (arXiv 1602.05629). Server strategies are Flower's own; a subclass adds another by its
name, or varies what sites do: see `fedistill.schemes.fedadam`, `fedprox` and `dp_fedavg` beside it.

The step size is chosen separately for every number of rounds, among the pilots' histories, on the sites' validation
images: the best one after twenty rounds would be unfair to one round.
"""

import asyncio
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator

from fedistill.config import Share, Simulation
from fedistill.consent.items import Item
from fedistill.core.ranges import ONE_OR_MORE, detail
from fedistill.core.seeds import generator, rng, spawn
from fedistill.core.settings import Frozen
from fedistill.core.store import KeptCheckpoints, key_of
from fedistill.data import ImageSet
from fedistill.errors import SettingError
from fedistill.models import Params
from fedistill.privacy.accounting.guarantee import PrivacyGuarantee
from fedistill.privacy.attacks.shadows import VERSION
from fedistill.privacy.policy.disclosure import too_small, without
from fedistill.privacy.policy.floors import MethodSettings
from fedistill.privacy.policy.rules import PolicyRequest
from fedistill.schemes.base import Networks, StudyScheme
from fedistill.schemes.private import PrivateTraining, guarantee_of
from fedistill.schemes.rounds_shadow import RoundsShadow, Turns
from fedistill.schemes.server.condition import Condition, Result, network_seed
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.federated_eval import sum_tallies
from fedistill.schemes.server.questions import Question
from fedistill.schemes.server.round_history import RoundHistory, RunKey, curve_rows, resume, stack_rounds
from fedistill.schemes.server.shadows import (
    AuditData,
    AuditTarget,
    ShadowSpec,
    network_seeds,
    shadow_detail,
    task_arguments,
)
from fedistill.schemes.server.trainer import trained_by_sites
from fedistill.schemes.server.work import Forecast, TrainingWork
from fedistill.schemes.site.training import answer_round
from fedistill.training.dpsgd import DPSGD
from fedistill.training.dpsgd import VERSION as DPSGD_VERSION
from fedistill.training.fit import VERSION as FIT_VERSION
from fedistill.transport.protocol.round_messages import RoundReply, RoundRequest, RoundSettings
from fedistill.transport.server.rounds import ServerStrategy, train_round
from fedistill.transport.site.context import SiteContext

ROUNDS_VERSION = 1
"""Incremented when equal settings give other shadows; part of their key in the store."""


RoundNumbers = Annotated[tuple[Annotated[int, Field(ge=1, le=10_000)], ...], ONE_OR_MORE]


class MultiRoundSettings(Frozen):
    """Settings of every scheme with rounds.

    Args:
        rounds: numbers of rounds, each of which has a condition.
        fraction: of the sites that take part in a round, at least one site; drawn from the simulation's seed.
    """

    rounds: RoundNumbers = (1, 5, 20)
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0

    @field_validator("rounds")
    @classmethod
    def _in_order(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"needs at least one number of rounds and no duplicates, not {list(value)}")
        return tuple(sorted(value))


class FedAvgSettings(MultiRoundSettings):
    """Settings of federated averaging.

    Args:
        local_epochs: epochs of a site on its own images in a round.
    """

    local_epochs: Annotated[int, Field(ge=1)] = 1


class RoundsScheme(StudyScheme):
    """A scheme of federated averaging, with one of Flower's server strategies.

    Args:
        strategy: name of its class in `flwr.serverapp.strategy`.
    """

    request = RoundRequest
    trains_at_sites = True
    has_rounds = True
    weighs_sites = True
    attackable = True

    def __init__(
        self, name: str, summary: str, settings: type[MultiRoundSettings], *, strategy: str = "FedAvg"
    ) -> None:
        super().__init__(name, summary, settings)
        self.strategy_name = strategy

    # ------------------------------------------------------------------ what varies between strategies

    def strategy(self, settings: Any) -> ServerStrategy:
        """Return a new server strategy, in which every site that it is given takes part."""
        return ServerStrategy(self.strategy_name)

    def mu(self, settings: Any) -> float:
        """Return the weight of the proximal term in the sites' loss; 0 for none."""
        return 0.0

    def training(self, settings: Any) -> DPSGD | None:
        """Return the settings of DP-SGD for all rounds; None without privacy."""
        return None

    def local_steps(self, settings: Any, images: int, batch: int) -> int:
        """Return the number of SGD steps of a site in a round."""
        return settings.local_epochs * -(-images // batch)

    def local_work(self, simulation: Simulation) -> dict[str, Any]:
        """Return what a site does in a round, as fields of `RoundSettings`."""
        settings = self.settings_in(simulation)
        return {
            "local_epochs": settings.local_epochs,
            "augment": simulation.recipe.augment,
            "mu": self.mu(settings),
        }

    def round_request(self, simulation: Simulation, run_key: RunKey) -> RoundSettings:
        """Return the settings of every round, except its seed."""
        return RoundSettings(
            scheme=self.name,
            model=run_key.model,
            width=simulation.width,
            partition=run_key.partition,
            batch=simulation.recipe.batch,
            lr=run_key.lr,
            seed=0,
            **self.local_work(simulation),
        )

    def step_sizes(self, simulation: Simulation) -> tuple[float, ...]:
        """Return the candidate step sizes."""
        return simulation.recipe.lr

    # ------------------------------------------------------------------ settings, policy, guarantee

    def label(self, budget: str) -> str:
        """Return the scheme's label in a report."""
        return f"Federated training ({self.name}, {budget})"

    @property
    def private(self) -> bool:
        """True if sites train by DP-SGD."""
        return issubclass(self.settings, PrivateTraining)

    def rounds(self, values: Mapping[str, Any]) -> tuple[int | None, ...]:
        """Return the numbers of rounds, each of which has a condition."""
        numbers: tuple[int, ...] = self.read(values).rounds
        return numbers

    def settings_in(self, simulation: Simulation) -> Any:
        """Return the scheme's settings in a study."""
        return self.read(simulation.settings(self.name))

    def disclosure(
        self, settings: Sequence[Any], *, ipcs: Sequence[int | None], held_out: bool, costed: bool
    ) -> PolicyRequest:
        """Return what each site would send: networks."""
        training = self.training(settings[0])
        if training is None:
            return PolicyRequest(self.name, sends="networks")
        costs = (training.cost(training.steps),) if costed else ()
        return PolicyRequest(self.name, sends="networks", private=True, costs=costs)

    def guarantee(self, simulation: Simulation, ipc: int | None, rounds: int | None) -> PrivacyGuarantee | None:
        """Return the guarantee of a network after this number of rounds."""
        settings = self.read(simulation.settings(self.name))
        training = self.training(settings)
        if training is None:
            return None
        steps = training.steps if rounds is None else rounds * self.local_steps(settings, 1, 1)
        return guarantee_of(training, steps)

    # ------------------------------------------------------------------ the comparison

    async def run(self, condition: Condition, ctx: StudyContext) -> tuple[Result, Networks]:
        """Score the networks after the condition's number of rounds on the official test split."""
        rounds = condition.rounds or 0
        lr = await self.step_size(ctx, condition)
        run_keys = [self.run_key(condition, index, lr) for index in range(ctx.simulation.networks)]
        histories = await asyncio.gather(*[self.history(ctx, run_key) for run_key in run_keys])
        scores = await asyncio.gather(*[self._test(ctx, history) for history in histories])
        recipe = self.round_request(ctx.simulation, run_keys[0]).recipe
        largest = max((len(share.train) for share in ctx.holdings[condition.partition].shares), default=0)
        transfers = [history.transfer(rounds) for history in histories]
        result = Result(
            condition,
            transfers,
            [recipe] * len(histories),
            [rounds * recipe.steps_for(largest) if largest else 0] * len(histories),
            np.stack([probabilities[rounds - 1] for probabilities in scores]),
            [each.seconds for each in transfers],
        )
        return result, [
            [trained_by_sites(history.params[rounds - 1], each.seconds)]
            for history, each in zip(histories, transfers, strict=True)
        ]

    def run_key(self, condition: Condition, index: int, lr: float) -> RunKey:
        """Return the key of the condition's network with this index."""
        return RunKey(condition.partition, self.name, condition.model, condition.seed, index, lr)

    async def step_size(self, ctx: StudyContext, condition: Condition) -> float:
        """Return the step size chosen for the condition's number of rounds."""
        simulation, grid = ctx.simulation, self.step_sizes(ctx.simulation)
        if len(grid) == 1:
            return grid[0]
        pilots = range(min(simulation.recipe.pilots, simulation.networks))
        run_keys = [[self.run_key(condition, index, lr) for index in pilots] for lr in grid]
        tried = await asyncio.gather(
            *[asyncio.gather(*[self.history(ctx, run_key) for run_key in row]) for row in run_keys]
        )
        last = (condition.rounds or 0) - 1
        values = [float(np.mean([history.validation[last][0] for history in row])) for row in tried]
        known = {lr: value for lr, value in zip(grid, values, strict=True) if not np.isnan(value)}
        return max(known, key=lambda lr: known[lr]) if known else grid[len(grid) // 2]

    async def history(self, ctx: StudyContext, run_key: RunKey) -> RoundHistory:
        """Return the history of a network through all rounds, resumed from the rounds of an earlier run.

        Points of a sweep that share a history compute it once.
        """
        key = key_of({**self._detail(ctx, run_key), "rounds": self.settings_in(ctx.simulation).rounds[-1]})
        return await ctx.once_per_run(key, lambda: self._run_rounds(ctx, run_key))

    def draw_sites(self, simulation: Simulation, run_key: RunKey, number: int) -> list[str]:
        """Draw the sites of a round, in the federation's order; the same for every step size."""
        sites = simulation.federation.sites
        count = max(1, round(self.settings_in(simulation).fraction * len(sites)))
        named = run_key.partition, run_key.seed, run_key.network, number
        chance = rng(simulation.seed, "sites of a round", *named)
        return [sites[i] for i in sorted(chance.choice(len(sites), count, replace=False))]

    def run_keys(self, simulation: Simulation) -> Iterator[RunKey]:
        """Yield all networks that a study may take through rounds: every step size's pilots, and the chosen one's."""
        for seed in simulation.repeats(self.name):
            for model in simulation.models:
                for lr in self.step_sizes(simulation):
                    for index in range(simulation.networks):
                        yield RunKey(0, self.name, model, seed, index, lr)

    def items(self, simulation: Simulation, site: str) -> Iterator[Item]:
        """Yield the rounds that a site is drawn for, one item a network and round."""
        settings = self.settings_in(simulation)
        training = self.training(settings)
        for run_key in self.run_keys(simulation):
            asked = self.round_request(simulation, run_key)
            steps = None if training is None else self.local_steps(settings, 1, 1)
            sends = PolicyRequest(
                self.name,
                sends="networks",
                private=training is not None,
                costs=() if training is None or steps is None else (training.cost(steps),),
                settings=MethodSettings(model=run_key.model, width=simulation.width),
            )
            for number in range(1, settings.rounds[-1] + 1):
                if site not in self.draw_sites(simulation, run_key, number):
                    continue
                name = f"{site} {run_key.name} round {number}"
                own = replace(asked, seed=self.round_seed(simulation, run_key, number))
                start = self.start_seed(simulation, run_key) if number == 1 else None
                key = key_of({"round": detail(own), "number": number, "site": site})
                yield Item(
                    name,
                    "round",
                    self.name,
                    sends,
                    key,
                    partial(RoundRequest, name, own, start=start),
                    networks=1,
                )

    def choosing(self, simulation: Simulation) -> Iterator[Question]:
        """Yield a question for each pilot of each step size: its networks after the numbers of rounds to choose for."""
        for run_key in self.run_keys(simulation):
            if self._is_pilot(simulation, run_key):
                yield Question(_validation(run_key), run_key.model, len(self.settings_in(simulation).rounds))

    def _is_pilot(self, simulation: Simulation, run_key: RunKey) -> bool:
        """Return whether a step size is chosen by this network, among several."""
        pilots = min(simulation.recipe.pilots, simulation.networks)
        return len(self.step_sizes(simulation)) > 1 and run_key.network < pilots

    def round_seed(self, simulation: Simulation, run_key: RunKey, number: int) -> int:
        """Return the seed of a round."""
        named = (run_key.partition, run_key.seed, run_key.model, run_key.network)
        return spawn(simulation.seed, self.name, *named, "round", number)

    def start_seed(self, simulation: Simulation, run_key: RunKey) -> int:
        """Return the seed of the weights that the first round starts from."""
        condition = Condition(run_key.partition, self.name, None, run_key.seed, run_key.model, "common")
        return network_seed(simulation, condition, run_key.network)

    async def _run_rounds(self, ctx: StudyContext, run_key: RunKey) -> RoundHistory:
        simulation, settings = ctx.simulation, self.settings_in(ctx.simulation)
        network, request = ctx.trainer.network(run_key.model), self.round_request(ctx.simulation, run_key)
        checkpoint = KeptCheckpoints(ctx.store)(self._detail(ctx, run_key))
        strategy = self.strategy(settings)
        params, notes = resume(checkpoint.load(), network.names, strategy)
        start = generator(self.start_seed(simulation, run_key), "init")
        now = params[-1] if params else network.init(start)
        for number in range(len(params) + 1, settings.rounds[-1] + 1):
            drawn = self.draw_sites(ctx.simulation, run_key, number)
            seed = self.round_seed(simulation, run_key, number)
            result = await train_round(
                ctx.coordinator,
                strategy,
                number,
                network,
                now,
                replace(request, seed=seed),
                sites=drawn,
                name=run_key.name,
            )
            for site, why in result.missing.items():
                ctx.report_failure(site, f"{site} {run_key.name} round {number}", why)
            ctx.require_sites(len(result.sites), len(drawn), f"{run_key.name}, round {number}", dict(result.missing))
            assert result.params is not None
            now = result.params
            params.append(now)
            notes.append({"sites": result.sites, "up": result.up, "down": result.down, "seconds": result.seconds})
            tensors = dict(zip(network.names, stack_rounds(params), strict=True))
            checkpoint.save({**tensors, **strategy.state()}, {"rounds": notes})
        return RoundHistory(run_key, params, notes, await self._validate(ctx, run_key, params))

    def _detail(self, ctx: StudyContext, run_key: RunKey) -> Mapping[str, Any]:
        """Return everything that determines a network's rounds."""
        simulation, holdings, settings = (
            ctx.simulation,
            ctx.holdings[run_key.partition],
            self.settings_in(ctx.simulation),
        )
        sites = (
            [
                [
                    name,
                    share.train.fingerprint(),
                    simulation.federation.of(name).threads,
                    simulation.federation.of(name).gpus,
                ]
                for name, share in zip(ctx.sites, holdings.shares, strict=True)
            ]
            if holdings.shares
            else [[name, ctx.coordinator.study] for name in ctx.sites]
        )
        return {
            "kind": "federated",
            "sites": sites,
            "asked": detail(self.round_request(ctx.simulation, run_key)),
            "course": asdict(run_key),
            "seed": simulation.seed,
            "fraction": settings.fraction,
            "version": FIT_VERSION,
            **self.strategy(settings).detail(),
        }

    async def _validate(self, ctx: StudyContext, run_key: RunKey, params: list[Params]) -> list[tuple[float, float]]:
        """Return AUC and balanced accuracy on the sites' validation images after each round; NaN where none is known.

        A private scheme asks for none. Hospitals are asked only where the study has a budget for scores, about the
        networks that a step size is chosen by; they tell an AUC alone.
        """
        values = [(math.nan, math.nan)] * len(params)
        scored = [] if self.private else list(range(len(params)))
        if scored and not ctx.holdings[run_key.partition].shares:
            asked = ctx.simulation.scores_epsilon is not None and self._is_pilot(ctx.simulation, run_key)
            scored = [number - 1 for number in self.settings_in(ctx.simulation).rounds] if asked else []
        if scored:
            names = ctx.trainer.network(run_key.model).names
            stacked = dict(zip(names, stack_rounds([params[i] for i in scored]), strict=True))
            name, model, partition = _validation(run_key), run_key.model, run_key.partition
            totals = await sum_tallies(ctx, ctx.sites, name, stacked, model=model, partition=partition)
            for i, total in zip(scored, totals, strict=True):
                values[i] = (total.auc, total.balanced_accuracy)
        return values

    async def _test(self, ctx: StudyContext, history: RoundHistory) -> np.ndarray:
        """Return test probabilities after each round, float32 (rounds, N, K), and record the curve."""
        run_key = history.run_key

        async def tested() -> np.ndarray:
            networks = [trained_by_sites(params, 0.0) for params in history.params]
            named = run_key.partition, self.name, None, run_key.seed, run_key.model, "common", len(networks)
            probabilities = await ctx.trainer.test(Condition(*named), networks)
            ctx.curves.extend(curve_rows(ctx, history, probabilities))
            return probabilities

        return await ctx.once(("tested", run_key), tested)

    # ------------------------------------------------------------------ at a site

    def answer(self, request: RoundRequest, site: SiteContext) -> RoundReply:
        """Train the round's global network on the site's own images."""
        return answer_round(request, site)

    # ------------------------------------------------------------------ forecast

    def work(self, condition: Condition, forecast: Forecast) -> Iterator[tuple[Hashable, TrainingWork]]:
        """Yield the local training of all networks in all rounds, by site, and their scoring."""
        simulation = forecast.simulation
        settings = self.read(simulation.settings(self.name))
        training = self.training(settings)
        lrs = len(simulation.recipe.lr) if training is None else 1
        pilots = min(simulation.recipe.pilots, simulation.networks)
        runs = simulation.networks + (lrs - 1) * pilots
        rounds = max(settings.rounds)
        evaluated = 0 if training else runs * rounds  # a private scheme makes no choice on validation images
        key = (self.name, condition.seed, condition.model)
        for site, share in zip(simulation.federation.sites, forecast.holdings.shares, strict=True):
            n = len(share.train)
            visits = runs * rounds * settings.fraction
            steps = visits * self.local_steps(settings, n, min(simulation.recipe.batch, max(1, n)))
            yield (
                (*key, site),
                TrainingWork(
                    condition.model,
                    max(1, n),
                    steps,
                    round(visits),
                    0.0,
                    visits,
                    at_sites=True,
                    private=training,
                ),
            )
        scored = rounds * simulation.networks * forecast.test + evaluated * forecast.validated
        yield (*key, "scored"), TrainingWork(condition.model, 1, 0.0, runs, scored)

    # ------------------------------------------------------------------ audit

    def check_audit(self, target: AuditTarget, site: str, ctx: StudyContext) -> None:
        """Raise SettingError if the site takes part in no round, and so sends nothing."""
        if not any(site in sites for drawn in self._turns(target, site, ctx).drawn for sites in drawn):
            raise SettingError(
                f"There is nothing to attack: {site!r} takes part in none of the rounds of {target.name!r}.",
                expected="a site that takes part in at least one round",
                found=f"fraction = {ctx.simulation.settings(self.name).get('fraction')}",
                mend=f"attack another site (audit.site), raise fraction or rounds of [scheme.{self.name}], or remove "
                "the scheme from audit.schemes",
            )

    async def shadow(self, target: AuditTarget, site: str, data: AuditData, ctx: StudyContext) -> ShadowSpec:
        """Return the specification of shadows that go through all rounds, at the step size of the target's condition.

        The audit attacks the condition with the largest number of rounds, which spends the whole epsilon.
        """
        simulation, settings = ctx.simulation, self.settings_in(ctx.simulation)
        condition = self._condition(target, ctx)
        request = self.round_request(ctx.simulation, self.run_key(condition, 0, await self.step_size(ctx, condition)))
        turns = replace(self._turns(target, site, ctx), mu=request.mu)
        seeds = network_seeds(simulation)[: len(turns.drawn)]
        network, training = ctx.trainer.network(simulation.models[0]), self.training(settings)
        shares = dict(zip(ctx.sites, ctx.holdings[0].shares, strict=True))
        others = {
            name: share.train if training else _without_small(ctx, name, share)
            for name, share in shares.items()
            if name != site
        }
        beside = [[name, images.fingerprint()] for name, images in others.items()]
        about = {
            **shadow_detail(simulation, data, method=None, network=network, recipe=request.recipe, seeds=seeds),
            "turns": asdict(turns),
            "others": beside,
            "private": None if training is None else asdict(training),
            "version": [ROUNDS_VERSION, DPSGD_VERSION if training else 0, FIT_VERSION, VERSION],
            **self.strategy(settings).detail(),
        }
        maker = RoundsShadow(network, request, seeds, turns, self.strategy(settings))
        return ShadowSpec(
            maker, settings, others, key_of({"sites beside": beside}), about, task_arguments(simulation, None)
        )

    def shadow_work(self, target: AuditTarget, site: str, scored: int, forecast: Forecast) -> Iterator[TrainingWork]:
        """Yield the training of one shadow's rounds, with half of the attacked site's images."""
        simulation, audit = forecast.simulation, forecast.simulation.audit
        assert audit is not None
        settings = self.read(simulation.settings(self.name))
        training = self.training(settings)
        networks = 1 if training else audit.networks
        for name, share in zip(simulation.federation.sites, forecast.holdings.shares, strict=True):
            n = max(1, (len(share.train) + 1) // 2 if name == site else len(share.train))
            each = self.local_steps(settings, n, min(simulation.recipe.batch, n))
            visits = networks * (target.rounds or 1) * settings.fraction
            yield TrainingWork(
                simulation.models[0], n, visits * each, 1, visits * scored * (name == site), private=training
            )

    def _condition(self, target: AuditTarget, ctx: StudyContext) -> Condition:
        return Condition(0, self.name, None, 0, ctx.simulation.models[0], "common", rounds=target.rounds)

    def _turns(self, target: AuditTarget, site: str, ctx: StudyContext) -> "Turns":
        """Return who takes part in each round of each network; private training has one network."""
        simulation, condition = ctx.simulation, self._condition(target, ctx)
        assert simulation.audit is not None and target.rounds is not None
        networks = 1 if self.private else simulation.audit.networks
        run_keys = [self.run_key(condition, index, lr=0.0) for index in range(networks)]  # draws do not depend on lr
        numbers = range(1, target.rounds + 1)
        drawn = tuple(
            tuple(tuple(self.draw_sites(ctx.simulation, run_key, n)) for n in numbers) for run_key in run_keys
        )
        return Turns(site, drawn, {name: simulation.federation.policy_of(name).share_counts for name in ctx.sites})


def _without_small(ctx: StudyContext, site: str, share: Share) -> ImageSet:
    """Return a site's training images without the classes that are too small by its policy."""
    least = ctx.simulation.federation.policy_of(site).min_class_size
    return without(share.train, too_small(share.train, least))


def _validation(run_key: RunKey) -> str:
    """Return the name of the question to sites how a network does after its rounds."""
    return f"validation {run_key.name}"


FEDAVG = RoundsScheme("fedavg", "weights averaged every round (arXiv 1602.05629)", FedAvgSettings)
