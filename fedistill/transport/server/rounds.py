"""A round of any of Flower's own server strategies (`flwr.serverapp.strategy`) through the coordinator.

A strategy's ``start`` would block and send to a grid by itself. This file calls its two halves: ``configure_train``
makes the messages, ``aggregate_train`` aggregates the replies. The caller draws the sites, because a strategy draws
from Python's global generator; replies are aggregated in the order of the sites, on which a sum of floats depends.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType
from flwr.serverapp import Grid
from flwr.serverapp import strategy as strategies
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from fedistill.errors import ReleaseError
from fedistill.models import Network, Params
from fedistill.transport.flower_internals import SERVER_ID, acting_as
from fedistill.transport.protocol.codec import arrays_of, params_of
from fedistill.transport.protocol.messages import shown_line
from fedistill.transport.protocol.round_messages import RoundSettings, addressed, check_round_reply, pack_round_reply
from fedistill.transport.server.coordinator import NOBODY, Coordinator


@dataclass(frozen=True, eq=False)
class RoundResult:
    """The outcome of a round.

    Args:
        params: the new global parameters; None without a usable reply.
        sites: whose replies are aggregated.
        missing: why the others' are not, by name.
        up, down: size in bytes of the messages from and to the sites.
        seconds: of the sites' training, summed.
    """

    params: Params | None
    sites: tuple[str, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    up: int = 0
    down: int = 0
    seconds: float = 0.0


class ServerStrategy:
    """A server strategy of Flower's, whose state can be saved and resumed.

    Args:
        name: of the class in `flwr.serverapp.strategy`.
        options: its keyword arguments, except the numbers of participants.
        state: attributes that persist between rounds, each a mapping of parameter names to arrays.
        named: whether name and options belong in the key of its results; false if the key has them otherwise.
    """

    def __init__(
        self, name: str, options: Mapping[str, Any] | None = None, *, state: Sequence[str] = (), named: bool = True
    ) -> None:
        self.name, self.options, self._state, self._named = name, dict(options or {}), tuple(state), named
        self._flower: FedAvg | None = None

    @property
    def flower(self) -> FedAvg:
        """Flower's strategy, made on first use, in which every site that it is given takes part."""
        if self._flower is None:
            kind = getattr(strategies, self.name)
            self._flower = kind(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, **self.options)
        assert self._flower is not None
        return self._flower

    def detail(self) -> dict[str, Any]:
        """Return the part of a store key for this strategy; empty for plain averaging."""
        return {"strategy": [self.name, self.options]} if self.options and self._named else {}

    def fresh(self) -> "ServerStrategy":
        """Return a copy in the state before the first round."""
        return ServerStrategy(self.name, self.options, state=self._state, named=self._named)

    def state(self) -> dict[str, Tensor]:
        """Return the state after a round, as tensors by name."""
        return {
            f"strategy.{attribute}.{name}": torch.from_numpy(np.ascontiguousarray(value))
            for attribute in self._state
            for name, value in (getattr(self.flower, attribute) or {}).items()
        }

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state that `state` returned."""
        for attribute in self._state:
            prefix = f"strategy.{attribute}."
            values = {name.removeprefix(prefix): v.numpy() for name, v in state.items() if name.startswith(prefix)}
            setattr(self.flower, attribute, values or None)

    def requests(self, number: int, arrays: ArrayRecord, config: ConfigRecord, nodes: Sequence[int]) -> list[Message]:
        """Return the messages of a round, one for each node."""
        with _quiet():
            return list(self.flower.configure_train(number, arrays, config, cast(Grid, _Present(list(nodes)))))

    def aggregate(self, number: int, network: Network, replies: Sequence[Message]) -> Params:
        """Return the new global parameters from a round's replies, of which there must be at least one."""
        with _quiet():
            params, _ = self.flower.aggregate_train(number, replies)
        assert params is not None  # there were replies
        # Adaptive strategies compute in float64.
        single = {name: Array(array.numpy().astype(np.float32, copy=False)) for name, array in params.items()}
        return params_of(ArrayRecord(single), network)

    def fold(self, number: int, network: Network, start: Params, replies: Sequence[tuple[int, Params]]) -> Params:
        """Return the new global parameters without a wire, as the shadows of an audit need.

        Args:
            number: of the round, from 1.
            network: whose parameters they are.
            start: the global parameters before the round.
            replies: number of images and parameters of each site, in the federation's order.
        """
        messages = []
        with acting_as(1, SERVER_ID):
            arrays = arrays_of(dict(zip(network.names, start, strict=True)))
            self.requests(number, arrays, ConfigRecord(), [1])
            for examples, params in replies:
                content = pack_round_reply(
                    dict(zip(network.names, params, strict=True)), site="", examples=examples, seconds=0.0
                )
                del content["who"]  # a strategy accepts only arrays and metrics
                messages.append(Message(content, 1, MessageType.TRAIN))
            return self.aggregate(number, network, messages)


async def train_round(
    coordinator: Coordinator,
    strategy: ServerStrategy,
    number: int,
    network: Network,
    params: Params,
    settings: RoundSettings,
    *,
    sites: Sequence[str],
    name: str,
) -> RoundResult:
    """Send the global parameters to sites, which train them, and aggregate the replies.

    Args:
        coordinator: of the study.
        strategy: aggregates the replies.
        number: of the round, from 1.
        network: whose parameters they are.
        params: the global parameters.
        settings: of the round.
        sites: the participants, in the federation's order.
        name: of the network, for people; each site's job is called ``SITE NAME round NUMBER``.
    """
    nodes = {coordinator.node_of(site): site for site in sites if coordinator.node_of(site) is not None}
    missing = {site: NOBODY for site in sites if site not in nodes.values()}
    if not nodes:
        return RoundResult(None, (), missing)
    names = {node: f"{site} {name} round {number}" for node, site in nodes.items() if node is not None}
    arrays = arrays_of(dict(zip(network.names, params, strict=True)))
    spelt = addressed(strategy.requests(number, arrays, settings.config(), list(names)), names)
    messages = [_sent(coordinator, message, names[message.metadata.dst_node_id]) for message in spelt]
    exchanges = await asyncio.gather(
        *[coordinator.exchange(nodes[m.metadata.dst_node_id], m, purpose=settings.scheme) for m in messages]
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
        del reply.content["who"]  # a strategy accepts only arrays and metrics
    params = strategy.aggregate(number, network, good)
    return RoundResult(params, tuple(answered), missing, up, down, seconds)


def _sent(coordinator: Coordinator, message: Message, name: str) -> Message:
    """Return a round's message as it goes to the coordinator's sites."""
    to, beside = message.metadata, {"arrays": message.content["arrays"]}
    return Message(coordinator.content([name], lambda: message.content, beside), to.dst_node_id, to.message_type)


class _Present:
    """The part of a grid that a strategy uses: the ids of the nodes drawn, all of which it then takes."""

    def __init__(self, nodes: list[int]) -> None:
        self._nodes = nodes

    def get_node_ids(self) -> list[int]:
        return self._nodes


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Flower's log line on every round's sample: our own progress shows it."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
