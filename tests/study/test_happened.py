"""events.jsonl, read back: what is no event is counted and passed over, wherever it stands."""

import json
import math

import pytest
from fuzz import fuzzed, scalars
from hypothesis import given
from hypothesis import strategies as st

from fedistill.core.events import KINDS, NAMES, Event
from fedistill.study.folder.event_log import (
    EventLog,
    append_event,
    is_event,
    older_words,
    read_event,
    read_events,
    unread_words,
)
from fedistill.study.submitted import Tail


@pytest.mark.parametrize(
    "wrong",
    [
        *({"time": "x"}, {"time": 1e300}, {"time": float("nan")}, {"step": True}, {"step": 1.5}, {"step": -1}),
        *({"site": 7}, {"kind": ["done"]}, {"kind": "dc ipc 10"}, {"kind": None}, {"loss": math.inf}, {"ipc": "1"}),
    ],
    ids=str,
)
def test_what_is_of_another_kind_is_no_event(wrong):
    assert is_event({"kind": "done", "time": 1.0, "site": "a", "job": None, "loss": -0.5})
    assert not is_event({"kind": "done", "time": 1.0, "site": "a", **wrong})


@given(st.dictionaries(st.sampled_from([*NAMES, "stage"]), scalars), st.sampled_from(["kind", "stage"]))
@fuzzed
def test_whatever_is_read_as_an_event_can_be_written_and_read_again(values, name):
    values |= {name: "done"}
    if is_event(values):
        event = read_event(values)
        assert Event.from_json(event.as_json()) == event


def test_an_event_is_read_back_as_it_was_written(tmp_path):
    event = Event("distilling", time=1.5, job="a dc seed 0", site="a", method="dc", ipc=1, seed=0, step=3, loss=0.25)
    append_event(tmp_path, event)
    append_event(tmp_path, Event("planned", plan={"name": "x"}))
    assert read_events(tmp_path) == EventLog((event, Event("planned")))


def test_every_kind_can_be_written_and_read(tmp_path):
    for kind in sorted(KINDS):
        append_event(tmp_path, Event(kind))
    assert [event.kind for event in read_events(tmp_path).events] == sorted(KINDS)


def test_events_of_a_run_that_still_writes_can_be_read(tmp_path):
    append_event(tmp_path, Event("done", job="a"))
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"kind": "b')
    assert read_events(tmp_path, growing=True) == EventLog((Event("done", job="a"),))
    assert read_events(tmp_path).unreadable == 1


def test_events_of_an_older_version_are_read_as_far_as_they_say_anything(tmp_path):
    lines = [
        {"time": 1.0, "run": "x: width=4", "job": "a dc seed 0", "site": "a", "stage": "started", "step": None},
        {"time": 2.0, "run": "x: width=4", "job": "a dc seed 0", "site": "a", "stage": "dc ipc 1", "step": 3},
        {"time": 3.0, "run": "x", "job": "server: dc ipc 1", "site": None, "stage": "scored"},
        {"time": 4.0, "run": "x", "stage": 7},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = read_events(tmp_path)
    started, step, scored = log.events
    assert (started.kind, started.point, started.site) == ("started", "width=4", "a")
    assert (step.kind, step.method, step.step) == ("distilling", "", 3), "whose step it is was said in words alone"
    assert (scored.kind, scored.point, scored.job) == ("scored", "", "dc ipc 1"), "as plan.json calls it"
    assert (log.unreadable, log.older) == (1, 3)
    assert "3 lines of events.jsonl are of an older version" in older_words(log.older) and older_words(0) == ""


def test_following_goes_on_past_a_torn_line(tmp_path):
    tail, heard = Tail(tmp_path / "events.jsonl"), []
    append_event(tmp_path, Event("started"))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"\0\0\0\xc3")
    tail.hand_on(heard.append)
    append_event(tmp_path, Event("done"))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"kind": 7}\n{"job": "without a kind"}\n')
    append_event(tmp_path, Event("planned"))
    tail.hand_on(heard.append)
    assert heard == [Event("started"), Event("done")]


def test_the_count_is_said_in_words():
    assert unread_words(0) == "" and unread_words(2).startswith("2 lines of events.jsonl cannot be read and are passed")
