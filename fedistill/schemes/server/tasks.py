"""The server's own work: train networks on a pool, and score them on the official test split.

They are module-level functions of plain values, because they run on Ray's workers.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fedistill.core.events import Event, OnEvent
from fedistill.core.precision import of_training
from fedistill.models import Network, Params
from fedistill.schemes.server.cross_validation import Pilot
from fedistill.training.device import device_for
from fedistill.training.ensemble import fit_ensemble
from fedistill.training.fit import fit, predict, probabilities
from fedistill.training.recipe import Recipe
from fedistill.transport.backend.events import emitter

TrainedOn = tuple[Tensor, Tensor]


def train_networks(
    name: str,
    network: Network,
    data: TrainedOn,
    recipe: Recipe,
    seeds: Sequence[int],
    mirror: bool,
    gpus: float,
    soft: bool = False,
) -> tuple[list[Params], float]:
    """Train one network for each seed, together; return their parameters on the CPU, and the seconds of all.

    ``data`` are images and labels for `fedistill.training.ensemble.fit_ensemble`; ``soft``, whether labels are soft.
    """
    on_event = emitter(name)
    start = time.perf_counter()
    device = device_for(gpus)
    images, labels = (part.to(device) for part in data)
    on_step = _reporting(on_event, start)
    precision = of_training(device.type)
    trained = fit_ensemble(
        network, images, labels, recipe, seeds=seeds, mirror=mirror, precision=precision, soft=soft, on_step=on_step
    )
    on_cpu = [tuple(p.cpu() for p in params) for params in trained]
    return on_cpu, time.perf_counter() - start


def cross_validate(
    name: str, network: Network, pilots: Sequence[Pilot], recipe: Recipe, mirror: bool, gpus: float
) -> tuple[list[Tensor], float]:
    """Train each pilot on all folds but one and score that one, fold after fold.

    Returns:
        The probabilities of the images set aside, float32 (n, K) for each pilot and fold; and the seconds it took.
    """
    on_event, start, device = emitter(name), time.perf_counter(), device_for(gpus)
    scores: list[Tensor] = []
    work = [(pilot, fold) for pilot in pilots for fold in pilot.folds]
    for done, (pilot, fold) in enumerate(work):
        soft = pilot.soft is not None
        targets = pilot.labels if pilot.soft is None else pilot.soft
        x, y = pilot.images[fold.train].to(device), targets[fold.train].to(device)
        precision = of_training(device.type)
        params = fit(network, x, y, recipe, seed=pilot.seed, mirror=mirror, precision=precision, soft=soft)
        logits = predict(network, params, pilot.images[fold.aside]).cpu()
        scores.append(probabilities(logits, multilabel=pilot.labels.ndim == 2))
        seconds = time.perf_counter() - start
        on_event(Event("cross-validation", step=done + 1, steps=len(work), seconds=seconds))
    return scores, time.perf_counter() - start


def _reporting(on_event: OnEvent, start: float) -> Callable[[int, int], None]:
    def on_step(step: int, steps: int) -> None:
        on_event(Event("training", step=step, steps=steps, seconds=time.perf_counter() - start))

    return on_step


def score_networks(
    network: Network, networks: Sequence[Params], images: np.ndarray, multilabel: bool, gpus: float
) -> Tensor:
    """Return probabilities, float32 (networks, N, K), for network input float32 (N, C, H, W)."""
    device, x = device_for(gpus), torch.from_numpy(images)
    placed = [tuple(p.to(device) for p in params) for params in networks]
    return torch.stack([probabilities(predict(network, params, x), multilabel=multilabel) for params in placed])
