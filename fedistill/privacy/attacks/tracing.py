"""Tracing: was a record in, judged by which way the mean of its class's synthetic images leans?

Methods without noise match class means, and means can be traced (Homer et al., PLoS Genetics 2008; Dwork et al.,
*Robust Traceability from Trace Amounts*, FOCS 2015): a class's mean leans towards each record it was computed from. The
attack takes the mean of a Release's images of the record's class, less its mean over reference shadows, and projects it
on the record's own deviation from its class. It does so in several spaces: pixels, embeddings of random networks (what
distribution matching compares) and of networks trained on the population (what methods with early networks compare).

In each space the attack goes along the principal axes of the class. References tell how much of the members' mean
arrives in a Release along an axis (the gain: a regression) and how much else moves it (the variance that is left). Both
are smoothed over neighbouring axes, because a few dozen shadows say little about one. An axis counts with gain over
variance: the weight of the most powerful linear test of a normal mean.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.core.seeds import generator, spawn
from fedistill.data.imageset import ImageSet
from fedistill.models import Network, Params, build
from fedistill.privacy.attacks.shadow_design import Design
from fedistill.training.fit import fit
from fedistill.training.recipe import Recipe

KINDS = ("pixels", "features", "trained", "mirrored")
"""Kinds of spaces; the spaces of one kind make one attack. ``trained`` takes a population, ``mirrored`` a set whose
images may be flipped."""

RANDOM = {32: 4, 64: 4}
"""Random networks by width, and how many of each."""

TRAINED = 2
TRAINING = Recipe("embedding", lr=0.01, steps=60, batch=64)
TRAINED_WIDTH = 32

MIRRORED = 2
"""Networks of a kind whose embeddings are also averaged over an image and its flip."""

AXES = 512
"""Most principal axes of a class; the rest hold next to nothing."""

SMOOTH = 15
"""Neighbouring axes over which gain and variance are averaged."""

LARGEST = 64
"""Side in pixels to which larger images are reduced for the space of pixels."""

_BATCH = 256
_LEAST = 1e-6  # singular values below this share of the largest are rounding
_TINY = 1e-12

Embed = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Axes:
    """A class in one space, in the coordinates of the class's principal axes.

    Args:
        records: int64 (n,), positions of the records of the class.
        deviations: float64 (n, k), the records' deviations from the class's mean.
        means: float64 (S, k), each Release's class mean less that of the class; NaN where a Release lacks the class.
    """

    records: np.ndarray
    deviations: np.ndarray
    means: np.ndarray


Traces = Mapping[str, Sequence[Axes]]
"""By the name of a space, ``KIND`` or ``KIND-...``, its classes."""


@dataclass(frozen=True, eq=False)
class _Basis:
    """A class in a space before any Release is known: its centre (D,) and a map to coordinates (D, k)."""

    label: int
    records: np.ndarray
    deviations: np.ndarray
    centre: Tensor
    axes: Tensor


class Tracer:
    """The spaces of an attack, with the records in them; the same for everything that is made of these records.

    Args:
        records: under attack, with the labels that members have.
        population: images of the same kind that no shadow holds. Networks are trained on them, and the axes of a class
            are theirs and the records'. None: unknown to the attacker, who then uses random networks and the records.
        seed: of the networks.
    """

    def __init__(self, records: ImageSet, population: ImageSet | None, *, seed: int) -> None:
        self.count = len(records)
        self.multilabel = records.multilabel
        self._spaces: dict[str, Embed] = dict(_spaces(records, population, seed))
        known = [records] if population is None or not len(population) else [records, population]
        images = [each.pixels() for each in known]
        labels = [torch.zeros(len(each), dtype=torch.int64) if self.multilabel else each.targets() for each in known]
        self._bases = {
            name: [_basis(int(c), [embed(x) for x in images], labels) for c in labels[0].unique()]
            for name, embed in self._spaces.items()
        }

    def traces(self, releases: Sequence[tuple[Tensor, Tensor]]) -> Traces:
        """Return what Releases show.

        Args:
            releases: of each shadow its images, float32 (M, C, H, W), and labels, int64 (M,) or float32 (M, L); all
                images of a multi-label set count as one class.
        """
        traced: dict[str, list[Axes]] = {}
        for name, embed in self._spaces.items():
            points = [embed(images) for images, _ in releases]
            traced[name] = []
            for basis in self._bases[name]:
                means = np.full((len(releases), basis.axes.shape[1]), np.nan)
                for number, (point, (_, labels)) in enumerate(zip(points, releases, strict=True)):
                    of_class = point if self.multilabel else point[labels == basis.label]
                    if len(of_class):
                        means[number] = ((of_class.mean(0) - basis.centre) @ basis.axes).double().numpy()
                traced[name].append(Axes(basis.records, basis.deviations, means))
        return traced


def chosen_shadows(traces: Traces, chosen: np.ndarray) -> Traces:
    """Return the traces of some shadows, bool (S,)."""
    return {name: [replace(axes, means=axes.means[chosen]) for axes in classes] for name, classes in traces.items()}


def tracing(traces: Traces, kind: str, design: Design, *, half: bool = False) -> np.ndarray:
    """Compute tracing scores, float64 (S, N); high means member.

    The scores of the spaces of one kind are brought to standard deviation 1 and added. A Release without a record's
    class says that the record is no member: minus infinity.

    Args:
        traces: of `Tracer.traces`.
        kind: of `KINDS`.
        design: the members of each shadow.
        half: whether the attacker knows of half of the other records whether they are members.
    """
    total = np.zeros(design.membership.shape)
    for name, classes in traces.items():
        if name.partition("-")[0] != kind:
            continue
        scores = np.zeros_like(total)
        for axes in classes:
            scores[:, axes.records] = _of_class(axes, design, half=half)
        finite = scores[np.isfinite(scores)]
        spread = float(finite.std()) if len(finite) else 0.0
        total += scores / (spread or 1.0)
    return total


def _of_class(axes: Axes, design: Design, *, half: bool) -> np.ndarray:
    """Return the scores of one class's records in one space, float64 (S, n)."""
    inside = design.membership[:, axes.records]
    there = np.isfinite(axes.means).all(1)
    odd = np.unique(design.unit[axes.records], return_inverse=True)[1] % 2 == 1  # every other patient of the class
    scores = np.zeros(inside.shape)
    for first in range(0, design.shadows, 2):
        refs = design.references(first) & there
        if refs.sum() >= 4 and axes.means.shape[1]:
            for target in (first, first + 1):
                if there[target]:
                    scores[target] = _of_shadow(axes, inside, refs, target, odd if half else None)
    scores[~there] = -np.inf
    return scores


