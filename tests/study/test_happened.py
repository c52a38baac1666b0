"""events.jsonl, read back: what is no event is counted and passed over, wherever it stands."""

import pytest

from fedistill.study.folder.event_log import append_event, is_event, read_events, unread_words
from fedistill.study.submitted import Tail


@pytest.mark.parametrize(
    "wrong",
    [{"time": "x"}, {"time": 1e300}, {"time": float("nan")}, {"step": True}, {"site": 7}, {"stage": ["done"]}],
    ids=str,
)
def test_what_is_of_another_kind_is_no_event(wrong):
    assert is_event({"time": 1.0, "site": "a", "stage": None, "loss": 0.5})
    assert not is_event({"time": 1.0, "site": "a", **wrong})


def test_events_of_a_run_that_still_writes_can_be_read(tmp_path):
    append_event(tmp_path, {"job": "a"})
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"job": "b')
    found = read_events(tmp_path, growing=True)
    assert (found.objects, found.unreadable) == (({"job": "a"},), 0)


def test_following_goes_on_past_a_torn_line(tmp_path):
    tail, heard = Tail(tmp_path / "events.jsonl"), []
    append_event(tmp_path, {"stage": "started"})
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b"\0\0\0\xc3")
    tail.hand_on(heard.append)
    append_event(tmp_path, {"stage": "done"})
    append_event(tmp_path, {"stage": 7})
    append_event(tmp_path, {"job": "without a stage"})
    tail.hand_on(heard.append)
    assert heard == [{"stage": "started"}, {"stage": "done"}, {"job": "without a stage"}]


def test_the_count_is_said_in_words():
    assert unread_words(0) == "" and unread_words(2).startswith("2 lines of events.jsonl cannot be read and are passed")
