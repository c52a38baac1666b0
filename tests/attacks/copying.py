"""Training images read out of Releases by who knows everything else: the strongest attacker there is, bar computing.

He is told the method, all settings, the seed (so starts, networks, batches, augmentations), the labels, and which image
is in which batch and cluster. He repeats the distillation with images of his own guess, and moves the guess until it
gives the Releases that he holds: Gauss-Newton steps on all pixels of all images at once, drawn to what public images of
the kind look like (mean and principal axes), each Release weighed by what its encoding loses. Releases are made by the
package's own methods; `Repeated` is the attacker's copy of them, which can be differentiated in the real images.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor
from torch.func import grad, jacrev

from fedistill.core import seeds
from fedistill.data.imageset import ImageSet
from fedistill.methods import METHODS, Task
from fedistill.methods.dm import mean_embedding
from fedistill.methods.engine.matching import distance, matched
from fedistill.methods.engine.sgd import unflatten
from fedistill.methods.engine.start import start
from fedistill.methods.experts import _endless, epoch_shape
from fedistill.methods.mtt import batches
from fedistill.models import Network, Params, objective
from fedistill.release.release import pack, unpack
from fedistill.training import augment

GREY = 127.5  # grey levels in one of the networks' -1..1
FLOAT32 = 1e-6  # what float32 loses of a pixel, and of the arithmetic before it


@dataclass(frozen=True)
class Question:
    """A Release that is asked for; settings are the asker's, but for these that make his work harder for nothing."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str = "mlp"
    width: int = 64
    ipc: int = 1
    seed: int = 0
    encoding: str = "float32"

    @property
    def all(self) -> dict[str, Any]:
        """The settings in full."""
        usual: dict[str, Any] = {"start": "noise", "momentum_img": 0.0, "iterations": 1}
        usual |= {
            "dm": {"augment": False},
            "mtt": {"experts": 1, "epochs": 2, "expert_epochs": 1, "max_start_epoch": 1, "syn_steps": 1}
            | {"lr_lr": 0.0, "augment": False},
        }.get(self.method, {"outer": 1, "inner": 0})
        return usual | dict(self.settings)

    def task(self, images: ImageSet) -> Task:
        """What the package is asked to do."""
        return Task(images, self.ipc, seed=self.seed, model=self.model, width=self.width)


def released(question: Question, images: ImageSet) -> tuple[Tensor, float]:
    """What the package answers: synthetic images (N, C, H, W), double, and what the encoding lost of a pixel."""
    method = METHODS[question.method]
    made = method.run(question.task(images), method.settings(**question.all))
    packed = pack(made, real=False, encoding=question.encoding)
    lost = float(packed.scale.max()) / math.sqrt(12) if question.encoding == "uint8" else FLOAT32
    return unpack(packed, question.ipc).images.double(), lost


