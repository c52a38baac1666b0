"""What a hospital says to others of its errors: their kind. What they are, its own log alone is told."""

import socket

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedistill.errors import DataError, LedgerError, PolicyError
from fedistill.transport.backend.failure import from_exception
from fedistill.transport.deploy.client_loop import _discreet, answer_while
from fedistill.transport.flower_internals import acting_as, become_server
from fedistill.transport.protocol.messages import RELEASE, SCORE, Outcome, pack_outcomes, unpack_outcomes

SECRET = "/data/wards/Doe, Jane.npz"


def discreet(came, kind=RELEASE):
    """The reply, how it went, and what the site's own log was told."""
    become_server(1)
    asked, told = Message(RecordDict({"job": ConfigRecord({"name": "x"})}), 2, kind), []
    asked.metadata.__dict__["_message_id"] = "1"
    with acting_as(1, 2):
        came = came if not callable(came) else Message(came(), reply_to=asked)
        return (*_discreet(came, asked, told.append, own={"ledger": "/ward/ledger.jsonl", "store": "/ward"}), told)


def raised(error):
    try:
        raise error
    except Exception as caught:
        return from_exception(caught)


def test_errors_stay_at_the_site():
    reply, how, told = discreet(raised(DataError(f"{SECRET} cannot be read")), SCORE)
    assert reply.error.reason == "DataError at the site, whose own log says more"
    assert SECRET in how and SECRET in told[0].message and "Traceback" in told[0].message


def test_a_refusal_is_told_in_full():
    reply, how, _ = discreet(raised(PolicyError("The site's policy forbids it (rule max_ipc).")), SCORE)
    assert reply.error.reason == how == "PolicyError: The site's policy forbids it (rule max_ipc)."


def test_a_refusal_for_the_ledgers_sake_does_not_say_where_it_is():
    words = "The ledger /ward/ledger.jsonl is damaged at line 3, so nothing is released."
    reply, how, _ = discreet(raised(LedgerError(words, found="/ward/other")), SCORE)
    assert "damaged at line 3" in reply.error.reason and "/ward" not in reply.error.reason and "/ward" in how
    reply, how, _ = discreet(lambda: pack_outcomes([Outcome("a", "north", refused=words)]))
    [outcome] = unpack_outcomes(reply.content)
    assert outcome.refused == words.replace("/ward/ledger.jsonl", "(a path of the site)") and how == words


def test_of_several_jobs_each_is_told_apart():
    failure = raised(ValueError(SECRET))
    made = [
        Outcome("a", "north", release=b"bytes", seconds=(1.0,)),
        Outcome("b", "north", refused="The site's policy forbids it."),
        Outcome("c", "north", error=failure.line, trace=failure.trace),
    ]
    reply, how, told = discreet(lambda: pack_outcomes(made))
    good, refused, failed = unpack_outcomes(reply.content)
    assert (good, refused) == (made[0], made[1])
    assert (failed.error, failed.trace) == ("ValueError at the site, whose own log says more", "")
    assert [event.kind for event in told] == ["refused", "failed", "answered"]
    assert "forbids it" in told[0].message and SECRET in told[1].message and "forbids it" in how


@pytest.mark.parametrize("name", ["", "x: y"])
def test_no_error_says_nothing_of_errors(name):
    reply, how, told = discreet(lambda: RecordDict({"who": ConfigRecord({"site": name})}), "query.who")
    assert how == "answered" and reply.content.config_records["who"]["site"] == name
    assert [event.kind for event in told] == ["answered"]


def test_a_supernode_that_has_ended_is_noticed(tmp_path):
    """Flower's client would try without end to reach it, and the site would never connect again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    looks = iter([True, True, False])
    own = {"site": "north"}
    log = tmp_path / "events.jsonl"
    answer_while(lambda: next(looks), address, b"s" * 32, own, threads=1, log=log, tell=pytest.fail)
    assert next(looks, "none is left") == "none is left"
