"""Arms of federated averaging: weights go back and forth, and quality is known after every round.

The step size is chosen for every number of rounds by itself, among trajectories of the pilots, by the sites' validation
images: one that is best after twenty rounds would undersell one round. A private scheme has its step size from its
settings, and asks nothing of validation images: they are patients' too, and its bound does not cover them.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from fedistill.config.scheme_settings import DPFedAvgSettings, FedProxSettings, scheme_named
from fedistill.core.seeds import generator, rng, spawn
from fedistill.core.store import KeptCheckpoints, key_of
from fedistill.models import Params
from fedistill.study.arms.condition import Arm, Scored
from fedistill.study.arms.context import Desk
from fedistill.study.arms.fedavg_history import Course, Trajectory
from fedistill.study.arms.federated_eval import tallied
from fedistill.study.arms.trainer import Trained, trained_elsewhere
from fedistill.training.fit import VERSION
from fedistill.transport.protocol.training_messages import RoundRequest
from fedistill.transport.server.rounds import strategy_for, train_round


class Federated:
    """Arms of ``fedavg``, ``fedprox`` and ``dp-fedavg`` of one study."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.curves: list[dict[str, Any]] = []
        """Rows of rounds.csv: a row a trajectory and round."""

    async def arm(self, arm: Arm) -> tuple[Scored, list[list[Trained]]]:
        """The arm's networks after its number of rounds, on the official test split; and the networks."""
        simulation, rounds = self.desk.simulation, arm.rounds or 0
        lr = await self.step_size(arm)
        courses = [self.course(arm, index, lr) for index in range(simulation.networks)]
        found = await asyncio.gather(*[self.trajectory(course) for course in courses])
        scores = await asyncio.gather(*[self._tested(each) for each in found])
        asked = self.asked(courses[0])
        shared = [each.shared(rounds) for each in found]
        scored = Scored(
            arm,
            shared,
            [asked.recipe] * len(found),
            [rounds * asked.recipe.steps_for(self._largest(arm.partition))] * len(found),
            np.stack([probabilities[rounds - 1] for probabilities in scores]),
            [each.seconds for each in shared],
        )
        return scored, [
            [trained_elsewhere(each.params[rounds - 1], s.seconds)] for each, s in zip(found, shared, strict=True)
        ]

    def table(self) -> pd.DataFrame:
        """rounds.csv, in order whatever was finished first."""
        keys = ["partition", "scheme", "model", "seed", "network", "lr", "round"]
        return pd.DataFrame(self.curves).sort_values(keys, ignore_index=True)

    async def trajectory(self, course: Course) -> Trajectory:
        """From the initial weights through all rounds; its rounds of an earlier run are found again.

        Points of a sweep that have it in common go through it once.
        """
        settings, begun = self._settings(course.scheme), self.desk.coordinator.begun
        detail = self._detail(course, self.asked(course), settings)
        key = key_of({**detail, "rounds": settings.rounds[-1]})
        if key not in begun:
            begun[key] = asyncio.ensure_future(self._trajectory(course))
        found: Trajectory = await asyncio.shield(begun[key])
        return found

    def course(self, arm: Arm, index: int, lr: float) -> Course:
        """Of the arm's network with this index."""
        return Course(arm.partition, arm.scheme, arm.model, arm.seed, index, lr)

    async def step_size(self, arm: Arm) -> float:
        """The one chosen for the arm's number of rounds; a private scheme's own."""
        simulation = self.desk.simulation
        settings = self._settings(arm.scheme)
        grid = (settings.lr,) if isinstance(settings, DPFedAvgSettings) else simulation.recipe.lr
        pilots = range(min(simulation.recipe.pilots, simulation.networks))
        if len(grid) == 1:
            return grid[0]
        courses = [[self.course(arm, index, lr) for index in pilots] for lr in grid]
        tried = await asyncio.gather(*[asyncio.gather(*[self.trajectory(course) for course in row]) for row in courses])
        values = [float(np.mean([each.validation[(arm.rounds or 0) - 1][0] for each in row])) for row in tried]
        known = {lr: value for lr, value in zip(grid, values, strict=True) if not np.isnan(value)}
        return max(known, key=lambda lr: known[lr]) if known else grid[len(grid) // 2]

    def asked(self, course: Course) -> RoundRequest:
        """What sites are asked to do in every round, but for its seed."""
        simulation = self.desk.simulation
        settings = self._settings(course.scheme)
        private = isinstance(settings, DPFedAvgSettings)
        return RoundRequest(
            scheme=course.scheme,
            model=course.model,
            width=simulation.width,
            partition=course.partition,
            local_epochs=0 if private else settings.local_epochs,
            batch=simulation.recipe.batch,
            lr=course.lr,
            augment=simulation.recipe.augment and not private,
            seed=0,
            mu=settings.mu if isinstance(settings, FedProxSettings) else 0.0,
            private=settings.private if private else None,
            steps=settings.local_steps if private else None,
        )

    def _settings(self, scheme: str) -> Any:
        return scheme_named(scheme).read(self.desk.simulation.settings(scheme))

    def _largest(self, partition: int) -> int:
        return max(len(share.train) for share in self.desk.holdings[partition].shares)

    async def _trajectory(self, course: Course) -> Trajectory:
        desk, simulation = self.desk, self.desk.simulation
        settings, network = self._settings(course.scheme), desk.trainer.network(course.model)
        asked = self.asked(course)
        named = (course.partition, course.seed, course.model, course.network)
        checkpoint = KeptCheckpoints(desk.store)(self._detail(course, asked, settings))
        params, notes = self._found(checkpoint.load(), network.names)
        # The same initial weights as the server's own networks of this number: schemes are compared on them.
        now = params[-1] if params else network.init(generator(spawn(simulation.seed, "network", *named), "init"))
        strategy = strategy_for(asked.mu)
        for number in range(len(params) + 1, settings.rounds[-1] + 1):
            drawn = self.drawn(course, number)
            seed = spawn(simulation.seed, course.scheme, *named, "round", number)
            of_round = replace(asked, seed=seed)
            result = await train_round(
                desk.coordinator, strategy, number, network, now, of_round, sites=drawn, name=course.name
            )
            for site, why in result.missing.items():
                desk.failed(site, f"{site} {course.name} round {number}", why)
            desk.require(len(result.sites), len(drawn), f"{course.name}, round {number}", dict(result.missing))
            assert result.params is not None
            now = result.params
            params.append(now)
            notes.append({"sites": result.sites, "up": result.up, "down": result.down, "seconds": result.seconds})
            checkpoint.save(dict(zip(network.names, _stacked(params), strict=True)), {"rounds": notes})
        return Trajectory(course, params, notes, await self._validated(course, params))

    def _found(self, kept: Any, names: tuple[str, ...]) -> tuple[list[Params], list[dict[str, Any]]]:
        if kept is None:
            return [], []
        tensors, note = kept
        rounds = len(note["rounds"])
        return [tuple(tensors[name][i] for name in names) for i in range(rounds)], list(note["rounds"])

    def drawn(self, course: Course, number: int) -> list[str]:
        """The sites of a round, in their order. It names no step size: pilots meet the same sites."""
        sites = self.desk.sites
        count = max(1, round(self._settings(course.scheme).fraction * len(sites)))
        seed = self.desk.simulation.seed
        chance = rng(seed, "sites of a round", course.partition, course.seed, course.network, number)
        return [sites[i] for i in sorted(chance.choice(len(sites), count, replace=False))]

    def _detail(self, course: Course, asked: RoundRequest, settings: Any) -> Mapping[str, Any]:
        simulation, held = self.desk.simulation, self.desk.holdings[course.partition]
        sites = [
            [
                name,
                share.train.fingerprint(),
                simulation.federation.of(name).threads,
                simulation.federation.of(name).gpus,
            ]
            for name, share in zip(self.desk.sites, held.shares, strict=True)
        ]
        return {
            "kind": "federated",
            "sites": sites,
            "asked": asked.detail(),
            "course": asdict(course),
            "seed": simulation.seed,
            "fraction": settings.fraction,
            "version": VERSION,
        }

    async def _validated(self, course: Course, params: list[Params]) -> list[tuple[float, float]]:
        """AUC and balanced accuracy on the sites' validation images after each round; NaN of a private scheme."""
        if isinstance(self._settings(course.scheme), DPFedAvgSettings):
            return [(math.nan, math.nan)] * len(params)
        stacked = dict(zip(self.desk.trainer.network(course.model).names, _stacked(params), strict=True))
        name = f"validation {course.name}"
        totals = await tallied(
            self.desk, self.desk.sites, name, stacked, model=course.model, partition=course.partition
        )
        return [(total.auc, total.balanced_accuracy) for total in totals]

    async def _tested(self, trajectory: Trajectory) -> np.ndarray:
        """Probabilities on the official test split after each round, float32 (rounds, N, K); notes the curve."""
        course = trajectory.course

        async def test() -> np.ndarray:
            networks = [trained_elsewhere(params, 0.0) for params in trajectory.params]
            arm = Arm(course.partition, course.scheme, None, course.seed, course.model, "common", len(networks))
            probabilities = await self.desk.trainer.test(arm, networks)
            self._note(trajectory, probabilities)
            return probabilities

        return await self.desk.once(("tested", course), test)

    def _note(self, trajectory: Trajectory, probabilities: np.ndarray) -> None:
        for i, (auc, balanced) in enumerate(trajectory.validation):
            shared = trajectory.shared(i + 1)
            scores = self.desk.trainer.quality(probabilities[i])
            self.curves.append(
                {
                    **asdict(trajectory.course),
                    "round": i + 1,
                    "sites": len(trajectory.notes[i]["sites"]),
                    "validation_auc": auc,
                    "validation_balanced_accuracy": balanced,
                    **scores,
                    "bytes_up": shared.up,
                    "bytes_down": shared.down,
                    "sites_seconds": round(shared.seconds, 3),
                }
            )


def _stacked(params: list[Params]) -> list[torch.Tensor]:
    return [torch.stack(parts) for parts in zip(*params, strict=True)]
