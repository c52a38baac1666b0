"""Benchmarks of each kind of work on this machine, which time a few steps of the work itself.

Nothing is stored: a distillation is stopped after its first iterations, and reads made-up experts. Times are CPU
seconds, on which other processes have little effect; with several threads, the time of each.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from fedistill.core.events import Event
from fedistill.core.seeds import generator
from fedistill.data import ImageSet
from fedistill.methods import METHODS, experts
from fedistill.methods.engine import early, trained
from fedistill.methods.engine.early import EarlySettings
from fedistill.methods.engine.loop import SteadySettings
from fedistill.methods.engine.method import Method, Task, Tensors
from fedistill.methods.engine.quality import Judge
from fedistill.methods.engine.start import start
from fedistill.methods.engine.trained import TrainedSettings
from fedistill.methods.engine.views import ViewSettings
from fedistill.methods.mtt_settings import MTTSettings
from fedistill.methods.tdm import TDMSettings
from fedistill.models import Network
from fedistill.training.dpsgd import DPSGD, begin, fit_privately
from fedistill.training.fit import fit, predict
from fedistill.training.noise import source_for
from fedistill.training.recipe import Recipe
from fedistill.transport.backend.job import torch_threads

ENOUGH_SECONDS = 1.5
"""Seconds for one benchmark; a longer step is timed once, after one to warm up."""
FEWEST = 3  # steps, where they are short
ENDLESS = 2**31  # views, so that no iteration meets one again
KEPT_WARM = 1  # steps before those that count


class _Enough(Exception):
    """Raised from an event handler to stop the work being timed."""


@dataclass
class Clock:
    """A clock of steps, whose `tick` after each step ends the work once there are enough of them."""

    begun: float = field(default_factory=time.process_time)
    ticks: list[float] = field(default_factory=list)

    def tick(self) -> None:
        """Record the end of a step; raise _Enough if there are enough steps."""
        self.ticks.append(time.process_time())
        counted = len(self.ticks) - KEPT_WARM
        if self.ticks[-1] - self.begun > ENOUGH_SECONDS and counted >= 1 and (counted >= FEWEST or self.each() > 0.5):
            raise _Enough

    def each(self) -> float:
        """Return the seconds of a step, without those before the first; with a single step, an upper bound.

        >>> Clock(0.0, [5.0, 7.0, 8.0]).each(), Clock(0.0, [5.0]).each()
        (1.5, 5.0)
        """
        if len(self.ticks) < 2:
            return self.ticks[0] - self.begun if self.ticks else 0.0
        return (self.ticks[-1] - self.ticks[0]) / (len(self.ticks) - 1)


def run_until_enough(work: Callable[[Clock], Any]) -> tuple[Clock, float, bool]:
    """Run work until its clock ends it; return the clock, all seconds, and whether the work finished by itself."""
    clock = Clock()
    try:
        work(clock)
    except _Enough:
        return clock, time.process_time() - clock.begun, False
    return clock, time.process_time() - clock.begun, True


def time_distillation(task: Task, scheme: str, settings: Any, threads: int) -> dict[str, float]:
    """Return the seconds of one budget's distillation at one site: ``iterations``, and the parts besides."""
    method, parts = METHODS[scheme], {}
    with torch_threads(threads):
        quiet = replace(settings, looks=0) if isinstance(settings, SteadySettings) else settings
        if isinstance(quiet, TDMSettings):
            quiet = replace(quiet, views=1)  # before the first iteration; the other views are added below
        views = quiet.views if isinstance(quiet, ViewSettings) else None
        if views is not None:
            quiet = replace(quiet, views=ENDLESS)
        clock, seconds, whole, steps = _time_iterations(method, task, quiet)
        parts["iterations"] = seconds if whole or not clock.ticks else clock.each() * steps
        if views is not None and clock.ticks:
            met, *_ = _time_iterations(method, task, replace(quiet, views=1))
            seen = min(views, steps)
            parts["iterations"] = clock.each() * seen + met.each() * (steps - seen)
        if isinstance(settings, MTTSettings):
            parts["experts"] = time_expert_step(task, settings) * _expert_steps(len(task.images), settings)
        if isinstance(settings, TDMSettings):
            # Before the first step are the look at all images by which they are clustered, and one view.
            each, first = clock.each(), clock.ticks[0] - clock.begun
            parts["iterations"] = each * settings.iterations
            parts["views"] = max(0.0, first - each) * settings.views
            parts["trained networks"] = time_network_step(task) * settings.networks * settings.network_steps
        if isinstance(settings, EarlySettings) and settings.early_networks:
            short = replace(settings, early_steps=2 * early.STAGES)
            begun = time.process_time()
            early.train(task, short, 0)
            each = (time.process_time() - begun) / short.early_steps
            parts["early networks"] = each * settings.early_networks * settings.early_steps
        if isinstance(settings, SteadySettings) and settings.looks:
            parts["looks"] = time_look(task, scheme) * settings.looks
    return {name: value / threads for name, value in parts.items()}


