"""Compute time of a run: the seconds in which jobs compute, those of sites apart from the server's.

Not among them: starting a process and its imports, messages and results on their way, waiting, and the driver's own
writing. A job that was cancelled or whose process died has no seconds here: what it did is lost.
"""

from dataclasses import dataclass
from typing import Literal

Lane = Literal["site", "question", "server"]


@dataclass
class Busy:
    """Seconds of work, added up while a run goes on.

    Args:
        sites_seconds: times the CPUs that each job had to itself; server_seconds: likewise.

    >>> busy = Busy()
    >>> busy.add("site", 2.0, cpus=0.5); busy.add("question", 1.0); busy.add("server", 4.0)
    >>> busy
    Busy(sites_seconds=2.0, server_seconds=4.0)
    """

    sites_seconds: float = 0.0
    server_seconds: float = 0.0

    def add(self, lane: Lane, seconds: float, *, cpus: float = 1.0) -> None:
        """Enter one finished job."""
        if lane == "server":
            self.server_seconds += seconds * cpus
        else:
            self.sites_seconds += seconds * cpus
