"""A simulated site as the grids see it: an address, what its handler is told, and what a job of it may use."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Node:
    """The address, configuration and resources of one simulated site.

    Args:
        node_id: Flower's address of the site, 1 or more. FeDistill numbers sites in the order of their file.
        name: the site's name, for people: progress, errors, reports.
        config: Flower's ``context.node_config``; a simulated site has ``partition-id`` and ``num-partitions``.
        num_cpus: CPUs Ray sets aside for each of the site's jobs, above 0; a fraction lets several share one.
        num_gpus: GPUs likewise. With 0 a job on Ray sees no GPU at all.
        memory: bytes Ray sets aside for each job, or None. A promise for scheduling, not a limit that is enforced.
        threads: torch threads of each job. It changes the last bits of sums, so it belongs to the site and never
            follows from how many workers there happen to be.
    """

    node_id: int
    name: str
    config: Mapping[str, bool | float | int | str] = field(default_factory=dict)
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory: int | None = None
    threads: int = 1
