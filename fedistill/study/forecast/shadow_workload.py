"""What an audit takes: its shadows, each as much work as what it stands for, and what is made of their signals.

A shadow that distils does what the attacked site does for one budget, on half of its images, and trains networks on the
pool; one that trains, alone or in rounds, does that. What attacks find is worked out once a line, by the driver.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedistill.config import Holdings, Job, job
from fedistill.config.scheme_settings import DPFedAvgSettings, PrivateAloneSettings, scheme_named
from fedistill.core.seeds import rng
from fedistill.data import ImageSet
from fedistill.privacy.attacks.attack_metrics import measure
from fedistill.privacy.attacks.registry import SEEN
from fedistill.privacy.attacks.shadow_design import halves
from fedistill.study.arms.condition import Arm
from fedistill.study.audit.shadow_spec import POPULATION, Line
from fedistill.study.forecast.workload import Training, grown, pool_size
from fedistill.study.orchestrator import Study


@dataclass(frozen=True)
class Shadows:
    """The shadows of one line.

    Args:
        line: what is attacked; count: of its shadows.
        images: that one holds, of which only the counts are looked at.
        job: the distillation, where there is one; trainings: the networks of one shadow.
        records: that are attacked; key: equal for equal shadows of other points of a sweep.
    """

    line: Line
    count: int
    images: ImageSet
    job: Job | None
    trainings: tuple[Training, ...]
    records: int

    @property
    def key(self) -> tuple[object, ...]:
        return self.line, self.count, self.images.name, len(self.images), repr(self.job), self.trainings


def shadows_of(study: Study, held: Holdings, test: int) -> Iterator[Shadows]:
    """Of every line of a study's audit; of none where it has no audit.

    Args:
        test: images of the official test split.
    """
    simulation, audit = study.simulation, study.simulation.audit
    if audit is None:
        return
    site = study.audit.site
    share = held.shares[simulation.federation.sites.index(site)]
    half = share.train.take(range(0, len(share.train), 2))
    for line in study.audit.lines():
        known = scheme_named(line.scheme)
        asked = None
        if known.method is not None:
            asked = replace(job(simulation, site, line.scheme, 0, 0), ipcs=() if line.ipc is None else (line.ipc,))
        scored = len(share.train) + min(POPULATION, test)
        trainings = tuple(_trainings(study, line, held, half, scored))
        yield Shadows(line, audit.shadows, half, asked, trainings, len(share.train))


def _trainings(study: Study, line: Line, held: Holdings, half: ImageSet, scored: int) -> Iterator[Training]:
    simulation, audit = study.simulation, study.simulation.audit
    assert audit is not None
    model, known = simulation.models[0], scheme_named(line.scheme)
    settings: Any = None if known.method else known.read(simulation.settings(line.scheme))
    if isinstance(settings, PrivateAloneSettings):
        yield Training(model, len(half), settings.private.steps, 1, scored, private=settings.private)
    elif known.kind == "rounds":
        private = settings.private if isinstance(settings, DPFedAvgSettings) else None
        networks = 1 if private else audit.networks
        site = study.audit.site
        for name, share in zip(simulation.federation.sites, held.shares, strict=True):
            n = max(1, len(half) if name == site else len(share.train))
            batches = -(-n // min(simulation.recipe.batch, n))
            each = settings.local_steps if private else settings.local_epochs * batches
            visits = networks * (line.rounds or 1) * settings.fraction
            yield Training(model, n, visits * each, 1, visits * scored * (name == site), private=private)
    else:
        alone = known.kind in ("local", "ensemble")
        images = len(half) if alone else pool_size(simulation, Arm(0, line.scheme, line.ipc, 0, model, "common"), held)
        steps = grown(simulation, grows=line.ipc is None, chooses=False)[0] / simulation.networks
        steps = steps if audit.steps is None else min(steps, audit.steps)
        yield Training(model, max(1, images), audit.networks * steps, 1, audit.networks * scored)


def judging_seconds(shadows: Shadows) -> float:
    """Of all attacks on one line, their intervals above all: one of them on chance scores, measured here."""
    design = halves(max(2, shadows.records), shadows.count, seed=0)
    scores = rng(0, "scores").standard_normal(design.membership.shape)
    begun = time.process_time()
    measure(np.asarray(scores), design, seed=0)
    seen = [attack for attack, what in SEEN.items() if what == "network" or shadows.job is not None]
    return (time.process_time() - begun) * len(seen)
