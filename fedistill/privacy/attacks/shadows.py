"""One shadow of an audit: what a site that holds just these records would send, and what the server makes of it.

The attacker is the server, or whoever gets hold of a network that a site trained alone. It knows the method, its
settings, the other sites' Releases and the recipe that networks are trained by; it does not know the site's seed, nor
which records the site holds. So it distils sets of records of its own choice, each from a fresh seed, and trains global
networks on each pool, all from the same seeds, for those are its own to choose. What it reads off a shadow are its
signals: how near the Release comes to each record, and how sure the networks are of it (Carlini et al., S&P 2022, arXiv
2112.03570; Zarifzadeh et al., ICML 2024, arXiv 2312.03262).

Where sites send networks round after round, a shadow is all rounds of that: see
`fedistill.schemes.rounds`.

It is granted two things that a real server would have to guess: records that are the site's own, and the validation
images by which the site's method stops. The population that RMIA needs is the official test split, which the server has
and no shadow holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedistill.data.imageset import ImageSet
from fedistill.errors import RunError
from fedistill.methods.engine.method import SyntheticSet
from fedistill.models import Network, Params
from fedistill.privacy.attacks.lira import logit_confidence
from fedistill.privacy.attacks.nearest import Space
from fedistill.privacy.attacks.nn_attack import distances
from fedistill.privacy.attacks.rmia import true_probability
from fedistill.privacy.attacks.shadow_design import Design
from fedistill.training.fit import predict

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


def signals(
    release: SyntheticSet | None,
    networks: list[Params],
    network: Network,
    records: ImageSet,
    population: ImageSet,
) -> Signals:
    """Return what shows of each record in a Release, where there is one, and in the networks.

    Raises:
        RunError: a network that diverged: it tells nothing.
    """
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
