"""Shadows of an audit that send networks which a site trained alone."""

from dataclasses import dataclass

import torch

from fedistill.core.events import Event
from fedistill.core.seeds import spawn
from fedistill.methods import Task
from fedistill.models import Network, Params
from fedistill.schemes.server.shadows import (
    ShadowOutputs,
    train_shadow_networks,
)
from fedistill.training.dpsgd import DPSGD, begin, fit_privately
from fedistill.training.noise import source_for
from fedistill.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class LocalShadow:
    """A shadow that trains networks on its own images.

    Args:
        network, recipe, seeds: of the training.
        mirror: whether a flip keeps the labels true.
        private: settings of DP-SGD if the site trains by it, in place of the recipe; each network spends its epsilon.
    """

    network: Network
    recipe: Recipe
    seeds: tuple[int, ...]
    mirror: bool
    private: DPSGD | None = None

    def make(self, task: Task, others: None) -> ShadowOutputs:
        """Return the networks, and no images."""
        if self.private is None:
            x, y = task.images.pixels(), task.images.targets()
            networks = train_shadow_networks(task, self.network, self.recipe, self.seeds, x, y, mirror=self.mirror)
            return ShadowOutputs(None, networks)
        private = self.private
        return ShadowOutputs(
            None, [self._privately(task, private, number, seed) for number, seed in enumerate(self.seeds)]
        )

    def _privately(self, task: Task, private: DPSGD, number: int, seed: int) -> Params:
        def on_step(step: int, steps: int, ratio: float) -> None:
            task.on_event(Event("training", step=step, steps=steps))

        params = fit_privately(
            self.network,
            task.images,
            private,
            sigma=private.mechanism().sigma,
            # The attacker does not know this seed.
            source=source_for("seeded", spawn(task.seed, "noise", number), "dpsgd"),
            start=begin(self.network, seed),
            device=torch.device(task.device),
            on_step=on_step,
        )
        return tuple(p.cpu() for p in params)
