"""A site that trains under differential privacy: DP-SGD on its own images, with its own noise.

In a simulation the noise follows from the seed, so that a run can be repeated; it protects nobody. Where the site's own
configuration says ``entropy=system`` it is drawn once and kept nowhere: asked the same again, the site answers with the
networks it keeps, for to draw other noise for the same steps would spend as much again.
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

SIMULATED = "simulated: the noise follows from the seed, and whoever knows the seed can take it off again"
UNSEEDED = "noise from the operating system's entropy"


@dataclass(frozen=True)
class Private:
    """Private training at one site.

    Args:
        site: whose entropy, device and store they are.
        on_event: told what is spent, how far it is, and how the gradients stand against their noise.
        charge: asked before any noise is drawn, of every training and every round; where it raises, none is.
    """

    site: SiteContext
    on_event: OnEvent
    charge: Charge = unpaid

    def detail(self, asked: DPSGD) -> dict[str, Any]:
        """What a key takes of it, beside the images and the network."""
        own = {"private": asdict(asked), "private_version": VERSION, "entropy": self.site.entropy}
        return {**own, "site": self.site.name}  # the noise of a seed is another at every site

    def network(self, asked: DPSGD, network: Network, train: ImageSet, *, seed: int) -> Params:
        """One network, trained to the end, on the processor."""
        start = begin(network, seed)
        about = self._about(asked, network, start, train, seed=seed, steps=asked.steps)
        return self._fit(asked, network, start, train, about, seed=seed, steps=asked.steps)

    def round(self, asked: DPSGD, network: Network, start: Params, train: ImageSet, *, seed: int, steps: int) -> Params:
        """The parameters after some of the steps, on the processor."""
        about = self._about(asked, network, start, train, seed=seed, steps=steps)
        if self.site.entropy == "seeded":
            return self._fit(asked, network, start, train, about, seed=seed, steps=steps)
        store, key = self.site.store, key_of(about)
        with store.making("round", key):
            found = store.get("round", key)
            if found is None:
                made = self._fit(asked, network, start, train, about, seed=seed, steps=steps)
                store.put("round", key, dict(zip(network.names, made, strict=True)), {})
                return made
        return tuple(found[0][name] for name in network.names)

    def _about(
        self, asked: DPSGD, network: Network, start: Params, train: ImageSet, *, seed: int, steps: int
    ) -> dict[str, Any]:
        """All that determines a training, but for noise that no seed does."""
        digest = hashlib.sha256()
        for tensor in start:
            digest.update(tensor.numpy().tobytes())
        return {
            "images": train.fingerprint(),
            "network": [type(network).__name__, asdict(network)],
            "start": digest.hexdigest(),
            "seed": seed,
            "steps": steps,
            **self.detail(asked),
        }

    def _fit(
        self,
        asked: DPSGD,
        network: Network,
        start: Params,
        train: ImageSet,
        about: dict[str, Any],
        *,
        seed: int,
        steps: int,
    ) -> Params:
        site, cost, n = self.site, asked.cost(steps), int(units(train).max()) + 1
        self.charge(about, cost)
        words = f"epsilon {cost.epsilon:.3g} at delta {asked.delta:g} is spent, of {asked.epsilon:g}: noise of "
        words += f"{cost.mechanism.sigma:.3g} x clip; {UNSEEDED if site.entropy == 'system' else SIMULATED}"
        self.on_event(Event("noise", method="dpsgd", message=words, sigma=cost.mechanism.sigma))
        if asked.delta > 1 / n:
            words = f"delta {asked.delta:g} is above 1/{n}: to publish one image, drawn at random, would keep to it"
            self.on_event(Event("warning", method="dpsgd", message=words))

        def on_step(step: int, steps: int, ratio: float) -> None:
            words = f"signal to noise {ratio:.3g}"
            self.on_event(Event("training", step=step, steps=steps, signal_to_noise=ratio, message=words))

        made = fit_privately(
            network,
            train,
            asked,
            sigma=cost.mechanism.sigma,
            source=source_for(site.entropy, spawn(seed, site.name), "dpsgd"),
            start=start,
            steps=steps,
            device=torch.device(site.device),
            on_step=on_step,
        )
        return tuple(p.cpu() for p in made)
