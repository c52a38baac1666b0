"""A condition of the comparison: its name, the recipe chosen for it, what was shared for it, its result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedistill.config import Simulation
from fedistill.core.seeds import spawn
from fedistill.training.recipe import Recipe


@dataclass(frozen=True)
class Condition:
    """One line of the comparison.

    Args:
        rounds: of federated averaging; None for other schemes.
        site: whose network it is, where each site has its own; else empty.
        left_out: the site whose Release is kept out of the pool; else empty.
    """

    partition: int
    scheme: str
    ipc: int | None
    seed: int
    model: str
    recipe: str
    rounds: int | None = None
    site: str = ""
    left_out: str = ""

    @property
    def name(self) -> str:
        """For people and progress."""
        budget = "" if self.ipc is None else f" ipc {self.ipc}"
        rounds = "" if self.rounds is None else f" {self.rounds} round{'s' * (self.rounds > 1)}"
        redraw = f" partition {self.partition}" if self.partition else ""
        without = f" without {self.left_out}" if self.left_out else ""
        at = f" at {self.site}" if self.site else ""
        return f"{self.scheme}{budget}{rounds} seed {self.seed}{redraw}{without}{at} {self.model} {self.recipe}"


def network_seed(simulation: Simulation, condition: Condition, index: int) -> int:
    """Return the seed of a condition's network. It names no scheme: all are compared on equal initial networks."""
    return spawn(simulation.seed, "network", condition.partition, condition.seed, condition.model, index)


@dataclass(frozen=True)
class Choice:
    """The recipe that is used, and the quality of every (step size, steps) tried; see `choose`."""

    recipe: Recipe
    tried: dict[tuple[float, int | None], float]


@dataclass(frozen=True)
class Transfer:
    """What crossed the sites' boundaries for one network of a condition.

    Args:
        sites: whose part is in it; missing: why the others' is not, by name.
        images: synthetic or real images; ipc: the same per class, in all; None where weights are shared.
        release_bytes: of Release files, or of networks on their way to the server.
        up, down: bytes from and to the sites, of the encoded messages.
        seconds: the sites' own work, all of them together.
    """

    sites: tuple[str, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    images: int | None = None
    ipc: float | None = None
    release_bytes: int = 0
    up: int = 0
    down: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Result:
    """A condition's networks on the official test split.

    Args:
        probabilities: float32 (networks, N, K).
        choices: the recipe of each network, and its SGD steps; shared: likewise, of each network.
        train_seconds: of each network, where the server trained it or a site did for itself.
    """

    condition: Condition
    shared: Sequence[Transfer]
    recipes: Sequence[Recipe]
    steps: Sequence[int]
    probabilities: np.ndarray
    train_seconds: Sequence[float]
