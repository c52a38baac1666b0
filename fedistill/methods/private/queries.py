"""Queries of the differentially private methods.

They ask the images a few questions, add noise to each answer, and never look at the images again.

Everything after the noise is post-processing: the images are fitted to the noisy answers by as many steps as one likes,
for any number of budgets, at no further cost (as Dosser, ICCV 2025, for distribution matching; PSG, Chen et al.,
NeurIPS 2022, arXiv 2211.04446, asks anew for every step). So the noise can be as small as a few questions allow.

Off, because they would look at images outside this bound: looks at validation images, choosing and stopping by them,
networks trained on the real images, images that start from real ones. Public: how many images the site holds, their
size, and the classes there are. Which of them the site holds is not: every answer counts each class's images, with
noise, and a class whose noisy counts cannot be told from none is left out, or cannot be told to have as many as the
site's policy wants.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from fedistill.core.accounting import Accountant, Mechanism, PrivacyCost, sigma_for
from fedistill.core.events import Event
from fedistill.core.ranges import Count, PositiveFloat, Range
from fedistill.errors import PolicyError, SettingError
from fedistill.methods.engine.loop import SteadySettings
from fedistill.methods.engine.method import Task, Tensors, unkept
from fedistill.methods.private.noise import COUNT, ROOM, source
from fedistill.models import Network
from fedistill.training.clipping import at_once, noisy_sum, units

VERSION = 1
"""Raised when equal settings give other noisy answers; part of their key in the store."""

SURE = 3.0  # standard deviations of noise that a class's count must be above none

ASKED = ("epsilon", "delta", "clip", "accountant", "queries", "rate", "width")


@dataclass(frozen=True)
class PrivateSettings(SteadySettings):
    """Settings of every private method.

    Args:
        epsilon, delta: what all of its questions may spend together. Keep delta well below one over the number of
            images; an epsilon above 10 promises little.
        clip: norm that what one unit tells is scaled down to. A unit is one image, or all images of one patient where
            the images say whose they are.
        accountant: ``pld`` (tight) or ``rdp``; see `fedistill.core.accounting`.
        queries: questions asked, each to a fresh random network. More say more, and each has more noise.
        width: of these networks, whatever the width of those trained later: the noise grows with what they tell.
        iterations: of the fit, as many as one likes.
        looks: 0. Validation images are patients' images too.

    Raises:
        SettingError: looks at validation images were asked for.
    """

    epsilon: Annotated[float, Range(gt=0, le=1000)] = 10.0  # which bounds nothing any more
    delta: Annotated[float, Range(gt=0, lt=1)] = 1e-5
    clip: PositiveFloat = 1.0
    accountant: Accountant = "pld"
    queries: Count = 2
    width: Count = 32

    def __post_init__(self) -> None:
        if self.looks:
            raise SettingError(
                "A private method does not look at validation images: they are patients' too, and its bound does not "
                "cover them.",
                expected="looks = 0",
                found=self.looks,
            )

    @property
    def sampling(self) -> float:
        """Return the chance of a unit to be asked in a query."""
        return float(getattr(self, "rate", 1.0))

    def mechanism(self) -> Mechanism:
        """Return the noise that spends epsilon over all queries."""
        steps, rate = self.queries, self.sampling
        sigma = sigma_for(epsilon=self.epsilon, delta=self.delta, steps=steps, rate=rate, accountant=self.accountant)
        return Mechanism(sigma, steps, rate)

    def cost(self) -> PrivacyCost:
        """Return the cost of its queries, asked once for all budgets."""
        return PrivacyCost(self.mechanism(), self.epsilon, self.delta, self.accountant)

    def asked(self) -> dict[str, Any]:
        """Return those settings that the noisy answers depend on: the others may change, and nothing is spent again."""
        return {name: value for name, value in asdict(self).items() if name in ASKED}


def costs_of(budgets: Iterable[PrivateSettings]) -> tuple[PrivacyCost, ...]:
    """Return the costs of several budgets: those that ask the same questions share the answers, and spend once."""
    return tuple(each.cost() for each in {tuple(each.asked().items()): each for each in budgets}.values())


@dataclass(frozen=True, eq=False)
class Answers:
    """Noisy answers of the images; private whatever is done with it.

    Args:
        sums: float32 (Q, K, D), by query and class: the sum of the images' vectors, clipped.
        counts: float32 (K,), images of each class, from all queries' counts.
        noise: standard deviation of each coordinate of `sums`.
        count_noise: of `counts`.
        fewest: a class must have more than this, above all doubt, to be distilled.
    """

    sums: Tensor
    counts: Tensor
    noise: float
    count_noise: float
    fewest: float = 0.0

    def classes(self) -> list[int]:
        """Return the classes whose noisy counts tell of enough images.

        Where none does and one image would be enough, all classes there are: that tells nothing.

        Raises:
            PolicyError: a class should have a number of images, and none surely has it.
        """
        sure = torch.nonzero(self.counts > self.fewest + SURE * self.count_noise).flatten().tolist()
        if not sure and self.fewest:
            raise PolicyError(
                "The site's policy forbids it: no class is surely large enough by its noisy count (rule "
                "min_class_size). What the count cost is spent."
            )
        return sure or list(range(len(self.counts)))


def about_answers(task: Task, settings: PrivateSettings, name: str) -> dict[str, Any]:
    """Return everything that determines a method's noisy answers: their key in the store, and in a ledger."""
    return {
        "images": task.images.fingerprint(),
        "seed": task.seed,
        "method": name,
        "model": task.model,
        "settings": settings.asked(),
        "version": VERSION,
        "entropy": task.entropy,
        # Seeded noise is the same on the same type of machine; other noise is drawn once, wherever that was.
        **({"device": task.device, "threads": torch.get_num_threads()} if task.entropy == "seeded" else {}),
    }


