"""A shadow of an audit: what a site that holds just these records would send, and what the server makes of it.

The attacker is the server, or whoever gets hold of a network that a site trained alone. It knows the method, its
settings, the other sites' Releases and the recipe that networks are trained by. It does not know which records the site
holds, nor the site's seed, which a deployed site keeps secret. So it distils sets of records of its own choice, each
from a fresh seed (or from the site's, where that is known), and trains global networks on each pool, all from the same
seeds, for those are its own to choose. What it reads off a shadow are its signals: the Release's images, how near they
come to each record, and how sure the networks are of the record and of moved copies of it (Carlini et al., S&P 2022,
arXiv 2112.03570; Zarifzadeh et al., ICML 2024, arXiv 2312.03262).

Where sites send networks round after round, a shadow is all rounds of that: see
`fedistill.schemes.rounds_shadow`.

It is granted two things that a real server would have to guess: records that are the site's own, and the validation
images by which the site's method stops. The population that RMIA needs is the official test split, which the server has
and no shadow holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

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

VERSION = 2
"""Raised when equal settings give other signals; part of their key in the store."""

MOVES = ((0, 0, True), (2, 0, False), (-2, 0, False), (0, 2, False), (0, -2, False))
"""The moved copies of a record that networks are asked about beside itself: rows, columns, and whether flipped."""

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
        queries: float64 (A, Q, N), of several labels (A, Q, N, L): as ``confidence``, of the copies of `MOVES`.
        received: as ``confidence``, of the network from which the site trained each of its own; None outside of rounds.
        images, labels: the Release, float32 (M, C, H, W) and int64 (M,) or float32 (M, L), where its images are
            synthetic: real ones are found by their distance, and are not copied into a store.
    """

    distance: Mapping[str, np.ndarray]
    absent: np.ndarray
    confidence: np.ndarray
    probability: np.ndarray
    population: np.ndarray
    queries: np.ndarray | None = None
    received: np.ndarray | None = None
    images: np.ndarray | None = None
    labels: np.ndarray | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a store keeps."""
        named = {f"distance.{space}": value for space, value in self.distance.items()}
        named |= {each.name: getattr(self, each.name) for each in fields(self) if each.name != "distance"}
        return {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in named.items() if v is not None}

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
    *,
    received: Sequence[Params] = (),
    real: bool = False,
) -> Signals:
    """Return what shows of each record in a Release, where there is one, and in the networks.

    Args:
        release: the site's, as decoded; None where it sends no images.
        networks: those that the server has.
        network: their shape.
        records: under attack.
        population: images that no shadow holds.
        received: the network from which the site trained each of ``networks``; empty outside of rounds.
        real: whether the Release's images are real ones.

    Raises:
        RunError: a network that diverged: it tells nothing.
    """
    x, y, z, z_labels = records.pixels(), records.targets(), population.pixels(), population.targets()
    logits = [predict(network, params, x) for params in networks]
    others = [predict(network, params, z) for params in networks]
    if not all(torch.isfinite(each).all() for each in (*logits, *others)):
        raise RunError("A shadow's network diverged: it tells nothing.", expected="finite logits", found="NaN")
    kept = None if release is None or real else release
    moved = [moved_copy(x, *move) for move in MOVES]
    by_space = {} if release is None else {space: distances([release], records, space=space) for space in SPACES}
    return Signals(
        distance={str(space): near[0] for space, (near, _) in by_space.items()},
        absent=by_space["pixels"][1][0] if by_space else np.ones(len(records), bool),
        confidence=np.stack([logit_confidence(each, y) for each in logits]),
        probability=np.stack([true_probability(each, y) for each in logits]),
        population=np.stack([true_probability(each, z_labels) for each in others]),
        queries=np.stack(
            [np.stack([logit_confidence(predict(network, p, each), y) for each in moved]) for p in networks]
        ),
        received=np.stack([logit_confidence(predict(network, p, x), y) for p in received]) if received else None,
        images=None if kept is None else kept.images.cpu().numpy(),
        labels=None if kept is None else kept.labels.cpu().numpy(),
    )


def moved_copy(images: Tensor, rows: int, columns: int, flipped: bool) -> Tensor:
    """Return images (N, C, H, W) moved down and to the right, and flipped if so wanted; mid-grey comes into view.

    >>> moved_copy(torch.ones(1, 1, 2, 2), 1, 0, False).tolist()
    [[[[0.0, 0.0], [1.0, 1.0]]]]
    """
    height, width = images.shape[-2:]
    moved = torch.zeros_like(images)
    moved[..., max(rows, 0) : height + min(rows, 0), max(columns, 0) : width + min(columns, 0)] = images[
        ..., max(-rows, 0) : height + min(-rows, 0), max(-columns, 0) : width + min(-columns, 0)
    ]
    return moved.flip(-1) if flipped else moved
