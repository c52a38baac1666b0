"""The loop that every method with iterations runs in: steady on anyone's data, and not lost when it is stopped.

A method brings the images it starts from and one function, `advance`, that takes one iteration. The loop

- draws each iteration's random numbers by the iteration's number, so that a resumed run meets the same ones;
- goes back to the last good images with half the step when numbers are no longer finite or pixels run away, and says
  so;
- looks at the site's own validation images a few times: stops when their quality no longer moves, and returns the
  latest images among the best; or averages the images of the last iterations (Polyak & Juditsky, SIAM J. Control
  Optim. 30(4), 1992), which takes off the noise of small real batches and asks for no validation images;
- keeps a checkpoint every so often, and when it is stopped (SIGTERM and Ctrl-C arrive as exceptions).
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.core.events import Event
from fedistill.core.ranges import QUIET, Count, Fraction, NonNegativeFloat, NonNegativeInt, detail
from fedistill.errors import RunError
from fedistill.methods.engine.early import VERSION as EARLY_VERSION
from fedistill.methods.engine.method import SyntheticSet, Task, Tensors
from fedistill.methods.engine.quality import Judge
from fedistill.training import packing
from fedistill.training.device import computing_in
from fedistill.training.fit import VERSION as FIT_VERSION

VERSION = 3 + EARLY_VERSION + FIT_VERSION
"""Raised, or one that it adds up is, when equal settings give other images; part of every key of a distillation."""

# Pixels are -1..1, noise reaches about 5; images that teach networks stay within a few times that.
FARTHEST_PIXEL = 100.0

GOOD_EVERY = 10  # iterations between two states worth going back to
MOST_HALVINGS = 12  # a step 4096 times smaller that still fails is not too large
CHECKPOINT_SECONDS = 30.0

# Validation AUC: what counts as movement, and how much an earlier look must be ahead to be preferred to a later one.
MOVED, AHEAD = 0.002, 0.003


@dataclass(frozen=True)
class SteadySettings:
    """Settings of every method with iterations.

    Args:
        iterations: of the method's outermost loop.
        looks: how many times the images are tried on the site's validation images on the way; 0: never, as published.
        patience: looks without improvement after which it stops; 0: it never stops early.
        average: share of the iterations, the last ones, whose images are averaged, so that looks see the average and
            it is returned; 0: none.
        pixel_noise: standard deviation of noise that the images leave with, in pixels of -1..1. It gives no privacy
            bound; what it hides and costs is in fedistill/privacy/README.md.
    """

    iterations: Count = 1000
    looks: NonNegativeInt = 0
    patience: NonNegativeInt = 3
    average: Fraction = 0.0
    pixel_noise: Annotated[NonNegativeFloat, QUIET] = 0.0


@dataclass(frozen=True, eq=False)
class State:
    """Images on their way.

    Args:
        images: float32 (N, C, H, W).
        velocity: of the SGD on them, alike.
        numbers: what else the method carries from one iteration to the next.
        memory: and what of it are tensors, by name.
    """

    images: Tensor
    velocity: Tensor
    numbers: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Advance:
    """The outcome of an iteration: the next state, its loss, and a message for a person watching."""

    state: State
    loss: float
    message: str


Advancing = Callable[[State, float, torch.Generator], Advance]
"""``advance(state, pace, generator)``: `pace` (1, or less after trouble) multiplies the step on the images."""


@dataclass(frozen=True, eq=False)
class _Run:
    """The loop's progress: all that a resumed one needs."""

    state: State
    good: State
    chosen: State
    total: Tensor  # of the images to be averaged
    averaged: int = 0
    step: int = 0
    good_step: int = 0
    chosen_step: int = 0
    halvings: int = 0
    looks: tuple[tuple[int, float], ...] = ()
    stopped: bool = False
    seconds: float = 0.0

    @property
    def pace(self) -> float:
        return 0.5**self.halvings

    @property
    def shown(self) -> State:
        """Return the state with the images that would be returned were this the last iteration."""
        return replace(self.state, images=self.total / self.averaged) if self.averaged else self.state