class Repeated:
    """A question's distillation as a function of the real images: ``repeated(x)``, x double (N, C, H, W) in -1..1.

    Args:
        images: read for their labels, and for which cluster each belongs to; not for pixels.
    """

    def __init__(self, question: Question, images: ImageSet) -> None:
        self.question, task = question, question.task(images)
        self.settings = s = METHODS[question.method].settings(**question.all)
        self.net, self.y = task.network(), images.targets()
        self.view = {"size": images.size, "mirror": images.mirror}
        name, clusters = question.method, () if question.method == "mtt" else (s,)
        self.first = start(task, s.start, seeds.generator(task.seed, name, task.ipc, "start"), *clusters)
        steps = [seeds.generator(task.seed, name, task.ipc, "step", i, 0) for i in range(s.iterations)]
        if name == "mtt":
            self.experts = [self._expert(seeds.generator(task.seed, "mtt", "expert", i)) for i in range(s.experts)]
            self.plans = [self._segment(g, i / s.iterations) for i, g in enumerate(steps)]
        else:
            self.plans = [self._matching(g) for g in steps]

    def _matching(self, g: torch.Generator) -> tuple[Any, Any]:
        """The network of an iteration, and the batch and augmentation of each group."""
        name, s, held = self.question.method, self.settings, self.first.held
        params = tuple(p.double() for p in self.net.init(g))
        batch = lambda at: at[torch.randperm(len(at), generator=g)[: s.batch_real]]  # noqa: E731
        draw = lambda: augment.draw(g, 1, shared=True, **self.view)  # noqa: E731
        if name == "dm":
            return params, [(batch(at), draw() if s.augment else None) for at in held]
        draws = [draw() if name == "dsa" else None for _ in held]
        return params, [(batch(at), d) for at, d in zip(held, draws, strict=True)]

    def _expert(self, g: torch.Generator) -> tuple[Any, Any, int]:
        """Where an expert starts, batch and augmentation of each step, and the steps in an epoch."""
        s, params = self.settings, tuple(p.double() for p in self.net.init(g))
        steps, size = epoch_shape(len(self.y), s)
        order, taken = _endless(len(self.y), size, g), []
        for _ in range((s.max_start_epoch + s.expert_epochs - 1) * steps):
            at = next(order)
            taken.append((at, augment.draw(g, size, **self.view) if s.augment else None))
        return params, taken, steps

    def _segment(self, g: torch.Generator, done: float) -> tuple[int, int, Any, Any]:
        """Which expert an iteration follows, from which epoch, and batches and augmentations on the way."""
        s = self.settings
        which, epochs = int(torch.randint(s.experts, (1,), generator=g)), s.start_epochs(done)
        begun = epochs[int(torch.randint(len(epochs), (1,), generator=g))]
        parts = batches(len(self.first.images), s.batch_syn, s.syn_steps, g)
        draws = [augment.draw(g, len(b), **self.view) if s.augment else None for b in parts]
        return which, begun, parts, draws

    def __call__(self, x: Tensor) -> Tensor:
        s, made = self.settings, self.first.images.double()
        velocity = torch.zeros_like(made)
        paths = [self._path(x, *expert) for expert in self.experts] if self.question.method == "mtt" else []
        away = {"dm": self._embeddings, "mtt": self._ends}.get(self.question.method, self._gradients)
        for plan in self.plans:
            velocity = s.momentum_img * velocity + grad(away(x, plan, paths))(made)
            made = made - s.lr_img * velocity
        return made

    def _embeddings(self, x: Tensor, plan: Any, _: Any) -> Callable[[Tensor], Tensor]:
        params, pairs = plan
        wanted = [mean_embedding(self.net, params, seen(x[b], d)) for b, d in pairs]

        def away(made: Tensor) -> Tensor:
            found = [
                mean_embedding(self.net, params, seen(made[g], d)) - w
                for g, (_, d), w in zip(self.first.groups, pairs, wanted, strict=True)
            ]
            return torch.stack(found).square().sum()

        return away

    def _gradients(self, x: Tensor, plan: Any, _: Any) -> Callable[[Tensor], Tensor]:
        params, pairs = plan
        wanted = [matched(self._slope(params, seen(x[b], d), self.y[b])) for b, d in pairs]

        def away(made: Tensor) -> Tensor:
            parts = []
            for g, (_, d), w in zip(self.first.groups, pairs, wanted, strict=True):
                parts.append(distance(w, matched(self._slope(params, seen(made[g], d), self.first.labels[g]))))
            return torch.stack(parts).sum()

        return away

    def _slope(self, params: Any, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return grad(lambda p: objective(self.net(p, x), y))(params)

    def _path(self, x: Tensor, params: Any, taken: Any, epoch: int) -> list[Tensor]:
        """An expert's weights after each epoch."""
        found = [flat(params)]
        for i, (at, d) in enumerate(taken):
            params = self._stepped(params, seen(x[at], d), self.y[at])
            if (i + 1) % epoch == 0:
                found.append(flat(params))
        return found

    def _stepped(self, params: Any, x: Tensor, y: Tensor) -> Any:
        slope = self._slope(params, x, y)
        return tuple(p - self.settings.lr_teacher * g for p, g in zip(params, slope, strict=True))

    def _ends(self, _: Tensor, plan: Any, paths: Any) -> Callable[[Tensor], Tensor]:
        which, begun, parts, draws = plan
        first, last = paths[which][begun], paths[which][begun + self.settings.expert_epochs]
        shapes = self.net.init(torch.Generator())

        def away(made: Tensor) -> Tensor:
            params = unflatten(first, shapes)
            for b, d in zip(parts, draws, strict=True):
                params = self._stepped(params, seen(made[b], d), self.first.labels[b])
            return (flat(params) - last).square().sum() / (first - last).square().sum()

        return away


def seen(x: Tensor, draw: augment.Draw | None) -> Tensor:
    """Images as an augmentation shows them."""
    return x if draw is None else augment.apply(x, draw)


def flat(params: Sequence[Tensor]) -> Tensor:
    """Parameters as one vector, differentiably."""
    return torch.cat([p.flatten() for p in params])


@dataclass(frozen=True)
class Prior:
    """What public images of the kind look like: mean (P,) and principal axes, each as long as its spread (P, R)."""

    mean: Tensor
    axes: Tensor

    @classmethod
    def of(cls, pixels: Tensor, *, least: float = 1e-3) -> "Prior":
        """Of public images (N, C, H, W)."""
        flat = pixels.double().flatten(1)
        _, spread, axes = torch.linalg.svd(flat - flat.mean(0))
        full = torch.full((flat.shape[1],), least).double()
        full[: len(spread)] = (spread / math.sqrt(len(flat))).clamp_min(least)
        return cls(flat.mean(0), axes.T * full)


def guesses(
    forward: Callable[[Tensor], Tensor],
    told: Tensor,
    lost: Tensor,
    prior: Prior,
    shape: Sequence[int],
    *,
    seed: int = 0,
    steps: int = 3,
    coarsest: float = 0.1,
    finest: float = 1e-6,
    chunk: int | None = 256,
) -> list[Tensor]:
    """Images (N, C, H, W) that would have given what is told, one guess for each of several tolerances, coarse to fine.

    Args:
        forward: from images (N, C, H, W) to all numbers told (M,).
        told: them (M,); ``lost``: standard deviation of the error in each (M,).
        shape: of the images.
        steps: of Gauss-Newton at each tolerance; ``coarsest``, ``finest``: tolerances, of what the images changed most.
        chunk: numbers told whose slopes are taken at once, which bounds memory.
    """
    n = shape[0]
    generator = torch.Generator().manual_seed(seed)

    def images(z: Tensor) -> Tensor:
        return (prior.mean + z.view(n, -1) @ prior.axes.T).view(*shape)

    # Not quite the mean: where all images play one part, a step from equal guesses would move them all alike.
    z = 0.3 * torch.randn(n * prior.axes.shape[1], generator=generator).double()
    size = float((told - forward(images(torch.zeros_like(z)))).abs().max())
    slopes = jacrev(lambda z: forward(images(z)), chunk_size=chunk)
    found, tolerance = [], coarsest
    while True:
        error = (tolerance * size) + lost
        damping = 0.1

        def cost(z: Tensor, error: Tensor = error) -> tuple[float, Tensor]:
            away = (forward(images(z)) - told) / error
            return float(away.square().sum() + z.square().sum()), away

        value, away = cost(z)
        for _ in range(steps):
            jacobian = slopes(z).nan_to_num(0.0) / error[:, None]  # a norm has no slope at nought
            slope = jacobian.T @ away + z
            before = value
            for _ in range(8):
                tried = z - _solved(jacobian, slope, 1 + damping)
                new, there = cost(tried)
                if new < value:
                    z, value, away, damping = tried, new, there, max(damping / 10, 1e-6)
                    break
                damping *= 10
            if value > 0.98 * before:
                break
        found.append(images(z))
        if tolerance * size < float(lost.min()) or tolerance < 1.01 * finest:
            return found
        tolerance /= math.sqrt(10)


def _solved(jacobian: Tensor, slope: Tensor, damping: float) -> Tensor:
    """(J^T J + damping)^-1 slope, by the smaller of the two systems."""
    if jacobian.shape[0] >= jacobian.shape[1]:
        square = jacobian.T @ jacobian
        square.diagonal().add_(damping)
        return torch.cholesky_solve(slope[:, None], torch.linalg.cholesky(square))[:, 0]
    square = jacobian @ jacobian.T
    square.diagonal().add_(damping)
    inner = torch.cholesky_solve((jacobian @ slope)[:, None], torch.linalg.cholesky(square))[:, 0]
    return (slope - jacobian.T @ inner) / damping


def copied(
    questions: Sequence[Question], images: ImageSet, prior: Prior, *, supposed: int | None = None, **more: Any
) -> list[Tensor]:
    """`guesses` at all images of a site from the answers to these questions.

    Args:
        supposed: the seed he takes it to be, where he does not know it; where the images start he is told all the same,
            for two Releases that differ in their step size give it away.
    """
    told, lost, repeats = [], [], []
    for asked in questions:
        answer, error = released(asked, images)
        repeated = Repeated(asked, images)
        if supposed is not None:
            answer = answer - repeated.first.images
            repeated = Repeated(replace(asked, seed=supposed), images)
            answer = answer + repeated.first.images
        told.append(answer.flatten())
        lost.append(torch.full_like(told[-1], error))
        repeats.append(repeated)
    shape = (len(images), images.channels, images.size, images.size)
    forward = lambda x: torch.cat([r(x).flatten() for r in repeats])  # noqa: E731
    return guesses(forward, torch.cat(told), torch.cat(lost), prior, shape, **more)


def in_gradient(net: Network, params: Params, x: Tensor, y: Tensor) -> Tensor:
    """What each unit of an MLP's first layer has seen of a batch, by the batch's whole gradient (units, pixels).

    A unit's gradient is a sum of images, and its bias's the sum of the same weights: where one image alone activates
    the unit, their quotient is that image. No Release holds a whole gradient; this is the most that any could hold.
    """
    weight, bias = grad(lambda p: objective(net(p, x), y))(params)[:2]
    alive = bias.abs() > 1e-12
    rows = weight[alive] / bias[alive, None]
    return rows[rows.abs().amax(1) < 1.05]  # no image is beyond


@dataclass(frozen=True)
class Found:
    """How near guesses come to ``n`` images that were attacked, and to ``m`` that no Release was made of: chance.

    A guess comes near an image if it is nearer than every other real image is, and its mean absolute error at most half
    of what the mean of the class errs; it copies it if that is at most a third.

    Args:
        near, copies: how many of the images attacked are come near and copied.
        near_others, copies_others: the same of the others.
        error: the best guess's, in grey levels; share: that, of the mean's.
    """

    n: int
    near: int
    copies: int
    m: int
    near_others: int
    copies_others: int
    error: float
    share: float

    @property
    def copied(self) -> bool:
        """Whether more images are copied than chance would give once in a hundred times."""
        chance = (self.copies_others + 1) / (self.m + 2)
        return self.copies > 0 and binom.sf(self.copies - 1, self.n, chance) <= 0.01

    @property
    def ahead(self) -> tuple[float, float]:
        """Shares copied and come near, less those of others."""
        return (
            self.copies / self.n - self.copies_others / self.m,
            self.near / self.n - self.near_others / self.m,
        )

    def __str__(self) -> str:
        by = self.n / self.m
        return (
            f"copied {self.copies} of {self.n} ({by * self.copies_others:.1f} by chance), "
            f"near {self.near} ({by * self.near_others:.1f}), best {self.error:.1f} = {self.share:.2f} of the mean"
        )


def near(guess: Tensor, members: Tensor, others: Tensor) -> Found:
    """Hold guesses against images (N, C, H, W) of one class."""
    guess, members, others = (x.double().flatten(1) for x in (guess, members, others))
    every, n = torch.cat([members, others]), len(members)
    between = torch.cdist(every, every, p=1)
    between.fill_diagonal_(math.inf)
    mean = (every - every.mean(0)).abs().sum(1)
    error = torch.cdist(every, guess, p=1).amin(1)
    close, copy = (error < torch.minimum(between.amin(1), mean * part) for part in (1 / 2, 1 / 3))
    best = int((error / mean)[:n].argmin())
    return Found(
        n,
        int(close[:n].sum()),
        int(copy[:n].sum()),
        len(others),
        int(close[n:].sum()),
        int(copy[n:].sum()),
        float(error[best] / every.shape[1] * GREY),
        float(error[best] / mean[best]),
    )


def best(found: Sequence[Found]) -> Found:
    """The guess that the attacker would choose could he see the images."""
    return max(found, key=lambda f: (*f.ahead, -f.share))


def fields(n: int, *, size: int, seed: int, smooth: float = 1.5) -> np.ndarray:
    """Random smooth pictures around one mean, uint8 (n, size, size, 1): as alike as patients' images are."""
    rng = np.random.default_rng(seed)
    axis = np.fft.fftfreq(size)
    weigh = np.exp(-((axis[:, None] ** 2 + axis[None] ** 2) * (smooth * np.pi) ** 2))

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, size, size))) * weigh).real
        return field / field.std()

    mean = draw(np.random.default_rng(0), 1)
    return (100 + 35 * mean + 35 * draw(rng, n)).clip(0, 255).round().astype(np.uint8)[..., None]
