"""Progress: what passes the throttle, and where it goes."""

from apps import app
from flwr.app import ConfigRecord, Message, RecordDict

from fedistill.core.events import Event
from fedistill.transport.backend.events import Mailbox, delivered_to, emitter
from fedistill.transport.backend.inline import InlineBackend
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.site_grid import SiteGrid


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_at_most_two_events_a_second_pass() -> None:
    seen: list[Event] = []
    clock = Clock()
    with delivered_to(seen.append):
        emit = emitter("a job", clock=clock)
    for step in range(20):  # two seconds, ten steps a second
        clock.now = 100 + step / 10
        emit(Event("training", step=step))
    assert [event.step for event in seen] == [0, 5, 10, 15]
    assert all(event.job == "a job" and (event.time or 0) > 1e9 for event in seen)


def test_first_events_new_kinds_and_last_words_always_pass() -> None:
    seen: list[Event] = []
    with delivered_to(seen.append):
        emit = emitter("a job", clock=Clock())
    given = ("training", "training", "scoring", "scoring", "done", "done")
    for step, kind in enumerate(given):
        emit(Event(kind, step=step))
    assert [event.step for event in seen] == [0, 2, 4, 5]


def test_another_methods_or_budgets_step_passes() -> None:
    seen: list[Event] = []
    with delivered_to(seen.append):
        emit = emitter("a job", clock=Clock())
    for method, ipc in (("dc", 1), ("dc", 1), ("dc", 2), ("dm", 2)):
        emit(Event("distilling", method=method, ipc=ipc))
    assert [(event.method, event.ipc) for event in seen] == [("dc", 1), ("dc", 2), ("dm", 2)]


def test_jobs_do_not_hold_back_each_other() -> None:
    seen: list[Event] = []
    with delivered_to(seen.append):
        for name in ("a", "b"):
            emitter(name, clock=Clock())(Event("training", step=1))
    assert [event.job for event in seen] == ["a", "b"]


def test_outside_a_grid_events_go_nowhere() -> None:
    seen: list[Event] = []
    with delivered_to(seen.append):
        pass
    emitter("a job")(Event("training"))
    assert seen == []


def test_whoever_runs_a_job_says_whose_it_is_and_the_job_its_repeat() -> None:
    seen: list[Event] = []
    with delivered_to(seen.append, {"site": "north", "point": "width=4"}):
        emitter("a job", seed=2, partition=0)(Event("training"))
    assert [(e.site, e.point, e.seed, e.partition) for e in seen] == [("north", "width=4", 2, 0)]


def test_inline_events_arrive_while_the_job_runs_under_the_name_the_server_gave() -> None:
    seen: list[Event] = []
    grid = SiteGrid(
        app, [Node(1, "north", {"partition-id": 0, "num-partitions": 1})], {}, backend=InlineBackend(seen.append)
    )
    named = RecordDict({"job": ConfigRecord({"name": "north/dc/0"})})
    grid.send_and_receive([Message(named, 1, "query.threads"), Message(RecordDict(), 1, "query.echo")])
    assert [(event.job, event.kind) for event in seen] == [
        ("north/dc/0", "started"),
        ("north/dc/0", "training"),
        ("north/dc/0", "done"),
        ("north/2", "started"),
    ]
    assert seen[0].site == "north"


def test_a_mailbox_nobody_empties_keeps_the_newest() -> None:
    mailbox = Mailbox()
    for step in range(10_005):
        mailbox.post("t", Event("training", step=step))
    drained = mailbox.drain()
    assert len(drained) == 10_000 and drained[0] == ("t", Event("training", step=5))
    assert mailbox.drain() == []
