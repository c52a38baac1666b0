"""One line of sites.csv: what a site gave for one budget, or why it gave nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedistill.config import Job
from fedistill.release.release import Release
from fedistill.transport.protocol.messages import Outcome


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
    def of(
        cls,
        job: Job,
        scheme: str,
        ipcs: Mapping[int | None, int | None],
        release: Release | None,
        outcome: Outcome,
        why: str,
    ) -> "list[SiteRow]":
        """A row for each of the job's budgets.

        Args:
            scheme: the simulation's; ipcs: its budgets, and those that the job has in their place.
        """
        status = "shared" if release is not None else "refused" if outcome.refused else "failed"
        rows = []
        for i, (ipc, asked) in enumerate(ipcs.items()):
            single = None if release is None else release.only(asked, draw=0)
            packed = None if single is None else single.sets[asked]
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
                    found=i < outcome.found,
                )
            )
        return rows


def _classes(labels: np.ndarray) -> int:
    return int((labels > 0).any(0).sum()) if labels.ndim == 2 else len(np.unique(labels))
