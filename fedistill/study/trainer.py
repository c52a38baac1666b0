"""Global networks: trained on a pool and scored on the test split, each from the store where it was before."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from fedistill.data import ImageSet
from fedistill.federation.coordinator import Coordinator
from fedistill.models import Network, Params, build
from fedistill.plan import Simulation
from fedistill.seeds import spawn
from fedistill.store import Store, key_of
from fedistill.study.arm import Arm
from fedistill.study.pool import Pool
from fedistill.study.stages import score_networks, train_network
from fedistill.training.fit import VERSION
from fedistill.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Trained:
    """A global network.

    Args:
        key: its name in the store, and in the key of what is made of it.
        seconds: its training took, whenever that was.
    """

    key: str
    params: Params
    seconds: float


class Trainer:
    """Trains and tests the networks of a run's arms; only what the store does not know is computed."""

    def __init__(self, simulation: Simulation, coordinator: Coordinator, store: Store, test: ImageSet) -> None:
        self.simulation, self.coordinator, self.store = simulation, coordinator, store
        self.test_labels, self.mirror, self.multilabel = test.labels, test.mirror, test.multilabel
        self._shape = {"channels": test.channels, "classes": test.n_classes, "size": test.size}
        self._test_name = test.fingerprint()
        self._test_images = coordinator.share(test.pixels().numpy())
        self._begun: dict[str, asyncio.Task[Trained]] = {}
        self.computed = self.found = 0

    def network(self, model: str) -> Network:
        """The shape of a global network."""
        return build(model, **self._shape, width=self.simulation.width)

    async def networks(self, arm: Arm, pool: Pool, recipe: Recipe, indices: Iterable[int]) -> list[Trained]:
        """Networks by number, each its own task: they are independent, and spread over the workers."""
        return list(await asyncio.gather(*[self._network(arm, pool, recipe, index) for index in indices]))

    async def _network(self, arm: Arm, pool: Pool, recipe: Recipe, index: int) -> Trained:
        network = self.network(arm.model)
        # The seed names no scheme: schemes are compared on the same initial networks.
        seed = spawn(self.simulation.seed, "network", arm.partition, arm.seed, arm.model, index)
        key = key_of(
            {
                "pool": pool.name,
                "draw": None if pool.draw is None else index,
                "network": [type(network).__name__, asdict(network)],
                "recipe": recipe.detail(),
                "seed": seed,
                "mirror": self.mirror,
                "threads": self.simulation.threads,
                "device": "cpu",
                "dtype": "float32",
                "version": VERSION,
            }
        )
        if key not in self._begun:
            self._begun[key] = asyncio.ensure_future(self._train(key, arm, pool, recipe, index, network, seed))
        return await asyncio.shield(self._begun[key])

    async def _train(
        self, key: str, arm: Arm, pool: Pool, recipe: Recipe, index: int, network: Network, seed: int
    ) -> Trained:
        found = self.store.get("network", key)
        if found is not None:
            self.found += 1
            tensors, note = found
            return Trained(key, tuple(tensors[name] for name in network.names), float(note["seconds"]))
        name = f"server: {arm.name} lr {recipe.lr:g} steps {recipe.steps_for(len(pool.images))} network {index + 1}"
        params, seconds = await self.coordinator.compute(
            f"{name} {key[:8]}",
            train_network,
            name,
            network,
            pool.of_network(index),
            recipe,
            seed,
            self.mirror,
            threads=self.simulation.threads,
        )
        self.computed += 1
        self.store.put("network", key, dict(zip(network.names, params, strict=True)), {"seconds": seconds})
        return Trained(key, params, seconds)

    async def test(self, arm: Arm, networks: Sequence[Trained]) -> np.ndarray:
        """Probabilities on the official test split, float32 (networks, N, K)."""
        detail = {"networks": [n.key for n in networks], "test": self._test_name, "threads": self.simulation.threads}
        key = key_of(detail)
        found = self.store.get("test", key)
        if found is not None:
            return found[0]["probabilities"].numpy()
        scores: torch.Tensor = await self.coordinator.compute(
            f"server: {arm.name} on the test split",
            score_networks,
            self.network(arm.model),
            [n.params for n in networks],
            self._test_images,
            self.multilabel,
            threads=self.simulation.threads,
        )
        self.store.put("test", key, {"probabilities": scores})
        return scores.numpy()

    def stacked(self, networks: Sequence[Trained], model: str) -> dict[str, Any]:
        """Parameters by name with a leading axis over the networks, as a question to sites carries them."""
        named = zip(self.network(model).names, zip(*[n.params for n in networks], strict=True), strict=True)
        return {name: torch.stack(parts) for name, parts in named}
