"""A site's log says what was asked of it, by whom, whatever becomes of the request and whatever is written in it."""

import json

from flwr.app import ConfigRecord, Message, RecordDict

from fedistill.core.events import ALWAYS
from fedistill.transport.flower_internals import become_server
from fedistill.transport.protocol.messages import RELEASE, SCORE
from fedistill.transport.site.request_log import MOST_JOBS, request_events


def events(content, kind=RELEASE):
    become_server(7)
    return list(request_events(Message(content, 1, kind), run_id=7))


def request(jobs):
    return RecordDict({"job": ConfigRecord({"name": "x"}), "request": ConfigRecord({"jobs": json.dumps(jobs)})})


def test_every_job_of_a_request_has_a_line_with_its_settings_and_budgets():
    first, *rest = events(request([{"scheme": "dm", "ipcs": [1], "settings": {"batch_real": 1}}, {"scheme": "dc"}]))
    assert first.run == 7 and json.loads(first.message)["jobs"] == 2
    assert [json.loads(each.message)["scheme"] for each in rest] == ["dm", "dc"]
    assert json.loads(rest[0].message)["settings"] == {"batch_real": 1}
    assert all(each.kind in ALWAYS for each in (first, *rest)), "an emitter holds nothing of it back"


def test_a_question_for_scores_is_logged_without_its_networks():
    content = RecordDict({"job": ConfigRecord({"name": "a\nb"}), "request": ConfigRecord({"split": "val", "width": 4})})
    [event] = events(content, SCORE)
    about = json.loads(event.message)
    assert (about["kind"], about["request.split"], about["request.width"]) == (SCORE, "val", 4)
    assert about["job.name"] == "a b"


def test_what_is_no_request_is_logged_in_one_printable_line():
    content = RecordDict({"request": ConfigRecord({"jobs": "[\x1b[2J\nno json", "more": b"\x00\x01"})})
    lines = [each.message for each in events(content)]
    assert len(lines) == 2 and all(line.isprintable() for line in lines) and "2 bytes" in lines[0]


def test_a_request_does_not_fill_the_log():
    assert len(events(request([{}] * 3 * MOST_JOBS))) == 1 + MOST_JOBS
    [event] = events(RecordDict({f"r{i}": ConfigRecord({"v": "x" * 100_000}) for i in range(100)}))
    assert len(event.message) <= 4003
