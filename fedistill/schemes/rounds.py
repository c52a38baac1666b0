"""Federated averaging: networks go back and forth between server and sites, round after round.

The schemes are ``fedavg`` (McMahan et al., AISTATS 2017, arXiv 1602.05629), ``fedprox`` (Li et al., MLSys 2020, arXiv
1812.06127), and ``dp-fedavg``, whose local steps are differentially private. Server strategies are Flower's own; a
subclass adds another by its name: see `fedistill.schemes.fedadam`.

The step size is chosen separately for every number of rounds, among the pilots' histories, on the sites' validation
images: the best one after twenty rounds would be unfair to one round. A private scheme takes its step size from its
settings: validation images are patients' too, and its bound does not cover them.
"""

import asyncio
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field, field_validator
from torch import Tensor

from fedistill.config import Share, Simulation
from fedistill.config.base import Frozen
from fedistill.consent.items import Item
from fedistill.core.events import Event
from fedistill.core.seeds import generator, rng, spawn
from fedistill.core.store import KeptCheckpoints, key_of
from fedistill.data import ImageSet
from fedistill.errors import SettingError
from fedistill.methods import Task
from fedistill.models import Network, Params
from fedistill.privacy.accounting.guarantee import PrivacyGuarantee
from fedistill.privacy.attacks.shadows import VERSION
from fedistill.privacy.policy.disclosure import disclosed_count, too_small, without
from fedistill.privacy.policy.floors import MethodSettings
from fedistill.privacy.policy.rules import PolicyRequest
from fedistill.schemes.base import Networks, StudyScheme
from fedistill.schemes.local import PrivateTraining, guarantee_of
from fedistill.schemes.server.condition import Condition, Result, Transfer, network_seed
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.federated_eval import sum_tallies
from fedistill.schemes.server.questions import Question
from fedistill.schemes.server.shadows import (
    AuditData,
    AuditTarget,
    Sent,
    ShadowSpec,
    network_seeds,
    shadow_detail,
    task_arguments,
)
from fedistill.schemes.server.trainer import trained_by_sites
from fedistill.schemes.server.work import Forecast, Training
from fedistill.schemes.site.training import RoundReply, answer_round, train_locally
from fedistill.training.dpsgd import DPSGD, begin
from fedistill.training.dpsgd import VERSION as DPSGD_VERSION
from fedistill.training.fit import VERSION as FIT_VERSION
from fedistill.transport.protocol.training_messages import RoundRequest, RoundSettings
from fedistill.transport.server.rounds import ServerStrategy, train_round
from fedistill.transport.site.context import SiteContext

ROUNDS_VERSION = 1
"""Incremented when equal settings give other shadows; part of their key in the store."""


class MultiRoundSettings(Frozen):
    """Settings of every scheme with rounds.

    Args:
        rounds: numbers of rounds, each of which has a condition.
        fraction: of the sites that take part in a round, at least one site; drawn from the simulation's seed.
    """

    rounds: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = (1, 5, 20)
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0

    @field_validator("rounds", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int) else value

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


class FedProxSettings(FedAvgSettings):
    """Settings of federated averaging with a proximal term.

    Args:
        mu: weight of half the squared distance to the round's global weights in a site's loss.
    """

    mu: Annotated[float, Field(gt=0)] = 0.1


class DPFedAvgSettings(PrivateTraining, MultiRoundSettings):
    """Settings of federated averaging whose local steps are differentially private.

    Args:
        rounds: the largest number spends the whole budget, fewer rounds spend less.
        local_steps: of DP-SGD at a site in a round.
    """

    # Four such sites, epsilon 10: 98.0 (92.7). Epsilon 1: 96.8 (78.5); lr 0.5: 97.1 (64.7).
    rounds: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = (10,)
    local_steps: Annotated[int, Field(ge=1, le=10_000)] = 3
    lr: Annotated[float, Field(gt=0)] = 1.0

    @property
    def private(self) -> DPSGD:
        """The settings of DP-SGD for all rounds."""
        return self.of_steps(self.rounds[-1] * self.local_steps)


@dataclass(frozen=True)
class RunKey:
    """The identity of one network's rounds within a run."""

    partition: int
    scheme: str
    model: str
    seed: int
    network: int
    lr: float

    @property
    def name(self) -> str:
        """Label for people, and the network's name in events."""
        redraw = f" partition {self.partition}" if self.partition else ""
        return f"{self.scheme} {self.model}{redraw} lr {self.lr:g} network {self.network + 1}"