def steadily(
    task: Task, name: str, settings: SteadySettings, labels: Tensor, first: State, advance: Advancing, *, pack: int = 1
) -> SyntheticSet:
    """Run a method's iterations to their end.

    Args:
        task: gives the seed, the budget, the checkpoints and the validation images.
        name: of the method.
        settings: of the method.
        labels: of the images.
        first: where the images start.
        advance: one iteration.
        pack: smaller images along each side of one: looks see them at full size.

    Returns:
        the images, with ``numbers["log_lr"]`` as learned step size where the method carries one.

    Raises:
        RunError: the numbers left the finite however small the step was made.
    """
    about = {"method": name, "settings": detail(settings), "version": VERSION, **task.detail()}
    checkpoint = task.checkpoints(about)
    run = _resumed(checkpoint.load(), first)
    before, clock = run.seconds, time.monotonic()
    saved = clock
    judge = Judge.of(task, name) if settings.looks else None
    every = math.ceil(settings.iterations / max(1, settings.looks))
    unaveraged = settings.iterations - round(settings.average * settings.iterations)
    try:
        while run.step < settings.iterations and not run.stopped:
            generator = seeds.generator(task.seed, name, task.budget, "step", run.step, run.halvings)
            with computing_in(task.computes_in, first.images.device):
                outcome = advance(run.state, run.pace, generator)
            after, note = _accept(run, outcome, name)
            if not note and after.step > unaveraged:
                after = replace(after, total=after.total + after.state.images, averaged=after.averaged + 1)
            if judge is not None and not note and (after.step % every == 0 or after.step == settings.iterations):
                after, note = _look(after, judge, labels, settings.patience, pack)
            now = time.monotonic()
            run = replace(after, seconds=before + now - clock)  # once, so that a step is never kept without its look
            task.on_event(
                Event(
                    "distilling",
                    method=name,
                    ipc=task.ipc,
                    step=run.step,
                    steps=settings.iterations,
                    seconds=run.seconds,
                    message="; ".join(filter(None, (outcome.message, _said(run), note))),
                    loss=outcome.loss,
                    validation_auc=_just_seen(run),
                )
            )
            if now - saved > CHECKPOINT_SECONDS:
                checkpoint.save(*_kept(run))
                saved = now
    except BaseException:
        checkpoint.save(*_kept(run))
        raise
    checkpoint.save(*_kept(run))
    state = run.chosen if run.looks else run.shown
    lr = math.exp(state.numbers["log_lr"]) if "log_lr" in state.numbers else None
    images = state.images.cpu()
    if settings.pixel_noise:
        generator = seeds.generator(task.seed, name, task.budget, "pixel noise")
        images = images + settings.pixel_noise * torch.randn(images.shape, generator=generator)
    return SyntheticSet(images, labels.cpu(), task.ipc, lr=lr, seconds_before=before, pack=pack)


