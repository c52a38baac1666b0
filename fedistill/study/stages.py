"""The server's own work: train one network on a pool, and score networks on the official test split.

Module-level functions of plain values, because they run on Ray's workers.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedistill.federation.events import emitter
from fedistill.models import Network, Params
from fedistill.training.fit import fit, predict, probabilities
from fedistill.training.recipe import Recipe

TrainedOn = tuple[Tensor, Tensor]


def train_network(
    name: str, network: Network, data: TrainedOn, recipe: Recipe, seed: int, mirror: bool
) -> tuple[Params, float]:
    """One network, trained: (parameters, seconds)."""
    on_event = emitter(name)
    start = time.perf_counter()
    images, labels = data
    params = fit(network, images, labels, recipe, seed=seed, mirror=mirror, on_step=_reporting(on_event, start))
    return params, time.perf_counter() - start


def _reporting(on_event: Callable[[dict[str, Any]], None], start: float) -> Callable[[int, int], None]:
    def on_step(step: int, steps: int) -> None:
        on_event({"stage": "training", "step": step, "steps": steps, "seconds": time.perf_counter() - start})

    return on_step


def score_networks(network: Network, networks: Sequence[Params], images: np.ndarray, multilabel: bool) -> Tensor:
    """Probabilities, float32 (networks, N, K), of network input (N, C, H, W) as an array."""
    x = torch.from_numpy(images)
    return torch.stack([probabilities(predict(network, params, x), multilabel=multilabel) for params in networks])