def _of_shadow(axes: Axes, inside: np.ndarray, refs: np.ndarray, target: int, odd: np.ndarray | None) -> np.ndarray:
    """Return one shadow's scores, (n,): with nobody known; or of the odd with the even known, and the other way."""
    if odd is None:
        return _project(axes, inside, refs, target, np.zeros(len(axes.records), bool))
    return np.where(odd, *(_project(axes, inside, refs, target, known) for known in (~odd, odd)))


def _project(axes: Axes, inside: np.ndarray, refs: np.ndarray, target: int, known: np.ndarray) -> np.ndarray:
    """Project a Release's class mean, less what is expected of it, on every record's deviation; (n,).

    Args:
        axes: the class.
        inside: bool (S, n), members.
        refs: bool (S,), the references.
        target: the shadow under attack.
        known: bool (n,), records of which the attacker knows in every shadow whether they are members.
    """
    held = np.maximum(inside.sum(1, keepdims=True), 1)
    whole = inside @ axes.deviations / held  # the members' mean, (S, k)
    certain = inside[:, known] @ axes.deviations[known] / held  # the known members' part of it
    mean, expected = axes.means[refs].mean(0), whole[refs].mean(0)
    away, members = axes.means[refs] - mean, whole[refs] - expected
    moved = _smoothed((members**2).sum(0))
    gain = _smoothed((away * members).sum(0)) / np.maximum(moved, _TINY)
    left = _smoothed(((away - gain * members) ** 2).sum(0) / max(int(refs.sum()) - 2, 1))
    # What the members who are not known still move.
    unknown = whole[refs] - certain[refs]
    other = _smoothed(unknown.var(0))
    weight = np.maximum(gain, 0.0) / np.maximum(gain**2 * other + left, _TINY)
    seen = axes.means[target] - mean - gain * (certain[target] - certain[refs].mean(0))
    return np.asarray((seen * weight) @ axes.deviations.T)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return the mean of each value (k,) and its neighbours; the ends count for what lies beyond them."""
    reach = SMOOTH // 2
    return np.convolve(np.pad(values, reach, mode="edge"), np.full(SMOOTH, 1 / SMOOTH), "valid")


def _basis(label: int, points: Sequence[Tensor], labels: Sequence[Tensor]) -> _Basis:
    """Return the principal axes of a class: of its records and of the population's images of it together."""
    records = torch.nonzero(labels[0] == label).flatten()
    known = torch.cat([point[at == label] for point, at in zip(points, labels, strict=True)]).double()
    centre = known.mean(0)
    _, spread, axes = torch.linalg.svd(known - centre, full_matrices=False)
    kept = min(int((spread > _LEAST * spread[:1].clamp_min(_TINY)).sum()), AXES)
    axes = axes[:kept].T.contiguous()
    deviations = (points[0][records].double() - centre) @ axes
    return _Basis(label, records.numpy(), deviations.numpy(), centre, axes)


