"""A row of sites.csv: what a site shared for one budget, or why it shared nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedistill.config import Job
from fedistill.release.release import Release
from fedistill.transport.protocol.messages import Outcome


@dataclass(frozen=True)
class SiteRow:
    """A row of sites.csv, and whether the site's store already had the images (``stored``)."""

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
    stored: bool

    @classmethod
    def of(
        cls,
        job: Job,
        scheme: str,
        ipcs: Mapping[int | None, int | None],
        release: Release | None,
        outcome: Outcome,
        why: str,
    ) -> "list[SiteRow]":
        """Return a row for each of the simulation's budgets; ``ipcs`` maps them to the job's."""
        status = "shared" if release is not None else "refused" if outcome.refused else "failed"
        rows = []
        for i, (ipc, own) in enumerate(ipcs.items()):
            single = None if release is None else release.only(own, draw=0)
            packed = None if single is None else single.sets[own]
            rows.append(
                cls(
                    partition=job.partition,
                    site=job.site,
                    scheme=scheme,
                    ipc=ipc,
                    seed=job.seed,
                    status=status,
                    images_shared=None if packed is None else len(packed),
                    bytes_shared=None if single is None else len(single.to_bytes()),
                    classes_shared=None if packed is None else _classes(packed.labels.numpy()),
                    why=why,
                    distill_seconds=round(outcome.seconds[i], 3) if i < len(outcome.seconds) else None,
                    stored=i < outcome.found,
                )
            )
        return rows


def _classes(labels: np.ndarray) -> int:
    return int((labels > 0).any(0).sum()) if labels.ndim == 2 else len(np.unique(labels))
