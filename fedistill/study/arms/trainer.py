"""Global networks: trained on a pool and scored on the test split, each from the store where it was before."""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from fedistill.config import Simulation
from fedistill.core.precision import of_training
from fedistill.core.seeds import spawn
from fedistill.core.store import Store, key_of
from fedistill.data import ImageSet
from fedistill.models import Network, Params, build
from fedistill.study.arms.condition import Arm
from fedistill.study.arms.cross_validation import VERSION as FOLDS_VERSION
from fedistill.study.arms.cross_validation import Cell, Pilot, cells, folds
from fedistill.study.arms.pool import Pool
from fedistill.study.arms.tasks import cross_validate, score_networks, train_networks
from fedistill.training.fit import VERSION
from fedistill.training.metrics import score
from fedistill.training.recipe import Recipe
from fedistill.transport.server.coordinator import Coordinator


@dataclass(frozen=True, eq=False)
class Trained:
    """A global network.

    Args:
        key: its name in the store, and in the key of what is made of it.
        seconds: its training took, whenever that was; of networks trained together an equal share each.
    """

    key: str
    params: Params
    seconds: float


def trained_elsewhere(params: Params, seconds: float) -> Trained:
    """A network that sites trained, by the name its parameters give it."""
    digest = hashlib.sha256()
    for value in params:
        digest.update(value.contiguous().numpy().tobytes())
    return Trained(digest.hexdigest(), params, seconds)