def _accept(run: _Run, outcome: Advance, name: str) -> tuple[_Run, str]:
    """Return the run after one iteration: one step on, or back at the last good images with half the step."""
    images = outcome.state.images
    fine = (
        math.isfinite(outcome.loss)
        and all(math.isfinite(v) for v in outcome.state.numbers.values())
        and bool(images.abs().amax() < FARTHEST_PIXEL)  # False for NaN as well
        and bool(torch.isfinite(outcome.state.velocity).all())
    )
    if fine:
        run = replace(run, state=outcome.state, step=run.step + 1)
        if run.step % GOOD_EVERY == 0:
            run = replace(run, good=run.state, good_step=run.step)
        return run, ""
    if run.halvings == MOST_HALVINGS:
        raise RunError(
            f"{name}: the images left the range of numbers after {run.step + 1} iterations, "
            f"however small the step ({run.pace:.0e} of the one set).",
            expected=f"finite pixels below {FARTHEST_PIXEL:g}",
            found=f"loss {outcome.loss:g}, largest pixel {float(images.abs().amax()):g}",
            mend="take a smaller lr_img, or lr_net, lr_lr or lr_teacher where the method has them",
        )
    numbers = {name: 0.0 if name.endswith("velocity") else value for name, value in run.good.numbers.items()}
    good = replace(run.good, velocity=torch.zeros_like(run.good.velocity), numbers=numbers)
    back = replace(
        run,
        state=good,
        good=good,
        total=torch.zeros_like(good.images),  # an average is of what comes after
        averaged=0,
        step=run.good_step,
        halvings=run.halvings + 1,
        looks=tuple(look for look in run.looks if look[0] <= run.good_step),  # the later ones will be taken again
    )
    if back.chosen_step > back.step:
        back = replace(back, chosen=good, chosen_step=back.step)
    return back, f"ran away: back at iteration {back.step} with step x {back.pace:g}"


def _look(run: _Run, judge: Judge, labels: Tensor, patience: int, pack: int) -> tuple[_Run, str]:
    """Return the run after a look at the validation images."""
    shown = run.shown
    quality = judge(packing.shown(shown.images, pack), packing.repeated(labels, pack))
    earlier = [q for _, q in run.looks]
    looks = (*run.looks, (run.step, quality))
    if quality >= max((*earlier, quality)) - AHEAD:
        run = replace(run, chosen=shown, chosen_step=run.step)
    idle, peak = 0, -math.inf
    for _, each in looks:
        idle = 0 if each > peak + MOVED else idle + 1
        peak = max(peak, each)
    stopped = 0 < patience <= idle
    said = f"validation AUC {100 * quality:.1f}"
    if stopped:
        said += f", no longer moving: stopped, images of iteration {run.chosen_step}"
    return replace(run, looks=looks, stopped=stopped), said


def _just_seen(run: _Run) -> float | None:
    """Return the validation AUC of the images where they were looked at just now, for curves."""
    return run.looks[-1][1] if run.looks and run.looks[-1][0] == run.step else None


def _said(run: _Run) -> str:
    return f"step halved {run.halvings} times" if run.halvings else ""


def _kept(run: _Run) -> tuple[Tensors, dict[str, Any]]:
    """Return a run as tensors and plain numbers."""
    states = {"state": run.state, "good": run.good, "chosen": run.chosen}
    # Clones, because two states may be one, and a file holds every tensor for itself.
    tensors = {f"{k}.{part}": getattr(s, part).clone() for k, s in states.items() for part in ("images", "velocity")}
    tensors |= {f"{k}.memory.{name}": value.clone() for k, s in states.items() for name, value in s.memory.items()}
    tensors["total"] = run.total.clone()
    note: dict[str, Any] = {f"{k}.numbers": dict(s.numbers) for k, s in states.items()}
    for name in ("averaged", "step", "good_step", "chosen_step", "halvings", "looks", "stopped", "seconds"):
        note[name] = getattr(run, name)
    return tensors, note


def _resumed(saved: tuple[Tensors, dict[str, Any]] | None, first: State) -> _Run:
    """Return the run that a checkpoint holds, or a new one."""
    if saved is None:
        return _Run(first, first, first, torch.zeros_like(first.images))
    tensors, note = saved
    device = first.images.device

    def state(name: str) -> State:
        images, velocity = (tensors[f"{name}.{part}"].to(device) for part in ("images", "velocity"))
        of_memory = f"{name}.memory."
        memory = {k.removeprefix(of_memory): v.to(device) for k, v in tensors.items() if k.startswith(of_memory)}
        return State(images, velocity, note.pop(f"{name}.numbers"), memory)

    kept = state("state"), state("good"), state("chosen"), tensors["total"].to(device)
    looks = tuple((int(step), float(quality)) for step, quality in note.pop("looks"))
    return _Run(*kept, looks=looks, **note)
