"""TDM, distribution matching under trained networks.

As in DM (Zhao & Bilen, WACV 2023, arXiv 2110.04181) the mean embedding of synthetic images is brought to that of real
ones. What is added, each from work that showed its worth:

- networks trained on the site's images, at weights between their first and their last, and cross-entropy under the
  trained ones, which keeps an image in its class (DANCE, arXiv 2406.01063; IDM, Zhao et al., CVPR 2023);
- maps of every block, not the last embedding alone (as in DataDAM, Sajedi et al., ICCV 2023, arXiv 2310.00093);
- clusters of a class, each with images of its own (see `fedistill.methods.engine.clusters`), and where several images
  share a cluster its deviations beside its mean, so that they do not all become that mean.

The real images' side does not change while the synthetic images move. So it is worked out once for each of a few dozen
*views* (a network, its weights, an augmentation, a draw of real images), and an iteration costs synthetic images alone.

With a guide (`fedistill.methods.engine.guide`) its network is one more to match under, at the weights it came with, and
the real images that it gets wrong are drawn more often. The cross-entropy stays the site's own networks': under the
guide it would make of every image one that the guide knows already.
"""

import math
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.events import Event
from fedistill.core.ranges import QUIET, Count, NonNegativeFloat, PositiveFloat, Range
from fedistill.methods.engine.adam import adam
from fedistill.methods.engine.clusters import ClusterSettings
from fedistill.methods.engine.guide import drawn
from fedistill.methods.engine.loop import Advance, State, SteadySettings, steadily
from fedistill.methods.engine.method import SyntheticSet, Task
from fedistill.methods.engine.start import PackSettings, Start, StartFrom, start
from fedistill.methods.engine.trained import TrainedNetwork, TrainedSettings, trained_networks
from fedistill.models import Network, Params, objective
from fedistill.training import augment
from fedistill.training.augment import Draw
from fedistill.training.packing import repeated, shown

VERSION = 1

POOLED = 4  # pixels a side of a block's map before it is matched
BATCH = 256  # real images in a network at one time
SHARES = 4  # weights of a network that views take, evenly between its first (left out) and its last
AXES = 64  # that clusters are cut along
BETAS = 0.9, 0.99  # of Adam on the images
EPS = 1e-8  # keeps the root of a variance of 0 differentiable


@dataclass(frozen=True)
class TDMSettings(PackSettings, ClusterSettings, TrainedSettings, SteadySettings):
    """Settings of TDM; beside them those of `SteadySettings`, `TrainedSettings`, `ClusterSettings` and `PackSettings`.

    Args:
        iterations: steps on the images, one view each.
        views: a network, a share of its training, an augmentation and a draw of real images each; the first of a
            share sees images as they are.
        batch_real: real images of a cluster in a view's mean, at most.
        lr_img: step size of Adam on the images, falling to 0 as half a cosine.
        start: one of `fedistill.methods.engine.start.STARTS`; ``real`` gives patients' images away.
        noise: standard deviation of the noise that images start from, in pixels of -1..1.
        deviations: weight of the features' standard deviations beside their means, where images share a cluster.
        calibration: weight of the cross-entropy under trained networks.
        batch_syn: synthetic images of a cluster that a step draws and moves, at most; None: all. At fifty images a
            class ten of each cluster take a fourth of the time.
    """

    iterations: Count = 600
    views: Count = 48
    batch_real: Count = 64
    lr_img: PositiveFloat = 0.05
    start: StartFrom = "noise"
    noise: NonNegativeFloat = 0.3
    deviations: NonNegativeFloat = 1.0
    calibration: NonNegativeFloat = 0.1
    clusters: Count = 2
    smallest_cluster: Annotated[int, Range(ge=2)] = 96
    batch_syn: Annotated[Count | None, QUIET] = None


@dataclass(frozen=True)
class Group:
    """A cluster of a class and its synthetic images.

    Args:
        real: positions of the real images.
        made: its synthetic images.
    """

    real: Tensor
    made: slice


