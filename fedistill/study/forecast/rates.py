"""Seconds of one simulation's tasks, from a few measured steps of each kind of work (see `forecast.benchmark`)."""

from collections.abc import Callable
from typing import Any

from fedistill.config import Holdings, Job, Share, Simulation, everything
from fedistill.config.scheme import EVERYONE
from fedistill.core.seeds import generator
from fedistill.data import ImageSet
from fedistill.methods import settings_for
from fedistill.methods.engine.method import Task
from fedistill.models import Network, build
from fedistill.schemes.server.work import Training, iteration_images
from fedistill.study.forecast.benchmark import distilling, private_step, scoring, training_step
from fedistill.training.dpsgd import DPSGD
from fedistill.training.recipe import Recipe


class Metering:
    """Seconds of one simulation's tasks; each kind of step is measured once, on the site in the middle."""

    def __init__(self, simulation: Simulation, held: Holdings, told: Callable[[str], None]) -> None:
        self.simulation, self.held, self.told = simulation, held, told
        self._known: dict[Any, Any] = {}

    def job(self, job: Job, images: ImageSet) -> float:
        """Seconds of a job at a site with these images, whose pixels nobody looks at."""
        total = 0.0
        for ipc in job.budgets:
            settings = settings_for(job.scheme, job.settings, ipc=ipc, dataset=images.name)
            key = (job.scheme, ipc, job.site == EVERYONE)
            if key not in self._known:
                threads = self.simulation.federation.of(job.site).threads
                self.told(f"{'central-' * (job.site == EVERYONE)}{job.scheme}{'' if ipc is None else f' ipc {ipc}'}")
                share = self._middle(job.site, ipc, getattr(settings, "batch_real", None))
                task = Task(
                    share.train,
                    ipc,
                    draws=job.draws,
                    model=job.model,
                    width=job.width,
                    val=share.val if len(share.val) else None,
                    precision=job.precision,
                )
                self._known[key] = distilling(task, job.scheme, settings, threads), share.train
            parts, measured = self._known[key]
            batch = getattr(settings, "batch_real", None)
            scale = iteration_images(images, ipc, batch) / max(1, iteration_images(measured, ipc, batch))
            # Experts serve all budgets of a job.
            once = 0.0 if ipc != job.budgets[0] else parts.get("experts", 0.0) + parts.get("early networks", 0.0)
            total += once + scale * parts["iterations"] + parts.get("looks", 0.0)
        return total

    def training(self, each: Training, test: ImageSet) -> tuple[float, int]:
        """Seconds of training and scoring, and bytes of one network."""
        network = build(
            each.model,
            channels=test.channels,
            classes=test.n_classes,
            size=test.size,
            width=self.simulation.width,
        )
        if ("score", each.model) not in self._known:
            self._known["score", each.model] = scoring(network, test, self.simulation.threads)
        step = self._step(each, network) if each.private is None else self._private_step(each, each.private, network)
        seconds = each.steps * step + each.scored * self._known["score", each.model]
        parameters = sum(p.numel() for p in network.init(generator(0, "init")))
        return seconds, 4 * parameters

    def _step(self, each: Training, network: Network) -> float:
        recipe = self.simulation.recipe
        batch, key = min(recipe.batch, each.images), ("network", each.model, min(recipe.batch, each.images))
        if key not in self._known:
            self.told(f"networks, {each.model}, batches of {batch}")
            step = Recipe(batch=recipe.batch, augment=recipe.augment)
            x = self._middle("", 1, None).train
            self._known[key] = training_step(network, x, each.images, step, self.simulation.threads)
        return float(self._known[key])

    def _private_step(self, each: Training, private: DPSGD, network: Network) -> float:
        """Its batches grow with the images held, of which each is drawn with the same probability."""
        key = ("private", each.model, private.rate)
        if key not in self._known:
            self.told(f"networks, {each.model}, private")
            x = self._middle("", 1, None).train
            self._known[key] = private_step(network, x, private, self.simulation.threads) / len(x)
        return float(self._known[key]) * each.images

    def _middle(self, site: str, ipc: int | None, batch: int | None) -> Share:
        if site == EVERYONE:
            return everything(self.held)
        some = [share for share in self.held.shares if len(share.train)]
        return sorted(some, key=lambda share: iteration_images(share.train, ipc, batch))[len(some) // 2]
