"""The seconds of one simulation's tasks, from a few measured steps of each kind of work (`forecast.benchmark`)."""

from collections.abc import Callable
from typing import Any

from fedistill.config import Holdings, Job, Share, Simulation, everything
from fedistill.config.scheme import EVERYONE
from fedistill.core.seeds import generator
from fedistill.data import ImageSet
from fedistill.methods import labels_for, settings_for
from fedistill.methods.engine.method import Task
from fedistill.methods.tdm import TDMSettings
from fedistill.models import Network, build
from fedistill.schemes.server.work import TrainingWork, iteration_images
from fedistill.study.forecast.benchmark import time_distillation, time_private_step, time_scoring, time_training_step
from fedistill.training.dpsgd import DPSGD
from fedistill.training.recipe import Recipe


class StepTimer:
    """The seconds of one simulation's tasks; each kind of step is measured once, on the site of median size."""

    def __init__(self, simulation: Simulation, holdings: Holdings, on_measure: Callable[[str], None]) -> None:
        self.simulation, self.holdings, self.on_measure = simulation, holdings, on_measure
        self._known: dict[Any, Any] = {}

    def job(self, job: Job, images: ImageSet) -> float:
        """Return the seconds of a job at a site with these images, of which only the counts matter."""
        total = 0.0
        for ipc in job.budgets:
            settings = settings_for(job.method, job.settings, ipc=ipc)
            key = (job.scheme, ipc, job.site == EVERYONE)
            if key not in self._known:
                threads = self.simulation.federation.of(job.site).threads
                self.on_measure(
                    f"{'central-' * (job.site == EVERYONE)}{job.scheme}{'' if ipc is None else f' ipc {ipc}'}"
                )
                share = self._median_share(job.site, ipc, getattr(settings, "batch_real", None))
                task = Task(
                    share.train,
                    ipc,
                    draws=job.draws,
                    model=job.model,
                    width=job.width,
                    val=share.val if len(share.val) else None,
                    precision=job.precision,
                )
                self._known[key] = time_distillation(task, job.method, settings, threads), share.train
            parts, measured = self._known[key]
            # TDM looks at real images before its iterations, not in them.
            batch = None if isinstance(settings, TDMSettings) else getattr(settings, "batch_real", None)
            scale = iteration_images(images, ipc, batch) / max(1, iteration_images(measured, ipc, batch))
            # All budgets of a job share the networks trained on real images.
            shared = sum(parts.get(name, 0.0) for name in ("experts", "early networks", "trained networks"))
            once = shared if ipc == job.budgets[0] else 0.0
            total += once + scale * parts["iterations"] + parts.get("views", 0.0) + parts.get("looks", 0.0)
        labels = labels_for(job.method, job.settings)
        if labels.soft:  # of networks that all budgets share
            steps = float(labels.label_networks * labels.label_steps)
            total += self.training(TrainingWork(job.model, len(images), steps, 1, 0.0), images)[0]
        return total

    def training(self, each: TrainingWork, test: ImageSet) -> tuple[float, int]:
        """Return the seconds of training and scoring, and the bytes of one network."""
        network = build(
            each.model,
            channels=test.channels,
            classes=test.n_classes,
            size=test.size,
            width=self.simulation.width,
        )
        if ("score", each.model) not in self._known:
            self._known["score", each.model] = time_scoring(network, test, self.simulation.threads)
        step = self._step(each, network) if each.private is None else self._private_step(each, each.private, network)
        seconds = each.steps * step + each.scored * self._known["score", each.model]
        parameters = sum(p.numel() for p in network.init(generator(0, "init")))
        return seconds, 4 * parameters

    def _step(self, each: TrainingWork, network: Network) -> float:
        recipe = self.simulation.recipe
        batch, key = min(recipe.batch, each.images), ("network", each.model, min(recipe.batch, each.images))
        if key not in self._known:
            self.on_measure(f"networks, {each.model}, batches of {batch}")
            step = Recipe(batch=recipe.batch, augment=recipe.augment)
            x = self._median_share("", 1, None).train
            self._known[key] = time_training_step(network, x, each.images, step, self.simulation.threads)
        return float(self._known[key])

    def _private_step(self, each: TrainingWork, private: DPSGD, network: Network) -> float:
        """Return the seconds of a private step, whose batch grows with the number of images."""
        key = ("private", each.model, private.rate)
        if key not in self._known:
            self.on_measure(f"networks, {each.model}, private")
            x = self._median_share("", 1, None).train
            self._known[key] = time_private_step(network, x, private, self.simulation.threads) / len(x)
        return float(self._known[key]) * each.images

    def _median_share(self, site: str, ipc: int | None, batch: int | None) -> Share:
        if site == EVERYONE:
            return everything(self.holdings)
        some = [share for share in self.holdings.shares if len(share.train)]
        return sorted(some, key=lambda share: iteration_images(share.train, ipc, batch))[len(some) // 2]
