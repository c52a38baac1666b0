"""A simulated site as the grids see it: an address, what its handler is told, and what a job of it may use."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedistill.errors import PlanError


@dataclass(frozen=True)
class Node:
    """The address, configuration and resources of one simulated site.

    Args:
        node_id: Flower's address of the site, 1 or more. FeDistill numbers sites in the order of their file.
        name: the site's name, for people: progress, errors, reports.
        config: Flower's ``context.node_config``; a simulated site has ``partition-id`` and ``num-partitions``.
        num_cpus: CPUs Ray sets aside for each of the site's jobs; a fraction lets several share one.
        num_gpus: GPUs likewise. With 0 a job on Ray sees no GPU at all.
        memory: bytes Ray sets aside for each job, or None. A promise for scheduling, not a limit that is enforced.
        threads: torch threads of each job. It changes the last bits of sums, so it belongs to the site and never
            follows from how many workers there happen to be.

    Raises:
        PlanError: for resources that no job could run with.
    """

    node_id: int
    name: str
    config: Mapping[str, bool | float | int | str] = field(default_factory=dict)
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    memory: int | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        where = f"site {self.name!r}"
        if self.node_id < 1:
            raise PlanError(f"{where} has no site's node id", expected="1 or more", found=self.node_id)
        if self.num_cpus <= 0:
            # Ray starts any number of tasks that ask for nothing, all at once.
            raise PlanError(f"{where} requests no CPU", expected="cpus above 0, such as 0.5 or 1", found=self.num_cpus)
        if self.num_gpus < 0:
            raise PlanError(f"{where} requests less than no GPU", expected="gpus of 0 or more", found=self.num_gpus)
        if self.threads < 1:
            raise PlanError(f"{where} has no thread to run on", expected="threads of 1 or more", found=self.threads)
        if self.memory is not None and self.memory < 1:
            raise PlanError(f"{where} requests no memory", expected="memory in bytes, or none", found=self.memory)