def ask(
    task: Task,
    settings: PrivateSettings,
    name: str,
    rows: Callable[[int], Callable[[Tensor], Tensor]],
    *,
    net: Network,
    each: float,
) -> Answers:
    """Return the noisy answers to a method's queries: from the store where they were given before, for they cost once.

    Args:
        task: gives the images, the noise, the store and the account that is charged.
        settings: epsilon, delta, clip and the queries' number.
        name: of the method.
        rows: of each query, by its number: what images at these positions tell, (n,) -> (n, D + 1), made by
            `fedistill.methods.private.noise.counted`.
        net: the shape of the networks asked, by which images are taken in pieces that fit in memory.
        each: the norm of one image's row.

    Raises:
        SettingError: a multi-label set.
    """
    if task.images.multilabel:
        raise SettingError(
            f"{name} does not work on multi-label sets.",
            expected="one label an image",
            found=task.images.task,
            mend="take dc, dsa, dm or mtt, which give no privacy bound, or a set with one label an image",
        )
    mechanism, about = settings.mechanism(), about_answers(task, settings, name)

    def paid() -> Tensors:
        task.charge(about, settings.cost())
        return _asked(task, settings, name, mechanism, rows, net)

    sums = task.remember("noisy", about, paid)["sums"]
    scale, noise = each * mechanism.rate, mechanism.sigma * settings.clip
    return Answers(
        sums=sums[:, :, :-1] / (ROOM * scale),
        counts=sums[:, :, -1].mean(0) / (COUNT * scale),
        noise=noise / (ROOM * scale),
        count_noise=noise / (COUNT * scale * math.sqrt(len(sums))),
        # One patient counts for as many images as reach the norm that a patient is clipped to.
        fewest=(task.smallest - 1) * (1.0 if task.images.groups is None else max(1.0, settings.clip / each)),
    )


def _asked(
    task: Task,
    settings: PrivateSettings,
    name: str,
    mechanism: Mechanism,
    rows: Callable[[int], Callable[[Tensor], Tensor]],
    net: Network,
) -> Tensors:
    drawn, unit, labels = source(task, name), units(task.images), torch.from_numpy(task.images.labels)
    n = int(unit.max()) + 1
    words = f"epsilon {settings.epsilon:g} at delta {settings.delta:g} is spent: noise of {mechanism.sigma:.3g} x clip"
    task.on_event(Event("noise", method=name, message=words, sigma=mechanism.sigma))
    if settings.delta > 1 / n:
        words = (
            f"delta {settings.delta:g} is above 1/{n}: to publish one of the images, drawn at random, would keep to it"
        )
        task.on_event(Event("warning", method=name, message=words))
    answers: list[Tensor] = []
    for query in range(mechanism.steps):
        total, ratio = noisy_sum(
            unit,
            labels,
            task.images.n_classes,
            rows(query),
            clip=settings.clip,
            sigma=mechanism.sigma,
            rate=mechanism.rate,
            most=at_once(net),
            source=drawn,
            names=(query,),
        )
        if not query:
            _warn_if_small(task, name, mechanism, n, total.shape[1])
        said = f"signal to noise {ratio:.3g}"
        done = Event("query", method=name, step=query + 1, steps=mechanism.steps, signal_to_noise=ratio, message=said)
        task.on_event(done)
        answers.append(total.float())
    return {"sums": torch.stack(answers)}


def _warn_if_small(task: Task, name: str, mechanism: Mechanism, n: int, dimensions: int) -> None:
    """Say so where the noise in a class's answer is longer than the answer can be."""
    most, noise = n * mechanism.rate / task.images.n_classes, mechanism.sigma * math.sqrt(dimensions)
    if noise > most:
        message = (
            f"this site is too small for its epsilon: {n} images or patients, {task.images.n_classes} classes, so a "
            f"class's answer is at most about {n} x {mechanism.rate:g} / {task.images.n_classes} = {most:.0f} x clip "
            f"long, and its noise {mechanism.sigma:.3g} x sqrt({dimensions}) = {noise:.0f} x clip; "
            f"it would take {math.ceil(n * noise / most)} of them, a larger epsilon, fewer queries or a smaller width"
        )
        task.on_event(Event("warning", method=name, message=message))


def begin(task: Task, name: str, answers: Answers, *, side: int | None = None) -> tuple[Task, Tensor, Tensor]:
    """Return what the fit begins with: the task as the fit may see it, images of noise, and their labels.

    The classes are those that the noisy counts tell of, so the labels are no more private than these. Checkpoints of a
    fit to unseeded noise are not kept: a stopped one begins again from the answers, which are.

    Args:
        task: as the method runs.
        name: of the method.
        answers: to its queries.
        side: of the images in pixels, where it is not the real ones'.
    """
    side = task.images.size if side is None else side
    classes, ipc, x = answers.classes(), task.budget, task.images
    generator = source(task, name).generator("start", ipc)
    images = torch.randn((len(classes) * ipc, x.channels, side, side), generator=generator)
    labels = torch.tensor(classes).repeat_interleave(ipc)
    fitting = task if task.entropy == "seeded" else replace(task, checkpoints=unkept)
    return fitting, images.to(task.device), labels.to(task.device)
