"""One shadow of an audit: what a site that holds just these records would send, and what the server makes of it.

The attacker is the server, or whoever gets hold of a network that a site trained alone. It knows the method, its
settings, the other sites' Releases and the recipe that networks are trained by; it does not know the site's seed, nor
which records the site holds. So it distils sets of records of its own choice, each from a fresh seed, and trains global
networks on each pool, all from the same seeds, for those are its own to choose. What it reads off a shadow are its
signals: how near the Release comes to each record, and how sure the networks are of it (Carlini et al., S&P 2022, arXiv
2112.03570; Zarifzadeh et al., ICML 2024, arXiv 2312.03262).

Where sites send networks round after round, a shadow is all rounds of that: see
`fedistill.privacy.attacks.shadow_rounds`.

It is granted two things that a real server would have to guess: records that are the site's own, and the validation
images by which the site's method stops. The population that RMIA needs is the official test split, which the server has
and no shadow holds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedistill.core.seeds import spawn
from fedistill.data.imageset import ImageSet
from fedistill.errors import RunError
from fedistill.methods.engine.method import SyntheticSet, Task
from fedistill.methods.registry import method_named
from fedistill.models import Network, Params
from fedistill.privacy.attacks.lira import logit_confidence
from fedistill.privacy.attacks.nearest import Space
from fedistill.privacy.attacks.nn_attack import distances
from fedistill.privacy.attacks.rmia import true_probability
from fedistill.privacy.attacks.shadow_design import Design
from fedistill.privacy.attacks.shadow_rounds import ShadowRounds, sent
from fedistill.release.release import pack, unpack
from fedistill.training.dpsgd import DPSGD, begin, fit_privately
from fedistill.training.ensemble import fit_ensemble
from fedistill.training.fit import predict
from fedistill.training.noise import source_for
from fedistill.training.recipe import Recipe

VERSION = 1
"""Raised when equal settings give other signals; part of their key in the store."""

SPACES: tuple[Space, ...] = ("pixels", "features")


@dataclass(frozen=True, eq=False)
class Halves:
    """The plain design: every record is attacked, and each shadow holds half of them; beside it stands `Canaries`."""

    design: Design

    def records(self, images: ImageSet) -> ImageSet:
        """Return the records that the attacks score: all."""
        return images

    def shadow(self, images: ImageSet, number: int) -> ImageSet:
        """Return the images that a shadow holds."""
        return images.take(np.flatnonzero(self.design.membership[number]))


@dataclass(frozen=True, eq=False)
class ShadowImages:
    """The specification of a shadow whose site shares images.

    Args:
        method, settings: how the site distils; encoding: what its synthetic images travel as.
        join: the pool from a Release's images and labels: (images, labels) of all sites together.
        network, recipe: how the server trains; seeds: of its networks; mirror: whether a flip keeps the labels true.
    """

    method: str
    settings: Any
    encoding: str
    join: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    network: Network
    recipe: Recipe
    seeds: tuple[int, ...]
    mirror: bool


@dataclass(frozen=True, eq=False)
class ShadowLocal:
    """The specification of a shadow whose site shares networks trained on its own images alone.

    Args:
        network, recipe, seeds, mirror: as of `ShadowImages`.
        private: settings of DP-SGD where the site trains by it; then in place of the recipe. Each network spends its
            epsilon anew.
    """

    network: Network
    recipe: Recipe
    seeds: tuple[int, ...]
    mirror: bool
    private: DPSGD | None = None


@dataclass(frozen=True, eq=False)
class Signals:
    """The signals that an attacker reads off one shadow: N records, A networks, Z records of the population.

    Args:
        distance: by space, float64 (N,), to the nearest released image of the record's label; empty without images.
        absent: bool (N,), where the Release has none of that label.
        confidence: float64 (A, N), of several labels (A, N, L): logit-scaled, of the record's label.
        probability: float64 (A, N), of the record's label; population: float64 (A, Z), likewise.
    """

    distance: Mapping[str, np.ndarray]
    absent: np.ndarray
    confidence: np.ndarray
    probability: np.ndarray
    population: np.ndarray

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a store keeps."""
        named = {f"distance.{space}": value for space, value in self.distance.items()}
        named |= {name: getattr(self, name) for name in ("absent", "confidence", "probability", "population")}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in named.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Signals":
        """Return the signals from `tensors`."""
        arrays = {name: value.numpy() for name, value in tensors.items()}
        distance = {name.removeprefix("distance."): arrays.pop(name) for name in list(arrays) if "distance." in name}
        return cls(distance, **arrays)