def _time_iterations(method: Method, task: Task, settings: Any) -> tuple[Clock, float, bool, int]:
    """Run a method until its iterations are timed; return as `run_until_enough` does, and the number of iterations."""
    steps = 0

    def work(clock: Clock) -> None:
        def listen(event: Event) -> None:
            nonlocal steps
            if event.steps and event.step:
                steps = event.steps
                clock.tick()

        method.run(replace(task, on_event=listen, remember=_mock_store(task, settings)), settings)

    return *run_until_enough(work), steps


def time_network_step(task: Task) -> float:
    """Return the seconds of one SGD step of a network that TDM matches under."""
    short = TrainedSettings(networks=1, network_steps=6)
    begun = time.process_time()
    trained.train(task, short, 0)
    return (time.process_time() - begun) / short.network_steps


def time_expert_step(task: Task, settings: MTTSettings) -> float:
    """Return the seconds of one SGD step of one of MTT's experts."""
    _, batch = experts.epoch_shape(len(task.images), settings)
    few = task.images.take(range(min(len(task.images), 2 * batch)))
    short = replace(
        settings,
        experts=1,
        syn_steps=1,
        batch_expert=batch,
        expert_epochs=1,
        max_start_epoch=1,
        min_start_epoch=0,
        current_max_start_epoch=None,
        expansion_end_epoch=None,
        lamb=0.0,
    )
    steps = 2 * experts.epoch_shape(len(few), short)[0]  # two epochs: from the start, and the one after it
    begun = time.process_time()
    experts.train(replace(task, images=few), short, 0)
    return (time.process_time() - begun) / steps


def _expert_steps(n: int, settings: MTTSettings) -> int:
    return experts.epoch_shape(n, settings)[0] * (settings.max_start_epoch + settings.expert_epochs) * settings.experts


def time_look(task: Task, scheme: str) -> float:
    """Return the seconds of one look at a site's validation images; 0 if it has too few."""
    judge = Judge.of(task, scheme)
    if judge is None:
        return 0.0
    first = start(task, "noise", generator(0, "look"))
    begun = time.process_time()
    judge(first.images, first.labels)
    return time.process_time() - begun


def time_training_step(network: Network, x: ImageSet, images: int, recipe: Recipe, threads: int) -> float:
    """Return the seconds of one SGD step of one network on ``images`` images like ``x``."""
    few = x.take([i % len(x) for i in range(min(images, 4 * recipe.batch))])
    pixels, labels, long = few.pixels(), few.targets(), replace(recipe, steps=2000)

    def work(clock: Clock) -> None:
        fit(network, pixels, labels, long, seed=0, mirror=x.mirror, on_step=lambda step, steps: clock.tick())

    with torch_threads(threads):
        clock, _, _ = run_until_enough(work)
    return clock.each() / threads


def time_private_step(network: Network, x: ImageSet, private: DPSGD, threads: int) -> float:
    """Return the seconds of one step of DP-SGD on the images ``x``."""
    endless = replace(private, steps=10_000)

    def work(clock: Clock) -> None:
        fit_privately(
            network,
            x,
            endless,
            sigma=1.0,
            source=source_for("seeded", 0, "meter"),
            start=begin(network, 0),
            on_step=lambda step, steps, ratio: clock.tick(),
        )

    with torch_threads(threads):
        clock, _, _ = run_until_enough(work)
    return clock.each() / threads


def time_scoring(network: Network, x: ImageSet, threads: int) -> float:
    """Return the seconds of a forward pass for one image."""
    pixels = x.take(range(min(len(x), 512))).pixels()
    params = network.init(generator(0, "init"))
    with torch_threads(threads):
        predict(network, params, pixels[:8])
        begun = time.process_time()
        predict(network, params, pixels)
        return (time.process_time() - begun) / len(pixels) / threads


def _mock_store(task: Task, settings: Any) -> Callable[[str, Mapping[str, Any], Callable[[], Tensors]], Tensors]:
    """Return a store with made-up trained networks: initial ones, moved a little."""

    def remember(kind: str, about: Mapping[str, Any], make: Callable[[], Tensors]) -> Tensors:
        if kind not in ("experts", "early", "trained"):
            return make()
        chance = generator(0, "made up")
        flat = torch.cat([p.flatten() for p in task.network().init(chance)])
        counts = {"early": early.STAGES, "trained": 2}
        count = counts[kind] if kind in counts else settings.max_start_epoch + settings.expert_epochs + 1
        steps = torch.randn(count, len(flat), generator=chance) / math.sqrt(len(flat))
        return {"theta": flat + steps.cumsum(0)}

    return remember