def _spaces(records: ImageSet, population: ImageSet | None, seed: int) -> list[tuple[str, Embed]]:
    """Return the spaces by name.

    Images as they are tell most: a method's steps keep an image's side, even where it flips on the way. Averages of an
    image and its flip tell the rest, where a flip keeps labels true.
    """
    shape = {"channels": records.channels, "classes": records.n_classes, "size": records.size}
    spaces: list[tuple[str, Embed]] = [("pixels", _flat)]
    mirrored: list[Embed] = [_flat]
    for width, count in RANDOM.items():
        network = build("convnet", width=width, **shape)
        embeds = [
            _embedding(network, network.init(generator(seed, "tracing", width, number))) for number in range(count)
        ]
        spaces += [(f"features-{width}-{number}", embed) for number, embed in enumerate(embeds)]
        mirrored += embeds[:MIRRORED]
    if population is not None and len(population):
        network, x, y = build("convnet", width=TRAINED_WIDTH, **shape), population.pixels(), population.targets()
        for number in range(TRAINED):
            named = spawn(seed, "tracing", "trained", number)
            params = fit(network, x, y, TRAINING, seed=named, mirror=records.mirror)
            spaces.append((f"trained-{number}", _embedding(network, params)))
        mirrored += [embed for name, embed in spaces if name.startswith("trained")][:MIRRORED]
    if records.mirror:
        spaces += [(f"mirrored-{number}", _both_ways(embed)) for number, embed in enumerate(mirrored)]
    return spaces


def _both_ways(embed: Embed) -> Embed:
    return lambda x: (embed(x) + embed(x.flip(-1))) / 2


def _flat(x: Tensor) -> Tensor:
    """Return the pixels of images, (N, D); of large ones, of a reduced copy."""
    small = x if x.shape[-1] <= LARGEST else F.adaptive_avg_pool2d(x, LARGEST)
    return small.flatten(1).double()


def _embedding(network: Network, params: Params) -> Embed:
    def embed(x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([network.embed(params, part) for part in x.split(_BATCH)]).double()

    return embed
