"""The history of a network that goes through rounds: its parameters and what they cost, round by round."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fedistill.models import Params
from fedistill.schemes.server.condition import Transfer
from fedistill.schemes.server.context import StudyContext
from fedistill.transport.server.rounds import ServerStrategy


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


def curve_table(curves: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rounds.csv, a row for each network and round, sorted."""
    keys = ["partition", "scheme", "model", "seed", "network", "lr", "round"]
    return pd.DataFrame(curves).sort_values(keys, ignore_index=True)


def curve_rows(ctx: StudyContext, history: RoundHistory, probabilities: np.ndarray) -> Iterator[dict[str, Any]]:
    """Yield the rows of rounds.csv of one network."""
    for i, (auc, balanced) in enumerate(history.validation):
        transfer = history.transfer(i + 1)
        yield {
            **asdict(history.run_key),
            "round": i + 1,
            "sites": len(history.notes[i]["sites"]),
            "validation_auc": auc,
            "validation_balanced_accuracy": balanced,
            **ctx.trainer.quality(probabilities[i]),
            "bytes_up": transfer.up,
            "bytes_down": transfer.down,
            "sites_seconds": round(transfer.seconds, 3),
        }


def resume(kept: Any, names: tuple[str, ...], strategy: ServerStrategy) -> tuple[list[Params], list[dict[str, Any]]]:
    """Return parameters and notes of a checkpoint's rounds, and restore the strategy's state after them."""
    if kept is None:
        return [], []
    tensors, note = kept
    strategy.resume({name: value for name, value in tensors.items() if name not in names})
    rounds = len(note["rounds"])
    return [tuple(tensors[name][i] for name in names) for i in range(rounds)], list(note["rounds"])


def stack_rounds(params: list[Params]) -> list[Tensor]:
    """Stack the parameters after each round into tensors with a leading axis of rounds."""
    return [torch.stack(parts) for parts in zip(*params, strict=True)]
