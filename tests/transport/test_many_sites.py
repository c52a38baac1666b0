"""Hundreds of sites: networks go out to some at a time, and what a thousand messages share is read once."""

import asyncio

import torch
from flwr.app import Context, RecordDict

from fedistill.config.federation import Federation
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.server_work import ServerWork
from fedistill.transport.backend.site_grid import SiteGrid
from fedistill.transport.protocol.messages import EvalRequest
from fedistill.transport.server import coordinator as wires
from fedistill.transport.server.coordinator import Coordinator
from fedistill.transport.site.context import read_context


def test_questions_with_networks_are_out_some_at_a_time(monkeypatch):
    monkeypatch.setattr(wires, "AT_ONCE", 3)
    names = tuple(f"site-{i}" for i in range(10))
    grid = SiteGrid("apps:app", [Node(i + 1, name, {"partition-id": i}) for i, name in enumerate(names)], {})
    out, most = 0, 0
    push, pull = grid.push_messages, grid.pull_messages

    def counted_push(messages):
        nonlocal out, most
        pushed = push(messages)
        out += len(pushed)
        most = max(most, out)
        return pushed

    def counted_pull(ids):
        nonlocal out
        replies = pull(ids)
        out -= len(replies)
        return replies

    monkeypatch.setattr(grid, "push_messages", counted_push)
    monkeypatch.setattr(grid, "pull_messages", counted_pull)
    wire = Coordinator(grid, ServerWork(), names)

    async def ask():
        asked = [EvalRequest(name, "convnet", 4, 0, {"w": torch.zeros(1, 2)}) for name in names]
        return await asyncio.gather(*[wire.score(q.name, q) for q in asked])

    answers = wire.conduct(ask())
    assert len(answers) == 10 and all(isinstance(each, str) for each in answers)  # these sites cannot score
    assert most == 3 and out == 0


def test_a_federation_is_read_once_a_process(tmp_path):
    text = Federation(name="f", dataset="phantom:breast", sites=5).model_dump_json()
    config = {"num-partitions": 5, "federation": text, "data-root": "", "store": str(tmp_path)}

    def site(place):
        own = {**config, "partition-id": place}
        return read_context(Context(run_id=1, node_id=1, node_config=own, state=RecordDict(), run_config={}))

    first, last = site(0), site(4)
    assert (first.name, last.name) == ("site-1", "site-5") and first.federation is last.federation
