"""DP-SGD: training a network under differential privacy (Abadi et al., CCS 2016, arXiv 1607.00133).

Each step takes a Poisson sample of the units (images, or patients where the images say whose they are), scales down
what a unit's gradients add up to where it is longer than the clip, adds Gaussian noise to the sum, and divides by the
number of units expected in the sample. Whatever is done with the noisy gradients afterwards (momentum, the network, its
predictions) is post-processing.

Nothing is chosen by validation images, which are patients' too: step size, clip and number of steps are fixed in the
settings, before an image is looked at. No augmentation, no weight decay. Public: how many units the site holds.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fedistill.core.accounting import Mechanism, PrivacyCost, epsilon_of, sigma_for
from fedistill.core.seeds import generator
from fedistill.data.imageset import ImageSet
from fedistill.models import Network, Params
from fedistill.training.clipping import at_once, gradients_of_each, noisy_sum, units
from fedistill.training.device import full_precision
from fedistill.training.fit import descend
from fedistill.training.noise import Source
from fedistill.training.recipe import Recipe

VERSION = 1
"""Raised when equal settings give other networks; part of their key in the store."""


@dataclass(frozen=True)
class DPSGD:
    """Settings of a private training.

    Args:
        epsilon, delta: what all its steps may spend together.
        clip: norm that a unit's gradient is scaled down to.
        rate: chance of a unit to be in a step's sample.
        steps: that the budget is for, in all rounds together where there are rounds.
        lr: step size, which does not fall.
        momentum: of the SGD.
        accountant: ``pld`` or ``rdp``; see `fedistill.core.accounting`.
    """

    epsilon: float
    delta: float
    clip: float
    rate: float
    steps: int
    lr: float
    momentum: float
    accountant: str = "pld"

    def mechanism(self) -> Mechanism:
        """Return the noise that spends epsilon over all the steps."""
        sigma = sigma_for(
            epsilon=self.epsilon, delta=self.delta, steps=self.steps, rate=self.rate, accountant=self.accountant
        )
        return Mechanism(sigma, self.steps, self.rate)

    def cost(self, steps: int) -> PrivacyCost:
        """Return the cost of so many of the steps; the costs of all rounds together make the epsilon asked for."""
        noise = Mechanism(self.mechanism().sigma, steps, self.rate)
        return PrivacyCost(noise, self.spent(steps), self.delta, self.accountant)

    def spent(self, steps: int) -> float:
        """Return the epsilon spent after so many of the steps.

        >>> short = DPSGD(1.0, 1e-5, clip=1.0, rate=1.0, steps=4, lr=0.1, momentum=0.0)
        >>> short.spent(1) < 0.5 < 0.99 < short.spent(4) <= 1
        True
        """
        noise = Mechanism(self.mechanism().sigma, steps, self.rate)
        return epsilon_of(noise, delta=self.delta, accountant=self.accountant)

    def recipe(self, steps: int | None = None) -> Recipe:
        """Return how `descend` goes down the noisy gradients, for all the steps or so many of them."""
        return Recipe(
            "private",
            self.lr,
            steps=self.steps if steps is None else steps,
            momentum=self.momentum,
            weight_decay=0.0,
            augment=False,
            fall=1.0,
        )


def fit_privately(
    network: Network,
    images: ImageSet,
    private: DPSGD,
    *,
    sigma: float,
    source: Source,
    start: Params,
    steps: int | None = None,
    device: torch.device | None = None,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Params:
    """Train one network by DP-SGD (Abadi et al., arXiv 1607.00133).

    Args:
        network: its shape.
        images: the site's; its labels may be several an image.
        private: settings; its epsilon holds where `sigma` is its mechanism's.
        sigma: standard deviation of the noise, as a multiple of the clip.
        source: of samples and noise.
        start: parameters to begin with, drawn without a look at the images, or themselves private.
        steps: of the settings' that are taken now; all unless given.
        device: to train on; the processor unless given.
        on_step: called with (step, steps, signal to noise) after each; the last is as private as the images.

    Returns:
        the parameters, detached, on the device.
    """
    device, recipe = device or torch.device("cpu"), private.recipe(steps)
    unit, pixels, targets = units(images), images.pixels(), images.targets()
    expected, total = private.rate * (int(unit.max()) + 1), recipe.steps_for(len(images))
    together = torch.zeros(len(images), dtype=torch.int64)  # one sum, whatever the labels
    weights = [p.to(device, copy=True) for p in start]
    velocity = [torch.zeros_like(w) for w in weights]
    sizes, most = [w.numel() for w in weights], at_once(network)
    for step in range(total):
        gradients = gradients_of_each(network, tuple(weights))

        def rows(at: torch.Tensor, gradients: Callable[..., torch.Tensor] = gradients) -> torch.Tensor:
            each = gradients(pixels[at].to(device), targets[at].to(device))
            # A gradient that is no number says nothing, and is not passed on.
            return torch.where(torch.isfinite(each).all(1, keepdim=True), each, torch.zeros_like(each))

        with full_precision(device):
            noisy, ratio = noisy_sum(
                unit,
                together,
                1,
                rows,
                clip=private.clip,
                sigma=sigma,
                rate=private.rate,
                most=most,
                source=source,
                names=(step,),
            )
        parts = (noisy[0] / expected).split(sizes)
        noisy_gradients = tuple(part.view(w.shape).to(w) for part, w in zip(parts, weights, strict=True))
        descend(weights, velocity, noisy_gradients, recipe, lr=recipe.lr_at(step, total))
        if on_step is not None:
            on_step(step + 1, total, ratio)
    return tuple(weights)


def begin(network: Network, seed: int) -> Params:
    """Draw the parameters that `fedistill.training.fit` begins with for this seed: schemes are compared on them."""
    return network.init(generator(seed, "init"))
