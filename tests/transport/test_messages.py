"""A site's words are one printable line each before anybody shows, logs or writes them."""

import asyncio

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict

from fedistill.transport.flower_internals import become_server, stamped
from fedistill.transport.protocol.messages import (
    LONGEST_LINE,
    EvalRequest,
    Outcome,
    pack_outcomes,
    shown_trace,
    unpack_outcomes,
)
from fedistill.transport.protocol.traffic import Traffic
from fedistill.transport.server.coordinator import Coordinator

HOSTILE = "no\x1b[2J\x1b]0;owned\x07 such\nfile\r\n[99 s] b: done \u202e\x00 \ud800"
SHOWN = "no\ufffd[2J\ufffd]0;owned\ufffd such file [99 s] b: done \ufffd\ufffd \ufffd"


def test_an_outcome_s_words_are_one_printable_line():
    content = pack_outcomes(
        [Outcome("a dc seed 0", "a", error=HOSTILE.replace("\ud800", "\ufffd"), trace="T:\n  x\x1b")]
    )
    [outcome] = unpack_outcomes(content)
    assert outcome.error == SHOWN and outcome.trace == "T:\n  x\ufffd"
    [outcome] = unpack_outcomes(pack_outcomes([Outcome("a", "a", refused="x" * 10**6)]))
    assert len(outcome.refused) == LONGEST_LINE + len("...")


def test_names_are_compared_as_they_came():
    [outcome] = unpack_outcomes(pack_outcomes([Outcome("St  Mary dc seed 0", "St  Mary")]))
    assert (outcome.job, outcome.site) == ("St  Mary dc seed 0", "St  Mary")


def test_a_traceback_keeps_its_lines():
    assert shown_trace("Traceback:\n    raise\x1b[0m\nValueError") == "Traceback:\n    raise\ufffd[0m\nValueError"


@pytest.mark.parametrize(
    ("reason", "why", "trace"),
    [(f"{HOSTILE.replace(chr(0xD800), '')}\n\n  at\x1b\nb", SHOWN[:-2], "  at\ufffd\nb"), ("", "no reason given", "")],
)
def test_the_reason_of_a_reply_that_is_an_error_is_one_printable_line(reason, why, trace):
    coordinator = object.__new__(Coordinator)
    become_server(1)
    asked = stamped(Message(RecordDict({"job": ConfigRecord({"name": "x"})}), 1, "query.release"), "1")

    async def answer(message):
        return Message(Error(code=2, reason=reason), reply_to=asked), False

    coordinator.__dict__ |= {"traffic": Traffic(), "_request": answer}
    came = asyncio.run(coordinator.exchange("a", asked, purpose="dc"))
    assert (came.why, came.trace) == (why, trace)


def test_what_makes_a_reply_unreadable_is_shown_in_one_line():
    coordinator = object.__new__(Coordinator)
    become_server(1)
    asked = stamped(Message(RecordDict({"job": ConfigRecord({"name": "x"})}), 1, "query.release"), "1")
    values = {"site": "a", "networks": HOSTILE.replace("\ud800", "")}

    async def answer(message):
        return Message(RecordDict({"tallies": ConfigRecord(values)}), reply_to=asked), False

    coordinator.__dict__ |= {"traffic": Traffic(), "_request": answer, "_nodes": {"a": 1}}
    coordinator._with_networks = asyncio.Semaphore(1)
    question = EvalRequest("q", "convnet", 4, 0, {})
    words = asyncio.run(coordinator.score("a", question))
    assert words.startswith("a reply that cannot be read: ") and "\x1b" not in words and "\n" not in words
