"""Training under differential privacy at a site: DP-SGD on its own images, with its own noise.

In a simulation the noise follows from the seed, so that a run can be repeated; it protects nobody. If the site's own
configuration says ``entropy=system``, the noise is drawn once and never stored: the site answers a repeated request
with the networks that it has stored, because new noise for the same steps would spend the budget again.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fedistill.core.events import Event, OnEvent
from fedistill.core.seeds import spawn
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.methods.engine.method import Charge, unpaid
from fedistill.models import Network, Params
from fedistill.training.clipping import units
from fedistill.training.dpsgd import DPSGD, VERSION, begin, fit_privately
from fedistill.training.noise import source_for
from fedistill.transport.site.context import SiteContext

SIMULATED = "simulated: the noise follows from the seed, and whoever knows the seed can subtract it"
UNSEEDED = "noise from the operating system's entropy"


@dataclass(frozen=True)
class Private:
    """Private training at one site.

    Args:
        site: provides entropy, device and store.
        on_event: receives the budget spent, the progress, and the ratio of gradients to noise.
        charge: called before any noise is drawn, for every training and every round; if it raises, none is drawn.
    """

    site: SiteContext
    on_event: OnEvent
    charge: Charge = unpaid

    def detail(self, settings: DPSGD) -> dict[str, Any]:
        """Return the part of a store key that private training adds to images and network."""
        own = {"private": asdict(settings), "private_version": VERSION, "entropy": self.site.entropy}
        return {**own, "site": self.site.name}  # one seed gives different noise at every site

    def network(self, settings: DPSGD, network: Network, train: ImageSet, *, seed: int) -> Params:
        """Train one network to the end; return its parameters on the CPU."""
        start = begin(network, seed)
        about = self._about(settings, network, start, train, seed=seed, steps=settings.steps)
        return self._fit(settings, network, start, train, about, seed=seed, steps=settings.steps)

    def round(
        self, settings: DPSGD, network: Network, start: Params, train: ImageSet, *, seed: int, steps: int
    ) -> Params:
        """Train a round's network for ``steps`` steps; return its parameters on the CPU."""
        about = self._about(settings, network, start, train, seed=seed, steps=steps)
        if self.site.entropy == "seeded":
            return self._fit(settings, network, start, train, about, seed=seed, steps=steps)
        store, key = self.site.store, key_of(about)
        with store.making("round", key):
            stored = store.get("round", key)
            if stored is None:
                params = self._fit(settings, network, start, train, about, seed=seed, steps=steps)
                store.put("round", key, dict(zip(network.names, params, strict=True)), {})
                return params
        return tuple(stored[0][name] for name in network.names)

    def _about(
        self, settings: DPSGD, network: Network, start: Params, train: ImageSet, *, seed: int, steps: int
    ) -> dict[str, Any]:
        """Return everything that determines a training, except noise without a seed."""
        digest = hashlib.sha256()
        for tensor in start:
            digest.update(tensor.numpy().tobytes())
        return {
            "images": train.fingerprint(),
            "network": [type(network).__name__, asdict(network)],
            "start": digest.hexdigest(),
            "seed": seed,
            "steps": steps,
            **self.detail(settings),
        }

    def _fit(
        self,
        settings: DPSGD,
        network: Network,
        start: Params,
        train: ImageSet,
        about: dict[str, Any],
        *,
        seed: int,
        steps: int,
    ) -> Params:
        site, cost, n = self.site, settings.cost(steps), int(units(train).max()) + 1
        self.charge(about, cost)
        words = f"epsilon {cost.epsilon:.3g} at delta {settings.delta:g} is spent, of {settings.epsilon:g}: noise of "
        words += f"{cost.mechanism.sigma:.3g} x clip; {UNSEEDED if site.entropy == 'system' else SIMULATED}"
        self.on_event(Event("noise", method="dpsgd", message=words, sigma=cost.mechanism.sigma))
        if settings.delta > 1 / n:
            words = f"delta {settings.delta:g} is above 1/{n}: to publish one image, drawn at random, would keep to it"
            self.on_event(Event("warning", method="dpsgd", message=words))

        def on_step(step: int, steps: int, ratio: float) -> None:
            words = f"signal to noise {ratio:.3g}"
            self.on_event(Event("training", step=step, steps=steps, signal_to_noise=ratio, message=words))

        params = fit_privately(
            network,
            train,
            settings,
            sigma=cost.mechanism.sigma,
            source=source_for(site.entropy, spawn(seed, site.name), "dpsgd"),
            start=start,
            steps=steps,
            device=torch.device(site.device),
            on_step=on_step,
        )
        return tuple(p.cpu() for p in params)
