"""One round of any of Flower's own server strategies (`flwr.serverapp.strategy`) through the coordinator.

A strategy's ``start`` would block and sends to a grid by itself; its two halves, which every strategy has, do the same
work here: ``configure_train`` makes the messages, ``aggregate_train`` folds the replies. Who takes part is drawn by the
caller, for a strategy draws from Python's global generator; replies are folded in the order of the sites, for a sum of
floats depends on it.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType
from flwr.serverapp import Grid
from flwr.serverapp import strategy as strategies
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from fedistill.errors import ReleaseError
from fedistill.models import Network, Params
from fedistill.transport.flower_internals import SERVER_ID, acting_as
from fedistill.transport.protocol.messages import shown_line
from fedistill.transport.protocol.training_messages import (
    RoundSettings,
    addressed,
    arrays_of,
    check_round_reply,
    pack_round_reply,
    params_of,
)
from fedistill.transport.server.coordinator import NOBODY, Coordinator


@dataclass(frozen=True, eq=False)
class RoundResult:
    """What came of a round.

    Args:
        params: the new global parameters; None where no site's reply could be used.
        sites: whose replies are in it; missing: why the others are not, by name.
        up, down: bytes of the messages from and to the sites.
        seconds: the sites' training, added up.
    """

    params: Params | None
    sites: tuple[str, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    up: int = 0
    down: int = 0
    seconds: float = 0.0


class ServerStrategy:
    """One of Flower's server strategies, whose state can be kept and taken up again.

    Args:
        name: of the class in `flwr.serverapp.strategy`; options: its keyword arguments beside who takes part.
        state: its attributes that go from round to round, each a mapping of parameter names to arrays.
        named: whether name and options belong in the key of what it computes; not where the key has them anyhow.
    """

    def __init__(
        self, name: str, options: Mapping[str, Any] | None = None, *, state: Sequence[str] = (), named: bool = True
    ) -> None:
        self.name, self.options, self._state, self._named = name, dict(options or {}), tuple(state), named
        self._flower: FedAvg | None = None

    @property
    def flower(self) -> FedAvg:
        """Flower's object, made when it is first wanted; every site handed to it takes part."""
        if self._flower is None:
            kind = getattr(strategies, self.name)
            self._flower = kind(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, **self.options)
        assert self._flower is not None
        return self._flower

    def detail(self) -> dict[str, Any]:
        """Return what a key takes of it; nothing of plain averaging."""
        return {"strategy": [self.name, self.options]} if self.options and self._named else {}

    def fresh(self) -> "ServerStrategy":
        """Return the same strategy before its first round."""
        return ServerStrategy(self.name, self.options, state=self._state, named=self._named)

    def state(self) -> dict[str, Tensor]:
        """Return its state after a round, as tensors by name."""
        return {
            f"strategy.{kept}.{name}": torch.from_numpy(np.ascontiguousarray(value))
            for kept in self._state
            for name, value in (getattr(self.flower, kept) or {}).items()
        }

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Put it in the state that `state` returned."""
        for kept in self._state:
            prefix = f"strategy.{kept}."
            values = {name.removeprefix(prefix): v.numpy() for name, v in state.items() if name.startswith(prefix)}
            setattr(self.flower, kept, values or None)

    def requests(self, number: int, arrays: ArrayRecord, config: ConfigRecord, nodes: Sequence[int]) -> list[Message]:
        """Return the messages of a round, one for each node."""
        with _quiet():
            return list(self.flower.configure_train(number, arrays, config, cast(Grid, _Present(list(nodes)))))

    def aggregate(self, number: int, replies: Sequence[Message]) -> ArrayRecord:
        """Return the new global parameters from a round's replies, which there must be."""
        with _quiet():
            folded, _ = self.flower.aggregate_train(number, replies)
        assert folded is not None  # there were replies
        return folded

    def fold(self, number: int, network: Network, start: Params, replies: Sequence[tuple[int, Params]]) -> Params:
        """Return the new global parameters without a wire, as an audit's shadow folds what its sites trained.

        Args:
            number: of the round, from 1; start: the global parameters before it.
            replies: image counts and parameters, a site each, in the federation's order.
        """
        messages = []
        with acting_as(1, SERVER_ID):
            arrays = arrays_of(dict(zip(network.names, start, strict=True)))
            self.requests(number, arrays, ConfigRecord(), [1])
            for examples, params in replies:
                content = pack_round_reply(
                    dict(zip(network.names, params, strict=True)), site="", examples=examples, seconds=0.0
                )
                del content["who"]  # a strategy knows arrays and metrics alone
                messages.append(Message(content, 1, MessageType.TRAIN))
            return params_of(self.aggregate(number, messages), network)


async def train_round(
    coordinator: Coordinator,
    strategy: ServerStrategy,
    number: int,
    network: Network,
    params: Params,
    asked: RoundSettings,
    *,
    sites: Sequence[str],
    name: str,
) -> RoundResult:
    """Send the global parameters to sites, let each train, fold what comes back.

    Args:
        number: of the round, from 1.
        sites: who takes part, in the federation's order.
        name: of what is trained, for people; each site's job is called ``SITE NAME round NUMBER``.
    """
    nodes = {coordinator.node_of(site): site for site in sites if coordinator.node_of(site) is not None}
    missing = {site: NOBODY for site in sites if site not in nodes.values()}
    if not nodes:
        return RoundResult(None, (), missing)
    names = {node: f"{site} {name} round {number}" for node, site in nodes.items() if node is not None}
    arrays = arrays_of(dict(zip(network.names, params, strict=True)))
    messages = addressed(strategy.requests(number, arrays, asked.config(), list(names)), names)
    exchanges = await asyncio.gather(
        *[coordinator.exchange(nodes[m.metadata.dst_node_id], m, purpose=asked.scheme) for m in messages]
    )
    good: list[Message] = []
    seconds, answered = 0.0, []
    for message, exchange in zip(messages, exchanges, strict=True):
        site = nodes[message.metadata.dst_node_id]
        if exchange.why:
            missing[site] = exchange.why
            continue
        try:
            seconds += check_round_reply(exchange.reply.content, site=site, network=network)
        except ReleaseError as error:
            missing[site] = f"refused by the server: {shown_line(error)}"
            continue
        good.append(exchange.reply)
        answered.append(site)
    up, down = sum(e.up for e in exchanges), sum(e.down for e in exchanges)
    if not good:
        return RoundResult(None, (), missing, up, down, seconds)
    for reply in good:
        del reply.content["who"]  # a strategy knows arrays and metrics alone
    params = params_of(strategy.aggregate(number, good), network)
    return RoundResult(params, tuple(answered), missing, up, down, seconds)


class _Present:
    """All that a strategy wants of a grid: who is there. It draws from them; handed only those drawn, it takes all."""

    def __init__(self, nodes: list[int]) -> None:
        self._nodes = nodes

    def get_node_ids(self) -> list[int]:
        return self._nodes


@contextmanager
def _quiet() -> Iterator[None]:
    """Flower says at every round who was sampled; that is told by our own progress."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
