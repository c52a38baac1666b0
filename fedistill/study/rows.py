"""Rows: what a run has measured, one per network, and one per site and budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fedistill.distill.release import Release
from fedistill.federation.messages import Outcome
from fedistill.plan import Job, Simulation
from fedistill.study.arm import Arm, Choice
from fedistill.study.pool import Pool
from fedistill.training.metrics import METRICS, score


@dataclass(frozen=True, eq=False)
class Scored:
    """An arm's networks on the official test split.

    Args:
        probabilities: float32 (networks, N, K).
        distill_seconds: of all sites together, for this budget.
        train_seconds: of each network.
    """

    arm: Arm
    pool: Pool
    choice: Choice
    probabilities: np.ndarray
    distill_seconds: float
    train_seconds: Sequence[float]


def results(simulation: Simulation, dataset: str, labels: np.ndarray, scored: Sequence[Scored]) -> pd.DataFrame:
    """A row a network, in the order of the simulation's file whatever was finished first.

    Args:
        dataset: name of the data the networks were tested on.
        labels: int64 (N,) or (N, L), of the official test split.
    """
    rows: list[dict[str, Any]] = []
    for each in scored:
        arm, pool = each.arm, each.pool
        for network, probabilities in enumerate(each.probabilities):
            metrics = score(labels, probabilities)
            rows.append(
                {
                    "simulation": simulation.name,
                    "dataset": dataset,
                    "federation": simulation.federation.name,
                    "partition": arm.partition,
                    "scheme": arm.scheme,
                    "ipc": arm.ipc,
                    "pool_ipc": round(pool.ipc, 6),
                    "seed": arm.seed,
                    "recipe": arm.recipe,
                    "model": arm.model,
                    "network": network,
                    **{metric: metrics[metric] for metric in METRICS},
                    "n_sites": len(pool.sites),
                    "images_shared": pool.images_shared,
                    "bytes_shared": pool.bytes_shared,
                    "lr": each.choice.recipe.lr,
                    "steps": each.choice.recipe.steps_for(len(pool.of_network(network)[0])),
                    "distill_seconds": round(each.distill_seconds, 3),
                    "train_seconds": round(each.train_seconds[network], 3),
                }
            )
    frame = pd.DataFrame(rows)
    frame["ipc"] = frame["ipc"].astype("Int64")
    return frame


@dataclass(frozen=True)
class SiteRow:
    """What one site gave for one budget, or why it gave nothing."""

    partition: int
    site: str
    scheme: str
    ipc: int | None
    seed: int
    status: str
    images_shared: int | None
    bytes_shared: int | None
    classes_shared: int | None
    why: str
    distill_seconds: float | None
    found: bool

    @classmethod
    def of(cls, job: Job, release: Release | None, outcome: Outcome, why: str) -> "list[SiteRow]":
        """A row for each of the job's budgets."""
        status = "shared" if release is not None else "refused" if outcome.refused else "failed"
        rows = []
        for i, ipc in enumerate(job.budgets):
            single = None if release is None else release.only(ipc, draw=0)
            packed = None if single is None else single.sets[ipc]
            rows.append(
                cls(
                    partition=job.partition,
                    site=job.site,
                    scheme=job.scheme,
                    ipc=ipc,
                    seed=job.seed,
                    status=status,
                    images_shared=None if packed is None else len(packed),
                    bytes_shared=None if single is None else len(single.to_bytes()),
                    classes_shared=None if packed is None else _classes(packed.labels.numpy()),
                    why=why,
                    distill_seconds=round(outcome.seconds[i], 3) if i < len(outcome.seconds) else None,
                    found=i < outcome.found,
                )
            )
        return rows


def _classes(labels: np.ndarray) -> int:
    return int((labels > 0).any(0).sum()) if labels.ndim == 2 else len(np.unique(labels))


def sites(simulation: Simulation, rows: Sequence[SiteRow]) -> pd.DataFrame:
    """sites.csv: a row a site and budget, in the simulation's order."""
    schemes, names = list(simulation.scheme), list(simulation.federation.sites)
    ordered = sorted(
        rows, key=lambda r: (r.partition, schemes.index(r.scheme), r.seed, names.index(r.site), r.ipc or 0)
    )
    frame = pd.DataFrame([{k: v for k, v in vars(row).items() if k != "found"} for row in ordered])
    for column in ("ipc", "images_shared", "bytes_shared", "classes_shared"):
        frame[column] = frame[column].astype("Int64")
    return frame
