"""The list of a simulation's work: networks, an audit's shadows, and the bytes of Releases."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedistill.config import Job, job
from fedistill.config.scheme import scheme_named
from fedistill.core.seeds import rng
from fedistill.data import ImageSet
from fedistill.privacy.attacks.attack_metrics import measure
from fedistill.privacy.attacks.registry import SEEN
from fedistill.privacy.attacks.shadow_design import halves
from fedistill.privacy.attacks.shadows import MOVES
from fedistill.schemes.base import study_scheme
from fedistill.schemes.server.condition import Condition
from fedistill.schemes.server.shadows import POPULATION, AuditTarget
from fedistill.schemes.server.work import Forecast, TrainingWork, iteration_images
from fedistill.study.audit.auditing import targets

OVERHEAD_BYTES = 3_000  # of a reply around its tensors; of a request a sixth


def trainings(conditions: Sequence[Condition], forecast: Forecast) -> Iterator[TrainingWork]:
    """Yield the training for the conditions of one partition, shared work once."""
    seen = set()
    for condition in conditions:
        for key, training in study_scheme(condition.scheme).work(condition, forecast):
            if key not in seen:
                seen.add(key)
                yield training


@dataclass(frozen=True)
class Shadows:
    """The shadows of one target.

    Args:
        count: number of shadows.
        images: of one shadow; only their counts matter.
        job: the distillation of one shadow, if there is one.
        trainings: of one shadow's networks.
        records: number of records under attack.
    """

    target: AuditTarget
    count: int
    images: ImageSet
    job: Job | None
    trainings: tuple[TrainingWork, ...]
    records: int

    @property
    def key(self) -> tuple[object, ...]:
        """Key that equal shadows of other points of a sweep share."""
        return self.target, self.count, self.images.name, len(self.images), repr(self.job), self.trainings


def shadows_of(forecast: Forecast) -> Iterator[Shadows]:
    """Yield the shadows of every target of a simulation's audit; none without an audit.

    A shadow that distils repeats the attacked site's job for one budget, on half of its images.
    """
    simulation, audit = forecast.simulation, forecast.simulation.audit
    if audit is None:
        return
    site = audit.site_of(simulation.federation.sites)
    train = forecast.share(site).train
    half = train.take(range(0, len(train), 2))
    for target in targets(simulation):
        distilled = None
        if scheme_named(target.scheme).pools_releases:
            ipcs = () if target.ipc is None else (target.ipc,)
            distilled = replace(job(simulation, site, target.scheme, 0, 0), ipcs=ipcs)
        scored = len(train) * (1 + len(MOVES)) + min(POPULATION, forecast.test)
        work = study_scheme(target.scheme).shadow_work(target, site, scored, forecast)
        yield Shadows(target, audit.shadows, half, distilled, tuple(work), len(train))


def attack_seconds(shadows: Shadows) -> float:
    """Measure the seconds of all attacks on one target, with their intervals, on random scores."""
    design = halves(max(2, shadows.records), shadows.count, seed=0)
    scores = rng(0, "scores").standard_normal(design.membership.shape)
    begun = time.process_time()
    measure(np.asarray(scores), design, seed=0)
    seen = [attack for attack, what in SEEN.items() if what == "network" or shadows.job is not None]
    return (time.process_time() - begun) * len(seen)


def release_bytes(images: ImageSet, ipc: int | None, draws: int, pixel: int, *, soft: int = 0) -> int:
    """Return the bytes of one Release with this budget: ``pixel`` a pixel, and ``soft`` probabilities an image."""
    count = len(images) if ipc is None else iteration_images(images, ipc, None) * draws
    label = (4 * images.n_classes if images.multilabel else 8) + 4 * soft
    return count * (pixel * images.channels * images.size**2 + label + 8 * (draws > 1)) + OVERHEAD_BYTES
