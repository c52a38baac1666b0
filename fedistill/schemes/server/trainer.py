"""Training on pools and scoring on the test split, computed only if the store does not have the result."""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from fedistill.config import Simulation
from fedistill.core.precision import of_training
from fedistill.core.single_flight import single_flight
from fedistill.core.store import Store, key_of
from fedistill.data import ImageSet
from fedistill.models import Network, Params, build
from fedistill.schemes.server.condition import Condition, network_seed
from fedistill.schemes.server.cross_validation import VERSION as FOLDS_VERSION
from fedistill.schemes.server.cross_validation import ClassAUC, Pilot, class_aucs, split_folds
from fedistill.schemes.server.pool import Pool
from fedistill.schemes.server.tasks import cross_validate, score_networks, train_networks
from fedistill.training.fit import VERSION
from fedistill.training.metrics import score
from fedistill.training.recipe import Recipe
from fedistill.transport.server.coordinator import Coordinator


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained global network.

    Args:
        key: of the network in the store, and part of the keys of its scores.
        params: its parameters, on the CPU.
        seconds: of its training, also of an earlier run; networks trained together share the time equally.
    """

    key: str
    params: Params
    seconds: float


def trained_by_sites(params: Params, seconds: float) -> Trained:
    """Return a network that sites trained; its key is the hash of its parameters."""
    digest = hashlib.sha256()
    for value in params:
        digest.update(value.contiguous().numpy().tobytes())
    return Trained(digest.hexdigest(), params, seconds)


class Trainer:
    """The training and testing of a study's networks, which computes only what the store does not have."""

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
        self._begun = coordinator.begun  # by content, so that points of a sweep share work
        self.computed = self.found = 0

    def network(self, model: str) -> Network:
        """Return the architecture of a global network."""
        return build(model, **self._shape, width=self.simulation.width)

    async def train(self, condition: Condition, pool: Pool, recipe: Recipe, indices: Iterable[int]) -> list[Trained]:
        """Return the networks of these indices, trained in one task each on the CPU, all in one on a GPU."""
        keys = {index: self._key(condition, pool, recipe, index) for index in indices}
        new = {index: key for index, key in keys.items() if key not in self._begun}
        groups = [new] if self._device == "cuda" else [{index: key} for index, key in new.items()]
        for group in filter(None, groups):
            task = asyncio.ensure_future(self._train(condition, pool, recipe, group))
            self._begun.update(dict.fromkeys(group.values(), task))
        done = await asyncio.gather(*[asyncio.shield(self._begun[key]) for key in keys.values()])
        return [trained[key] for trained, key in zip(done, keys.values(), strict=True)]

    def _seed(self, condition: Condition, index: int) -> int:
        return network_seed(self.simulation, condition, index)

    def _key(self, condition: Condition, pool: Pool, recipe: Recipe, index: int) -> str:
        network = self.network(condition.model)
        return key_of(
            {
                "pool": pool.name,
                "draw": None if pool.draw is None else index,
                "network": [type(network).__name__, asdict(network)],
                "recipe": recipe.detail(),
                "seed": self._seed(condition, index),
                "mirror": self.mirror,
                "threads": self.simulation.threads,
                "device": self._device,
                "dtype": of_training(self._device),
                "version": VERSION,
            }
        )

    async def _train(
        self, condition: Condition, pool: Pool, recipe: Recipe, keys: dict[int, str]
    ) -> dict[str, Trained]:
        """Return networks by key, from the store or trained in one task."""
        network = self.network(condition.model)
        trained: dict[str, Trained] = {}
        missing: dict[int, str] = {}
        for index, key in keys.items():
            stored = self.store.get("network", key)
            if stored is None:
                missing[index] = key
            else:
                tensors, note = stored
                trained[key] = Trained(key, tuple(tensors[name] for name in network.names), float(note["seconds"]))
        self.found += len(trained)
        if not missing:
            return trained
        data = pool.of_networks(list(missing))
        images = data[1].shape[0 if pool.draw is None else 1]
        numbers = ", ".join(str(index + 1) for index in missing)
        name = f"{condition.name} lr {recipe.lr:g} steps {recipe.steps_for(images)} network {numbers}"
        new, seconds = await self.coordinator.compute(
            f"{name} {next(iter(missing.values()))[:8]}",
            train_networks,
            name,
            network,
            data,
            recipe,
            [self._seed(condition, index) for index in missing],
            self.mirror,
            self.simulation.gpus,
            pool.soft is not None,
            threads=self.simulation.threads,
            gpus=self.simulation.gpus,
        )
        for key, params in zip(missing.values(), new, strict=True):
            trained[key] = Trained(key, params, seconds / len(new))
            tensors = dict(zip(network.names, params, strict=True))
            self.store.put("network", key, tensors, {"seconds": trained[key].seconds})
        self.computed += len(new)
        return trained

    async def cross_validate(
        self, condition: Condition, pool: Pool, recipe: Recipe, pilots: Iterable[int]
    ) -> list[ClassAUC]:
        """Return the AUCs of all folds, cross-validated for each pilot; none if the pool is too small."""
        folded = []
        for index in pilots:
            images, labels = pool.of_network(index)
            seed = self._seed(condition, index)
            folded.append(
                Pilot(
                    images,
                    labels,
                    split_folds(labels, seed=seed, origin=pool.origin_of(index)),
                    seed,
                    pool.soft_of(index),
                )
            )
        if not all(pilot.folds for pilot in folded):
            return []
        keys = [self._key(condition, pool, recipe, index) for index in pilots]
        key = key_of({"networks": keys, "folds": [len(pilot.folds) for pilot in folded], "version": FOLDS_VERSION})
        scores = await single_flight(self._begun, key, lambda: self._compute_folds(condition, recipe, folded, key))
        truth = [pilot.labels[fold.aside] for pilot in folded for fold in pilot.folds]
        return [auc for fold, labels in zip(scores, truth, strict=True) for auc in class_aucs(fold, labels)]

    async def _compute_folds(
        self, condition: Condition, recipe: Recipe, pilots: Sequence[Pilot], key: str
    ) -> list[torch.Tensor]:
        """Return the scores of all folds, from the store or computed."""
        stored = self.store.get("crossval", key)
        if stored is not None:
            return [stored[0][str(i)] for i in range(len(stored[0]))]
        name = f"{condition.name} lr {recipe.lr:g} cross-validation {key[:8]}"
        scores: list[torch.Tensor]
        scores, seconds = await self.coordinator.compute(
            name,
            cross_validate,
            name,
            self.network(condition.model),
            pilots,
            recipe,
            self.mirror,
            self.simulation.gpus,
            threads=self.simulation.threads,
            gpus=self.simulation.gpus,
        )
        self.store.put("crossval", key, {str(i): fold for i, fold in enumerate(scores)}, {"seconds": seconds})
        return scores

    async def validate(self, networks: Sequence[Trained], model: str) -> list[float]:
        """Return the AUC of each network on the coordinator's own validation split; NaN if it has none."""
        val = self._val
        if val is None or not len(val):
            return [float("nan")] * len(networks)
        key = key_of({"networks": [n.key for n in networks], "val": val.fingerprint()})

        async def scored() -> torch.Tensor:
            scores: torch.Tensor = await self.coordinator.compute(
                f"validation {key[:16]}",
                score_networks,
                self.network(model),
                [n.params for n in networks],
                val.pixels().numpy(),
                val.multilabel,
                self.simulation.gpus,
                threads=self.simulation.threads,
                gpus=self.simulation.gpus,
            )
            return scores

        scores = await single_flight(self._begun, key, scored)
        return [score(val.labels, each)["auc"] for each in scores.numpy()]

    async def test(self, condition: Condition, networks: Sequence[Trained]) -> np.ndarray:
        """Return probabilities on the official test split, float32 (networks, N, K)."""
        detail = {"networks": [n.key for n in networks], "test": self._test_name, "threads": self.simulation.threads}
        key = key_of(detail)
        return await single_flight(self._begun, key, lambda: self._compute_test(condition, key, networks))

    async def _compute_test(self, condition: Condition, key: str, networks: Sequence[Trained]) -> np.ndarray:
        stored = self.store.get("test", key)
        if stored is not None:
            return stored[0]["probabilities"].numpy()
        scores: torch.Tensor = await self.coordinator.compute(
            f"{condition.name} on the test split {key[:8]}",
            score_networks,
            self.network(condition.model),
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
        """Return the metrics of one network's probabilities (N, K) on the official test split."""
        return score(self.test_labels, probabilities)

    def stacked(self, networks: Sequence[Trained], model: str) -> dict[str, Any]:
        """Return parameters by name, each with a leading axis over the networks."""
        named = zip(self.network(model).names, zip(*[n.params for n in networks], strict=True), strict=True)
        return {name: torch.stack(parts) for name, parts in named}
