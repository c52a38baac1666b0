"""The rules every grid keeps, on the one that needs no Ray."""

import numpy as np
import pytest
from apps import app
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp.strategy import FedAvg

from fedistill.errors import PlanError, RunError
from fedistill.transport.backend.failure import CANCELLED, RAISED
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.site_grid import SiteGrid


def make_nodes(count: int) -> list[Node]:
    return [Node(i + 1, f"site{i}", {"partition-id": i, "num-partitions": count}) for i in range(count)]


@pytest.fixture
def grid() -> SiteGrid:
    return SiteGrid(app, make_nodes(3), {})


def ask(node_id: int, action: str = "echo", **request: object) -> Message:
    return Message(RecordDict({"ask": ConfigRecord(request)}), node_id, f"query.{action}")


def test_replies_are_sorted_by_site_then_by_sending(grid: SiteGrid) -> None:
    messages = [ask(node_id, number=number) for number, node_id in enumerate([3, 1, 2, 3, 1])]
    replies = grid.send_and_receive(messages)
    said = [(reply.content["said"]["partition"], reply.content["said"]["number"]) for reply in replies]
    assert said == [(0, 1), (0, 4), (1, 2), (2, 0), (2, 3)]
    assert [reply.metadata.reply_to_message_id for reply in replies] == ["2", "5", "3", "1", "4"]
    assert [reply.metadata.src_node_id for reply in replies] == [1, 1, 2, 3, 3]


def test_one_job_runs_per_pull_and_each_reply_is_handed_out_once(grid: SiteGrid) -> None:
    ids = grid.push_messages([ask(1), ask(2)])
    first = grid.pull_messages(ids)
    second = grid.pull_messages(ids)
    assert [len(first), len(second), len(grid.pull_messages(ids))] == [1, 1, 0]
    assert {reply.metadata.reply_to_message_id for reply in first + second} == set(ids)


def test_one_message_object_may_be_sent_twice(grid: SiteGrid) -> None:
    message = ask(1)
    ids = grid.push_messages([message, message])
    replies = grid.pull_messages(ids) + grid.pull_messages(ids)
    assert [reply.metadata.reply_to_message_id for reply in replies] == ids


def test_a_handler_finds_no_state_of_an_earlier_message(grid: SiteGrid) -> None:
    """What a handler leaves in ``context.state`` is gone at the next message, as it is when another process answers."""
    for _ in range(2):
        assert [reply.content["said"]["seen"] for reply in grid.send_and_receive([ask(1), ask(2)])] == [1, 1]


def test_what_a_handler_raises_becomes_one_readable_line_and_spoils_nothing(grid: SiteGrid) -> None:
    content = RecordDict({"ask": ConfigRecord({"number": 7})})
    messages = [
        Message(content, 1, "query.spoil"),
        Message(content, 1, "query.echo"),
        Message(content, 2, "query.echo"),
    ]
    spoilt, first, second = grid.send_and_receive(messages)
    assert spoilt.error.code == RAISED
    line, _, trace = spoilt.error.reason.partition("\n")
    assert line == "ValueError: the images are; not there"
    assert "apps.py" in trace and "\x1b" not in trace
    # The shared content has not kept what it wrote.
    assert [reply.content["said"]["number"] for reply in (first, second)] == [7, 7]


@pytest.mark.parametrize(
    ("action", "line"),
    [
        ("leave", "SystemExit: 3"),
        (
            "nothing",
            "RunError: the handler of 'query.nothing' did not reply; expected: a flwr Message; found: NoneType",
        ),
        ("unheard_of", "ValueError: No query function registered with name 'unheard_of'"),
    ],
)
def test_other_ways_not_to_answer(grid: SiteGrid, action: str, line: str) -> None:
    reply = grid.send_and_receive([ask(1, action)])[0]
    assert reply.error.reason.splitlines()[0] == line


def test_an_app_that_cannot_be_loaded_is_an_error_of_every_job() -> None:
    grid = SiteGrid("apps:no_such_app", make_nodes(2), {})
    replies = grid.send_and_receive([ask(1), ask(2)])
    assert all(reply.error.reason.startswith("RunError: cannot load 'apps:no_such_app'") for reply in replies)


def test_a_timeout_answers_for_those_who_did_not(grid: SiteGrid) -> None:
    replies = grid.send_and_receive([ask(1), ask(2)], timeout=0)
    assert [reply.error.code for reply in replies] == [CANCELLED, CANCELLED]
    assert replies[0].error.reason == "no answer within the 0 s that the server waits"


def test_messages_to_nobody_and_replies_to_nothing_are_refused(grid: SiteGrid) -> None:
    with pytest.raises(RunError, match="addressed to no site"):
        grid.push_messages([ask(1), ask(9)])
    with pytest.raises(RunError, match="No message has this id"):
        grid.pull_messages(["1"])


@pytest.mark.parametrize("bad", [{"num_cpus": 0}, {"num_gpus": -1}, {"threads": 0}, {"memory": 0}, {"node_id": 0}])
def test_resources_that_no_job_could_run_with_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(PlanError, match="site 'north'"):
        Node(**{"node_id": 1, "name": "north", **bad})


def test_two_sites_with_one_address_are_refused() -> None:
    with pytest.raises(PlanError, match="same node id"):
        SiteGrid(app, [Node(1, "a"), Node(1, "b")], {})


def test_flowers_own_fedavg_runs_and_averages_by_examples(grid: SiteGrid) -> None:
    start = np.array([1.0, 2.0], dtype=np.float32)
    result = FedAvg(min_available_nodes=3).start(grid, ArrayRecord({"w": Array(start)}), num_rounds=1, timeout=60)
    # Site i adds i and has i + 1 examples.
    expected = start + np.float32((0 * 1 + 1 * 2 + 2 * 3) / (1 + 2 + 3))
    np.testing.assert_allclose(result.arrays["w"].numpy(), expected, rtol=1e-6)
    assert result.train_metrics_clientapp[1]["loss"] == pytest.approx(8 / 6)
    assert result.evaluate_metrics_clientapp[1]["accuracy"] == 0.5
