"""A run's time, divided into the sites' work, the server's, and everything else."""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fedistill.core.files import write_atomic


@dataclass(frozen=True)
class Timing:
    """The seconds of a run.

    Args:
        workers: number of CPUs.
        wall_seconds: from its beginning until its tables, or its report, were written.
        start_seconds: of these, until Ray was ready.
        sites_seconds, server_seconds: compute time of the sites and of the server, summed over CPUs.
        began: ``time.perf_counter()`` at its beginning.

    >>> timing = Timing(workers=2, wall_seconds=612, start_seconds=5, sites_seconds=746.6, server_seconds=403.9)
    >>> print(timing.line())
    612 s on 2 workers: sites 61 %, server 33 %, everything else 6 % (start, messages, waiting, writing)
    """

    workers: int
    wall_seconds: float
    start_seconds: float
    sites_seconds: float
    server_seconds: float
    began: float = 0.0

    def until_now(self) -> "Timing":
        """Return the timing with its end moved to now, to include what was written since."""
        return replace(self, wall_seconds=time.perf_counter() - self.began)

    @property
    def sites(self) -> float:
        """The sites' share of the workers' time, 0 to 1."""
        return self.sites_seconds / (self.workers * self.wall_seconds)

    @property
    def server(self) -> float:
        """The server's share of the workers' time, 0 to 1."""
        return self.server_seconds / (self.workers * self.wall_seconds)

    @property
    def rest(self) -> float:
        """The remaining share of the workers' time, 0 to 1."""
        return 1 - self.sites - self.server

    def line(self) -> str:
        """Return the timing as text; its rounded shares add up to 100 %."""
        sites, server = round(100 * self.sites), round(100 * self.server)
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        shares = f"sites {sites} %, server {server} %, everything else {100 - sites - server} %"
        return f"{self.wall_seconds:.0f} s on {workers}: {shares} (start, messages, waiting, writing)"

    def write(self, folder: Path) -> None:
        """Write timing.json."""
        write_atomic(folder / "timing.json", json.dumps(self.record(), indent=2, sort_keys=True) + "\n")

    def record(self) -> dict[str, Any]:
        """Return the content of timing.json."""
        seconds = {name: round(value, 3) for name, value in asdict(self).items() if name.endswith("_seconds")}
        shares = {"sites": self.sites, "server": self.server, "everything_else": self.rest}
        return {"workers": self.workers, **seconds, "shares": {name: round(value, 4) for name, value in shares.items()}}