@dataclass(frozen=True, eq=False)
class View:
    """The real images as seen from one side: their groups' moments under one network and one augmentation.

    Args:
        params: the network's weights.
        draw: the augmentation that all images take; None for none.
        means, deviations: of each group's features, (G, D) for each depth.
        variance: of all groups' real features, summed over D, for each depth: what distances are measured in.
    """

    params: Params
    draw: Draw | None
    means: list[Tensor]
    deviations: list[Tensor]
    variance: list[Tensor]


def tdm(task: Task, settings: TDMSettings) -> SyntheticSet:
    """Return images whose features under trained networks are the real ones' in mean, cluster by cluster.

    Raises:
        RunError: the images do not stay finite numbers.
    """
    size, mirror = task.images.size, task.images.mirror
    net, trained, real = task.network(), trained_networks(task, settings), task.images.pixels()
    guide = task.guide
    matched_under = trained if guide is None else [*trained, TrainedNetwork(guide.params, guide.params)]
    first = start(
        task,
        settings.start,
        seeds.generator(task.seed, "tdm", task.budget, "start"),
        settings,
        lambda: embeddings(net, trained[0].last, real),
        pack=settings.pack,
    )
    images, labels = first.images.to(task.device), first.labels.to(task.device)
    groups = merged(first)
    if settings.start == "noise":
        images = images * settings.noise
    seen: dict[int, View] = {}

    def view(number: int) -> View:
        if number not in seen:  # by its number, so that a resumed run meets the same one
            task.on_event(Event("distilling", method="tdm", ipc=task.ipc))  # a sign of life
            generator = seeds.generator(task.seed, "tdm", task.budget, "view", number)
            draw = augment.draw(generator, 1, size=size, mirror=mirror, shared=True)
            share = number // len(matched_under)
            params = matched_under[number % len(matched_under)].between((share % SHARES + 1) / SHARES)
            seen[number] = view_of(
                net,
                tuple(p.to(task.dtype) for p in params),
                real,
                [drawn(g.real, settings.batch_real, generator, guide) for g in groups],
                draw if share >= SHARES else None,
            )
        return seen[number]

    def advance(state: State, pace: float, generator: torch.Generator) -> Advance:
        at = view(int(torch.randint(settings.views, (1,), generator=generator)))
        judge = trained[int(torch.randint(len(trained), (1,), generator=generator))]
        chosen, parts = some_of_each(groups, settings.batch_syn, generator)
        x = state.images[chosen].requires_grad_()
        synthetic = shown(x, settings.pack)
        away = distance(net, at, synthetic, unpacked(parts, settings.pack), settings.deviations)
        total = away
        if settings.calibration:
            draw = augment.draw(generator, len(synthetic), size=size, mirror=mirror)
            wrong = _cross_entropy(
                net, judge, augment.apply(synthetic, draw), repeated(labels[chosen], settings.pack), task
            )
            total = away + settings.calibration * wrong
        [of_chosen] = torch.autograd.grad(total, x)
        gradient = torch.zeros_like(state.images).index_copy_(0, chosen, of_chosen)
        done = state.numbers.get("steps", 0.0)
        lr = pace * settings.lr_img * (1 + math.cos(math.pi * done / settings.iterations)) / 2
        moved = adam(state, gradient, lr, betas=BETAS)
        return Advance(moved, float(total.detach()), f"distance {float(away.detach()):.3g}")

    begun = State(images, torch.zeros((2, *images.shape), device=images.device))
    return steadily(task, "tdm", settings, labels, begun, advance, pack=settings.pack)


def merged(first: Start) -> list[Group]:
    """Return each cluster once, with all its images: a class too small for so many lists its clusters several times."""
    groups = []
    for _, same in groupby(zip(first.held, first.groups, strict=True), key=lambda each: id(each[0])):
        listed = list(same)
        groups.append(Group(listed[0][0], slice(listed[0][1].start, listed[-1][1].stop)))
    return groups


