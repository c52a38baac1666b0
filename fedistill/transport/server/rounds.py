"""One round of Flower's own strategies (`flwr.serverapp.strategy`) through the coordinator: FedAvg and FedProx.

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
from typing import cast

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, FedProx

from fedistill.errors import ReleaseError
from fedistill.models import Network, Params
from fedistill.transport.protocol.messages import shown_line
from fedistill.transport.protocol.training_messages import (
    RoundRequest,
    addressed,
    arrays_of,
    check_round_reply,
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


def strategy_for(mu: float) -> FedAvg:
    """Flower's FedAvg, or with a proximal term its FedProx; every site handed to it takes part."""
    if mu:
        return FedProx(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1, proximal_mu=mu)
    return FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1)


async def train_round(
    coordinator: Coordinator,
    strategy: FedAvg,
    number: int,
    network: Network,
    params: Params,
    asked: RoundRequest,
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
    with _quiet():
        there = cast(Grid, _Present(list(names)))
        messages = addressed(strategy.configure_train(number, arrays, asked.config(), there), names)
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
    with _quiet():
        folded, _ = strategy.aggregate_train(number, good)
    assert folded is not None  # there were replies
    return RoundResult(params_of(folded, network), tuple(answered), missing, up, down, seconds)


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
