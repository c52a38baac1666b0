"""A condition of the comparison, the recipe chosen for it, what was shared for it, and its result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedistill.config import Simulation
from fedistill.core.seeds import spawn
from fedistill.training.recipe import Recipe


@dataclass(frozen=True)
class Condition:
    """A condition of the comparison.

    Args:
        rounds: of federated averaging; None for other schemes.
        site: the network's site if each site has its own; else empty.
        left_out: the site whose Release is left out of the pool; else empty.
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
        """Label for people, and the condition's name in events."""
        budget = "" if self.ipc is None else f" ipc {self.ipc}"
        rounds = "" if self.rounds is None else f" {self.rounds} round{'s' * (self.rounds > 1)}"
        redraw = f" partition {self.partition}" if self.partition else ""
        without = f" without {self.left_out}" if self.left_out else ""
        at = f" at {self.site}" if self.site else ""
        return f"{self.scheme}{budget}{rounds} seed {self.seed}{redraw}{without}{at} {self.model} {self.recipe}"


def network_seed(simulation: Simulation, condition: Condition, index: int) -> int:
    """Return the seed of a condition's network, the same for all schemes so that they start from equal networks."""
    return spawn(simulation.seed, "network", condition.partition, condition.seed, condition.model, index)


@dataclass(frozen=True)
class Choice:
    """The chosen recipe, and the quality of every candidate (step size, steps); see `choose`."""

    recipe: Recipe
    tried: dict[tuple[float, int | None], float]


@dataclass(frozen=True)
class Transfer:
    """Data that crossed the sites' boundaries for one network of a condition.

    Args:
        sites: that contributed.
        missing: why the other sites did not, by name.
        images: shared synthetic or real images, of all sites; None if weights are shared.
        ipc: the same per class.
        release_bytes: size of the Release files, or of the networks sent to the server.
        up, down: size in bytes of the encoded messages from and to the sites.
        seconds: of the sites' own work, summed over sites.
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
    """The outcome of a condition on the official test split.

    Args:
        shared: transfer of each network.
        recipes, steps: recipe and SGD steps of each network.
        probabilities: float32 (networks, N, K).
        train_seconds: of each network, at the server or at the site that trained it.
    """

    condition: Condition
    shared: Sequence[Transfer]
    recipes: Sequence[Recipe]
    steps: Sequence[int]
    probabilities: np.ndarray
    train_seconds: Sequence[float]