@dataclass(frozen=True, eq=False)
class RoundHistory:
    """A network after each round.

    Args:
        params: after each round.
        notes: for each round its ``sites``, bytes ``up`` and ``down``, and the sites' ``seconds``.
        validation: AUC and balanced accuracy on the sites' validation images after each round; NaN if there are none.
    """

    run_key: RunKey
    params: list[Params]
    notes: list[dict[str, Any]]
    validation: list[tuple[float, float]] = field(default_factory=list)

    def transfer(self, rounds: int) -> Transfer:
        """Return the data that crossed the sites' boundaries in the first ``rounds`` rounds."""
        past = self.notes[:rounds]
        up, down = sum(n["up"] for n in past), sum(n["down"] for n in past)
        seconds = sum(n["seconds"] for n in past)
        took_part = tuple(dict.fromkeys(site for n in past for site in n["sites"]))
        return Transfer(took_part, release_bytes=up, up=up, down=down, seconds=seconds)


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

    def round_request(self, simulation: Simulation, run_key: RunKey) -> RoundSettings:
        """Return the settings of every round, except its seed."""
        settings = self.settings_in(simulation)
        return RoundSettings(
            scheme=self.name,
            model=run_key.model,
            width=simulation.width,
            partition=run_key.partition,
            local_epochs=settings.local_epochs,
            batch=simulation.recipe.batch,
            lr=run_key.lr,
            augment=simulation.recipe.augment,
            seed=0,
            mu=self.mu(settings),
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
                key = key_of({"round": own.detail(), "number": number, "site": site})
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
        params, notes = _resume(checkpoint.load(), network.names, strategy)
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
            tensors = dict(zip(network.names, _stack(params), strict=True))
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
            "asked": self.round_request(ctx.simulation, run_key).detail(),
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
            stacked = dict(zip(names, _stack([params[i] for i in scored]), strict=True))
            name = _validation(run_key)
            totals = await sum_tallies(ctx, ctx.sites, name, stacked, model=run_key.model, partition=run_key.partition)
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
            ctx.curves.extend(_curve_rows(ctx, history, probabilities))
            return probabilities

        return await ctx.once(("tested", run_key), tested)

    # ------------------------------------------------------------------ at a site

    def answer(self, request: RoundRequest, site: SiteContext) -> RoundReply:
        """Train the round's global network on the site's own images."""
        return answer_round(request, site)

    # ------------------------------------------------------------------ forecast

    def work(self, condition: Condition, forecast: Forecast) -> Iterator[tuple[Hashable, Training]]:
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
                Training(
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
        yield (*key, "scored"), Training(condition.model, 1, 0.0, runs, scored)

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

    def shadow_work(self, target: AuditTarget, site: str, scored: int, forecast: Forecast) -> Iterator[Training]:
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
            yield Training(
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


class FedProxScheme(RoundsScheme):
    """Federated averaging with a proximal term in the sites' loss."""

    def strategy(self, settings: Any) -> ServerStrategy:
        """Return Flower's FedProx, which sends the proximal weight with every round."""
        return ServerStrategy("FedProx", {"proximal_mu": self.mu(settings)}, named=False)

    def mu(self, settings: Any) -> float:
        """Return the weight of the proximal term."""
        return settings.mu


class PrivateRoundsScheme(RoundsScheme):
    """Federated averaging whose local steps are differentially private."""

    def training(self, settings: Any) -> DPSGD:
        """Return the settings of DP-SGD for all rounds."""
        return settings.private

    def local_steps(self, settings: Any, images: int, batch: int) -> int:
        """Return the number of DP-SGD steps of a site in a round."""
        return settings.local_steps

    def round_request(self, simulation: Simulation, run_key: RunKey) -> RoundSettings:
        """Return the settings of every round, except its seed."""
        settings = self.settings_in(simulation)
        return RoundSettings(
            scheme=self.name,
            model=run_key.model,
            width=simulation.width,
            partition=run_key.partition,
            local_epochs=0,
            batch=simulation.recipe.batch,
            lr=run_key.lr,
            augment=False,
            seed=0,
            private=settings.private,
            steps=settings.local_steps,
        )

    def step_sizes(self, simulation: Simulation) -> tuple[float, ...]:
        """Return the only candidate, that of the settings."""
        return (self.settings_in(simulation).lr,)


def curve_table(curves: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rounds.csv, a row for each network and round, sorted."""
    keys = ["partition", "scheme", "model", "seed", "network", "lr", "round"]
    return pd.DataFrame(curves).sort_values(keys, ignore_index=True)


@dataclass(frozen=True)
class Turns:
    """The participants of every round, and how they are weighted.

    Args:
        site: the attacked site.
        drawn: for each network, the sites of every round, in the federation's order.
        counts: how each site discloses its number of images, its weight (see `fedistill.privacy.policy.disclosure`).
        mu: weight of FedProx's proximal term; 0 for none.
    """

    site: str
    drawn: tuple[tuple[tuple[str, ...], ...], ...]
    counts: Mapping[str, str]
    mu: float = 0.0


@dataclass(frozen=True, eq=False)
class RoundsShadow:
    """A shadow of all rounds, in which the attacked site holds the shadow's images.

    The attacker is the server: it sends out the global network, sees every site's network, and aggregates them by its
    own strategy. It knows the initial weights, who takes part in which round, the local steps and their recipe, but not
    the seed of the site's order of images, augmentation and noise: these are drawn anew for every shadow, at the other
    sites too.

    Beyond the attacker of a site's Releases, it knows the other sites' images. A real server sees only their networks,
    which tell it the same: what the attacked site received in each round, up to the others' randomness.

    Args:
        network: what is trained.
        request: settings of every round, except its seed.
        seeds: of the networks' initial weights; each network spends its epsilon.
        turns: who takes part.
        strategy: of the server.
    """

    network: Network
    request: RoundSettings
    seeds: tuple[int, ...]
    turns: Turns
    strategy: ServerStrategy = field(default_factory=lambda: ServerStrategy("FedAvg"))

    def make(self, task: Task, others: Mapping[str, ImageSet]) -> Sent:
        """Return the networks that the site sends in the rounds that it takes part in, and those it received in them.

        ``others`` are the images of every other site.
        """
        # All rounds, not only the last: 80 images of phantom:breast, width 8, 6 rounds, 16 shadows, AUC of the
        # strongest attack on the last round's networks and on all: 62 and 63 % (1 local epoch), 71 and 73 (5), 70 and
        # 75 (5, lr 0.1). After 20 rounds of 1 epoch there is no difference (67 and 66, intervals of 12 points).
        total, done = sum(self._last(drawn) for drawn in self.turns.drawn), 0
        sent: list[Params] = []
        received: list[Params] = []
        for number, seed in enumerate(self.seeds):
            strategy, drawn = self.strategy.fresh(), self.turns.drawn[number]
            now = begin(self.network, seed)
            for i, sites in enumerate(drawn[: self._last(drawn)]):
                of_round = spawn(task.seed, "network", number, "round", i + 1)
                begun = now
                now, own = self.one_round(task, others, strategy, i + 1, now, sites, seed=of_round)
                if own is not None:
                    sent.append(own)
                    received.append(begun)
                done += 1
                task.on_event(Event("training", step=done, steps=total))
        return Sent(None, sent, received)

    def one_round(
        self,
        task: Task,
        others: Mapping[str, ImageSet],
        strategy: ServerStrategy,
        number: int,
        start: Params,
        sites: tuple[str, ...],
        *,
        seed: int,
    ) -> tuple[Params, Params | None]:
        """Return the global network after a round, and the attacked site's network, None if it takes no part.

        Args:
            task: with the attacked site's images.
            others: images of the other sites, by name.
            strategy: the server's, in its state before the round.
            number: of the round, from 1.
            start: the global network before the round.
            sites: the participants.
            seed: of the round, from which every site's seed is spawned by its name.
        """
        replies: list[tuple[int, Params]] = []
        own = None
        for name in sites:
            images = task.images if name == self.turns.site else others[name]
            if not len(images):
                continue  # a site without images sends nothing
            params = train_locally(
                self.request, self.network, start, images, seed=spawn(seed, name), device=torch.device(task.device)
            )
            replies.append((disclosed_count(len(images), self.turns.counts[name]), params))
            own = params if name == self.turns.site else own
        if not replies:
            return start, own
        return strategy.fold(number, self.network, start, replies), own

    def _last(self, drawn: tuple[tuple[str, ...], ...]) -> int:
        """Return the last round, from 1, that the attacked site takes part in; later rounds reveal nothing new."""
        return max((i + 1 for i, sites in enumerate(drawn) if self.turns.site in sites), default=0)


def _resume(kept: Any, names: tuple[str, ...], strategy: ServerStrategy) -> tuple[list[Params], list[dict[str, Any]]]:
    """Return parameters and notes of a checkpoint's rounds, and restore the strategy's state after them."""
    if kept is None:
        return [], []
    tensors, note = kept
    strategy.resume({name: value for name, value in tensors.items() if name not in names})
    rounds = len(note["rounds"])
    return [tuple(tensors[name][i] for name in names) for i in range(rounds)], list(note["rounds"])


def _validation(run_key: RunKey) -> str:
    """Return the name of the question to sites how a network does after its rounds."""
    return f"validation {run_key.name}"


def _curve_rows(ctx: StudyContext, history: RoundHistory, probabilities: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the rows of rounds.csv of one network."""
    for i, (auc, balanced) in enumerate(history.validation):
        transfer = history.transfer(i + 1)
        yield {
            **asdict(history.run_key),
            "round": i + 1,
            "sites": len(history.notes[i]["sites"]),
            "validation_auc": auc,
            "validation_balanced_accuracy": balanced,
            **ctx.trainer.quality(probabilities[i]),
            "bytes_up": transfer.up,
            "bytes_down": transfer.down,
            "sites_seconds": round(transfer.seconds, 3),
        }


def _without_small(ctx: StudyContext, site: str, share: Share) -> ImageSet:
    """Return a site's training images without the classes that are too small by its policy."""
    least = ctx.simulation.federation.policy_of(site).min_class_size
    return without(share.train, too_small(share.train, least))


def _stack(params: list[Params]) -> list[Tensor]:
    return [torch.stack(parts) for parts in zip(*params, strict=True)]


FEDAVG = RoundsScheme("fedavg", "weights averaged every round (arXiv 1602.05629)", FedAvgSettings)
FEDPROX = FedProxScheme("fedprox", "fedavg with a proximal term (arXiv 1812.06127)", FedProxSettings)
DP_FEDAVG = PrivateRoundsScheme("dp-fedavg", "fedavg, differentially private", DPFedAvgSettings)
