"""Progress: what passes the throttle, and where it goes."""

from apps import app
from flwr.app import ConfigRecord, Message, RecordDict

from fedistill.transport.backend.events import Mailbox, delivered_to, emitter
from fedistill.transport.backend.inline_grid import InlineGrid
from fedistill.transport.backend.nodes import Node


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_at_most_two_events_a_second_pass() -> None:
    seen: list[dict] = []
    clock = Clock()
    with delivered_to(seen.append):
        emit = emitter("a job", clock=clock)
    for step in range(20):  # two seconds, ten steps a second
        clock.now = 100 + step / 10
        emit({"step": step})
    assert [event["step"] for event in seen] == [0, 5, 10, 15]
    assert all(event["job"] == "a job" and event["time"] > 1e9 for event in seen)


def test_first_events_new_stages_and_final_ones_always_pass() -> None:
    seen: list[dict] = []
    with delivered_to(seen.append):
        emit = emitter("a job", clock=Clock())
    for event in (
        {"stage": "a", "n": 0},
        {"stage": "a", "n": 1},
        {"n": 2},
        {"stage": "b", "n": 3},
        {"n": 4, "final": 1},
    ):
        emit(event)
    assert [event["n"] for event in seen] == [0, 3, 4]


def test_jobs_do_not_hold_back_each_other() -> None:
    seen: list[dict] = []
    with delivered_to(seen.append):
        for name in ("a", "b"):
            emitter(name, clock=Clock())({"step": 1})
    assert [event["job"] for event in seen] == ["a", "b"]


def test_outside_a_grid_events_go_nowhere() -> None:
    seen: list[dict] = []
    with delivered_to(seen.append):
        pass
    emitter("a job")({"step": 1})
    assert seen == []


def test_the_event_given_is_not_changed() -> None:
    with delivered_to(lambda event: None):
        given = {"step": 1}
        emitter("a job")(given)
    assert given == {"step": 1}


def test_inline_events_arrive_while_the_job_runs_under_the_name_the_server_gave() -> None:
    seen: list[dict] = []
    grid = InlineGrid(app, [Node(1, "north", {"partition-id": 0, "num-partitions": 1})], {}, sink=seen.append)
    named = RecordDict({"job": ConfigRecord({"name": "north/dc/0"})})
    grid.send_and_receive([Message(named, 1, "query.threads"), Message(RecordDict(), 1, "query.echo")])
    assert [(event["job"], event["stage"]) for event in seen] == [
        ("north/dc/0", "started"),
        ("north/dc/0", "steps"),
        ("north/dc/0", "steps"),
        ("north/2", "started"),
    ]
    assert seen[0]["site"] == "north" and seen[2]["final"]


def test_a_mailbox_nobody_empties_keeps_the_newest() -> None:
    mailbox = Mailbox()
    for step in range(10_005):
        mailbox.post("t", {"step": step})
    drained = mailbox.drain()
    assert len(drained) == 10_000 and drained[0] == ("t", {"step": 5})
    assert mailbox.drain() == []