def some_of_each(groups: list[Group], most: int | None, generator: torch.Generator) -> tuple[Tensor, list[Group]]:
    """Draw at most so many synthetic images of each group, or take all: their positions, and the groups among these."""
    positions, parts, end = [], [], 0
    for group in groups:
        n = group.made.stop - group.made.start
        drawn = (
            torch.arange(n)
            if most is None or n <= most
            else torch.randperm(n, generator=generator)[:most].sort().values
        )
        positions.append(group.made.start + drawn)
        parts.append(Group(group.real, slice(end, end + len(drawn))))
        end += len(drawn)
    return torch.cat(positions), parts


def unpacked(groups: list[Group], pack: int) -> list[Group]:
    """Return the groups of the images that networks are shown, pack x pack for each packed one."""
    each = pack * pack
    return [Group(group.real, slice(group.made.start * each, group.made.stop * each)) for group in groups]


def view_of(net: Network, params: Params, real: Tensor, drawn: list[Tensor], draw: Draw | None) -> View:
    """Look at the real images once.

    Args:
        net: the network that is looked through.
        params: its weights; their type is what is computed in.
        real: all real images (N, C, H, W).
        drawn: positions of each group's, those to be looked at.
        draw: the augmentation that they take.
    """
    at = torch.cat(drawn)
    with torch.no_grad():
        parts = []
        for some in at.split(BATCH):
            x = real[some].to(params[0].device)
            parts.append(features(net, params, x if draw is None else augment.apply(x, draw)))
    depths = [torch.cat(depth) for depth in zip(*parts, strict=True)]
    ends = torch.tensor([0, *map(len, drawn)]).cumsum(0).tolist()
    groups = [slice(begin, end) for begin, end in pairwise(ends)]
    means, deviations = zip(*(moments(depth, groups) for depth in depths), strict=True)
    variance = [depth.var(0, correction=0).sum() + EPS for depth in depths]
    return View(params, draw, list(means), list(deviations), variance)


def embeddings(net: Network, params: Params, real: Tensor) -> Tensor:
    """Return the embeddings of all real images along their principal axes, float64 (N, `AXES`) at most."""
    with torch.no_grad():
        rows = torch.cat([net.embed(params, some.to(params[0].device)).cpu() for some in real.split(BATCH)]).double()
    rows = rows - rows.mean(0)
    return rows @ torch.linalg.eigh(rows.T @ rows).eigenvectors[:, -AXES:]


def features(net: Network, params: Params, x: Tensor) -> list[Tensor]:
    """Return what is matched at each depth, (N, D) in the type of `x`: maps pooled to 4 x 4, the embedding whole."""
    maps = net.maps(params, x.to(params[0].dtype))
    pooled = [m if m.ndim == 2 or m.shape[-1] <= POOLED else F.adaptive_avg_pool2d(m, POOLED) for m in maps]
    return [m.flatten(1).to(x.dtype) for m in pooled]


def moments(rows: Tensor, groups: list[slice]) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each group's rows, (N, D) to (G, D) each."""
    parts = [rows[group] for group in groups]
    means = torch.stack([part.mean(0) for part in parts])
    # The root of zero has no slope.
    variances = torch.stack([part.var(0, correction=0) for part in parts])
    return means, (variances + EPS).sqrt()


def distance(net: Network, view: View, x: Tensor, groups: list[Group], deviations: float) -> Tensor:
    """Return how far synthetic images (N, C, H, W) are from the real ones in a view, ().

    For each depth: squared distances of group means, and of standard deviations where a group has several images, as a
    share of the real features' whole variance; summed over depths, averaged over groups.
    """
    seen = x if view.draw is None else augment.apply(x, view.draw)
    several = [g.made.stop - g.made.start > 1 for g in groups]
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for rows, means, spreads, variance in zip(
        features(net, view.params, seen), view.means, view.deviations, view.variance, strict=True
    ):
        mean, spread = moments(rows, [g.made for g in groups])
        total = total + (mean - means).square().sum() / variance
        if deviations and any(several):
            total = total + deviations * (spread - spreads)[several].square().sum() / variance
    return total / len(groups)


def _cross_entropy(net: Network, judge: TrainedNetwork, x: Tensor, labels: Tensor, task: Task) -> Tensor:
    params = tuple(p.to(task.dtype) for p in judge.last)
    return objective(net(params, x.to(task.dtype)).to(x.dtype), labels)