class Trainer:
    """Trains and tests the networks of a run's arms; only what the store does not know is computed."""

    def __init__(
        self,
        simulation: Simulation,
        coordinator: Coordinator,
        store: Store,
        test: ImageSet,
        val: ImageSet | None = None,
    ) -> None:
        self._val = val
        self.simulation, self.coordinator, self.store = simulation, coordinator, store
        self.test_labels, self.mirror, self.multilabel = test.labels, test.mirror, test.multilabel
        self._shape = {"channels": test.channels, "classes": test.n_classes, "size": test.size}
        self._test_name = test.fingerprint()
        self._test_images = coordinator.share_once(self._test_name, lambda: test.pixels().numpy())
        self._device = "cuda" if simulation.gpus else "cpu"
        self._begun = coordinator.begun  # keys are of content: points of a sweep train what they have in common once
        self.computed = self.found = 0

    def network(self, model: str) -> Network:
        """The shape of a global network."""
        return build(model, **self._shape, width=self.simulation.width)

    async def networks(self, arm: Arm, pool: Pool, recipe: Recipe, indices: Iterable[int]) -> list[Trained]:
        """Networks by number: each a task of its own, spread over the workers; on a GPU all are one task, together."""
        keys = {index: self._key(arm, pool, recipe, index) for index in indices}
        new = {index: key for index, key in keys.items() if key not in self._begun}
        groups = [new] if self._device == "cuda" else [{index: key} for index, key in new.items()]
        for group in filter(None, groups):
            task = asyncio.ensure_future(self._train(arm, pool, recipe, group))
            self._begun.update(dict.fromkeys(group.values(), task))
        done = await asyncio.gather(*[asyncio.shield(self._begun[key]) for key in keys.values()])
        return [trained[key] for trained, key in zip(done, keys.values(), strict=True)]

    def _seed(self, arm: Arm, index: int) -> int:
        # It names no scheme: schemes are compared on the same initial networks.
        return spawn(self.simulation.seed, "network", arm.partition, arm.seed, arm.model, index)

    def _key(self, arm: Arm, pool: Pool, recipe: Recipe, index: int) -> str:
        network = self.network(arm.model)
        return key_of(
            {
                "pool": pool.name,
                "draw": None if pool.draw is None else index,
                "network": [type(network).__name__, asdict(network)],
                "recipe": recipe.detail(),
                "seed": self._seed(arm, index),
                "mirror": self.mirror,
                "threads": self.simulation.threads,
                "device": self._device,
                "dtype": of_training(self._device),
                "version": VERSION,
            }
        )

    async def _train(self, arm: Arm, pool: Pool, recipe: Recipe, keys: dict[int, str]) -> dict[str, Trained]:
        """Networks by number and key: from the store, and in one task those it does not have."""
        network = self.network(arm.model)
        trained: dict[str, Trained] = {}
        missing: dict[int, str] = {}
        for index, key in keys.items():
            found = self.store.get("network", key)
            if found is None:
                missing[index] = key
            else:
                tensors, note = found
                trained[key] = Trained(key, tuple(tensors[name] for name in network.names), float(note["seconds"]))
        self.found += len(trained)
        if not missing:
            return trained
        data = pool.of_networks(list(missing))
        images = data[1].shape[0 if pool.draw is None else 1]
        numbers = ", ".join(str(index + 1) for index in missing)
        name = f"server: {arm.name} lr {recipe.lr:g} steps {recipe.steps_for(images)} network {numbers}"
        made, seconds = await self.coordinator.compute(
            f"{name} {next(iter(missing.values()))[:8]}",
            train_networks,
            name,
            network,
            data,
            recipe,
            [self._seed(arm, index) for index in missing],
            self.mirror,
            self.simulation.gpus,
            threads=self.simulation.threads,
            gpus=self.simulation.gpus,
        )
        for key, params in zip(missing.values(), made, strict=True):
            trained[key] = Trained(key, params, seconds / len(made))
            tensors = dict(zip(network.names, params, strict=True))
            self.store.put("network", key, tensors, {"seconds": trained[key].seconds})
        self.computed += len(made)
        return trained

    async def cross_validated(self, arm: Arm, pool: Pool, recipe: Recipe, pilots: Iterable[int]) -> list[Cell]:
        """Return the AUCs of all folds, by cross-validation repeated for each pilot; none of too small a pool."""
        made = []
        for index in pilots:
            images, labels = pool.of_network(index)
            seed = self._seed(arm, index)
            made.append(Pilot(images, labels, folds(labels, seed=seed), seed))
        if not all(pilot.folds for pilot in made):
            return []
        keys = [self._key(arm, pool, recipe, index) for index in pilots]
        key = key_of({"networks": keys, "folds": [len(pilot.folds) for pilot in made], "version": FOLDS_VERSION})
        if key not in self._begun:  # points of a sweep may ask the same at one time
            self._begun[key] = asyncio.ensure_future(self._cross_validated(arm, recipe, made, key))
        scores: list[torch.Tensor] = await asyncio.shield(self._begun[key])
        truth = [pilot.labels[fold.aside] for pilot in made for fold in pilot.folds]
        return [cell for fold, labels in zip(scores, truth, strict=True) for cell in cells(fold, labels)]

    async def _cross_validated(self, arm: Arm, recipe: Recipe, pilots: Sequence[Pilot], key: str) -> list[torch.Tensor]:
        """Return the scores of all folds: from the store, or computed and kept."""
        found = self.store.get("crossval", key)
        if found is not None:
            return [found[0][str(i)] for i in range(len(found[0]))]
        name = f"server: {arm.name} lr {recipe.lr:g} cross-validation {key[:8]}"
        scores: list[torch.Tensor]
        scores, seconds = await self.coordinator.compute(
            name,
            cross_validate,
            name,
            self.network(arm.model),
            pilots,
            recipe,
            self.mirror,
            self.simulation.gpus,
            threads=self.simulation.threads,
            gpus=self.simulation.gpus,
        )
        self.store.put("crossval", key, {str(i): fold for i, fold in enumerate(scores)}, {"seconds": seconds})
        return scores

    async def validated(self, networks: Sequence[Trained], model: str) -> list[float]:
        """Return the AUC of each network on the coordinator's own validation split; NaN where it has none."""
        val = self._val
        if val is None or not len(val):
            return [float("nan")] * len(networks)
        key = key_of({"networks": [n.key for n in networks], "val": val.fingerprint()})
        if key not in self._begun:  # points of a sweep may ask the same at one time
            self._begun[key] = asyncio.ensure_future(
                self.coordinator.compute(
                    f"server: validation {key[:16]}",
                    score_networks,
                    self.network(model),
                    [n.params for n in networks],
                    val.pixels().numpy(),
                    val.multilabel,
                    self.simulation.gpus,
                    threads=self.simulation.threads,
                    gpus=self.simulation.gpus,
                )
            )
        scores: torch.Tensor = await asyncio.shield(self._begun[key])
        return [score(val.labels, each)["auc"] for each in scores.numpy()]

    async def test(self, arm: Arm, networks: Sequence[Trained]) -> np.ndarray:
        """Probabilities on the official test split, float32 (networks, N, K)."""
        detail = {"networks": [n.key for n in networks], "test": self._test_name, "threads": self.simulation.threads}
        key = key_of(detail)
        if key not in self._begun:
            self._begun[key] = asyncio.ensure_future(self._tested(arm, key, networks))
        probabilities: np.ndarray = await asyncio.shield(self._begun[key])
        return probabilities

    async def _tested(self, arm: Arm, key: str, networks: Sequence[Trained]) -> np.ndarray:
        found = self.store.get("test", key)
        if found is not None:
            return found[0]["probabilities"].numpy()
        scores: torch.Tensor = await self.coordinator.compute(
            f"server: {arm.name} on the test split {key[:8]}",
            score_networks,
            self.network(arm.model),
            [n.params for n in networks],
            self._test_images,
            self.multilabel,
            self.simulation.gpus,
            threads=self.simulation.threads,
            gpus=self.simulation.gpus,
        )
        self.store.put("test", key, {"probabilities": scores})
        return scores.numpy()

    def quality(self, probabilities: np.ndarray) -> dict[str, float]:
        """The metrics of one network's probabilities (N, K) on the official test split."""
        return score(self.test_labels, probabilities)

    def stacked(self, networks: Sequence[Trained], model: str) -> dict[str, Any]:
        """Parameters by name with a leading axis over the networks, as a question to sites carries them."""
        named = zip(self.network(model).names, zip(*[n.params for n in networks], strict=True), strict=True)
        return {name: torch.stack(parts) for name, parts in named}