def shadow(
    task: Task, mechanism: ShadowImages | ShadowLocal | ShadowRounds, records: ImageSet, population: ImageSet
) -> Signals:
    """Compute the signals of one shadow.

    Distil the shadow's images and train networks on the pool they join, or train networks on the shadow's images, alone
    or in rounds with other sites; then read the signals off.

    Args:
        task: with the images the shadow holds, and a seed that is its own.
        mechanism: the specification of the shadow.
        records: those attacked, labelled as they are where they are held.
        population: images that no shadow holds.

    Raises:
        RunError: a network that diverged; ReleaseError: images that are no numbers. Either tells nothing.
    """
    if isinstance(mechanism, ShadowLocal):
        return signals(None, trained_alone(task, mechanism), mechanism.network, records, population)
    if isinstance(mechanism, ShadowRounds):
        return signals(None, sent(task, mechanism), mechanism.network, records, population)
    release = released(task, mechanism)
    networks = trained(task, mechanism, release)
    return signals(release, networks, mechanism.network, records, population)


def released(task: Task, mechanism: ShadowImages) -> SyntheticSet:
    """Return the images that the site would send, as the server decodes them from the wire."""
    method = method_named(mechanism.method)
    synthetic = method.run(task, mechanism.settings)
    return unpack(pack(synthetic, real=method.real, encoding=mechanism.encoding), task.ipc)


def trained(task: Task, mechanism: ShadowImages, release: SyntheticSet) -> list[Params]:
    """Train global networks on the pool with this Release; return them on the CPU."""
    return _fitted(task, mechanism, *mechanism.join(release.images, release.labels))


def trained_alone(task: Task, mechanism: ShadowLocal) -> list[Params]:
    """Train networks on the shadow's images; return them on the CPU."""
    private = mechanism.private
    if private is None:
        return _fitted(task, mechanism, task.images.pixels(), task.images.targets())

    def on_step(step: int, steps: int, ratio: float) -> None:
        task.on_event({"stage": "training", "step": step, "steps": steps})

    sigma = private.mechanism().sigma
    networks = []
    for number, seed in enumerate(mechanism.seeds):
        noise = source_for("seeded", spawn(task.seed, "noise", number), "dpsgd")  # as unknown to the attacker as any
        start, device = begin(mechanism.network, seed), torch.device(task.device)
        params = fit_privately(
            mechanism.network,
            task.images,
            private,
            sigma=sigma,
            source=noise,
            start=start,
            device=device,
            on_step=on_step,
        )
        networks.append(tuple(p.cpu() for p in params))
    return networks


def _fitted(task: Task, mechanism: ShadowImages | ShadowLocal, images: Tensor, labels: Tensor) -> list[Params]:
    def on_step(step: int, steps: int) -> None:
        task.on_event({"stage": "training", "step": step, "steps": steps})

    ensemble = fit_ensemble(
        mechanism.network,
        images.to(task.device),
        labels.to(task.device),
        mechanism.recipe,
        seeds=mechanism.seeds,
        mirror=mechanism.mirror,
        most=None if task.device != "cpu" else 1,  # on a processor networks take longer together
        on_step=on_step,
    )
    return [tuple(p.cpu() for p in params) for params in ensemble]


def signals(
    release: SyntheticSet | None,
    networks: list[Params],
    network: Network,
    records: ImageSet,
    population: ImageSet,
) -> Signals:
    """Compute the signals of each record from a Release and the networks of its pool."""
    x, y, z, z_labels = records.pixels(), records.targets(), population.pixels(), population.targets()
    logits = [predict(network, params, x) for params in networks]
    others = [predict(network, params, z) for params in networks]
    if not all(torch.isfinite(each).all() for each in (*logits, *others)):
        raise RunError("A shadow's network diverged: it tells nothing.", expected="finite logits", found="NaN")
    by_space = {} if release is None else {space: distances([release], records, space=space) for space in SPACES}
    return Signals(
        distance={str(space): near[0] for space, (near, _) in by_space.items()},
        absent=by_space["pixels"][1][0] if by_space else np.ones(len(records), bool),
        confidence=np.stack([logit_confidence(each, y) for each in logits]),
        probability=np.stack([true_probability(each, y) for each in logits]),
        population=np.stack([true_probability(each, z_labels) for each in others]),
    )
