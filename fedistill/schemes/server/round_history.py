"""One network of federated averaging, from its initial weights through all rounds."""

from dataclasses import dataclass, field
from typing import Any

from fedistill.models import Params
from fedistill.schemes.server.condition import Transfer


@dataclass(frozen=True)
class RunKey:
    """The identity of one network's rounds within a run."""

    partition: int
    scheme: str
    model: str
    seed: int
    network: int
    lr: float

    @property
    def name(self) -> str:
        """Label for people, and the network's name in events."""
        redraw = f" partition {self.partition}" if self.partition else ""
        return f"{self.scheme} {self.model}{redraw} lr {self.lr:g} network {self.network + 1}"


@dataclass(frozen=True, eq=False)
class RoundHistory:
    """A network after each round.

    Args:
        params: after each round.
        notes: for each round its ``sites``, bytes ``up`` and ``down``, and the sites' ``seconds``.
        validation: AUC and balanced accuracy on the sites' validation images after each round; NaN if there are none.
    """

    run_key: RunKey
    params: list[Params]
    notes: list[dict[str, Any]]
    validation: list[tuple[float, float]] = field(default_factory=list)

    def transfer(self, rounds: int) -> Transfer:
        """Return the data that crossed the sites' boundaries in the first ``rounds`` rounds."""
        past = self.notes[:rounds]
        up, down = sum(n["up"] for n in past), sum(n["down"] for n in past)
        seconds = sum(n["seconds"] for n in past)
        took_part = tuple(dict.fromkeys(site for n in past for site in n["sites"]))
        return Transfer(took_part, release_bytes=up, up=up, down=down, seconds=seconds)
