"""The grid of real nodes: jobs in one message, one message at a time, and a silent node named in time."""

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedistill.config import load_simulation
from fedistill.config.jobs import job
from fedistill.errors import PlanError, RunError, UserError
from fedistill.transport.deploy.deadline_grid import DeadlineGrid
from fedistill.transport.deploy.deployed import error_of, find_sites, require_agreed, status_told
from fedistill.transport.flower_internals import become_server, stamped
from fedistill.transport.protocol.messages import (
    RELEASE,
    SCORE,
    Outcome,
    pack_outcomes,
    unpack_outcomes,
)
from fedistill.transport.protocol.named import items_in, pack_named


class Wire:
    """Flower's grid as far as ours asks of it, with a clock that tests turn."""

    def __init__(self, answer, nodes=(1, 2)):
        self.now, self.sent, self.nodes = 0.0, [], nodes
        self._answer, self._replies = answer, {}

    def get_node_ids(self):
        return list(self.nodes)

    def push_messages(self, messages):
        ids = []
        for message in messages:
            ids.append(f"real-{len(self.sent)}")
            self.sent.append((self.now, stamped(message, ids[-1])))
        return ids

    def pull_messages(self, ids):
        ready = []
        for when, message in self.sent:
            if message.metadata.message_id in set(ids):
                content, after = self._answer(message)
                if after is not None and self.now >= when + after:
                    ready.append(Message(content, reply_to=message))
        return ready

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def patient(wire, deadline=10.0, **more):
    become_server(1)
    return DeadlineGrid(wire, deadline_s=deadline, clock=wire.clock, sleep=wire.sleep, **more)


SIMULATION = load_simulation("quickstart")


def asked(seed, node=1):
    return Message(pack_named("a" * 64, [job(SIMULATION, f"site{node}", "dc", seed, 0).name]), node, RELEASE)


def other(node=1):
    return Message(RecordDict({"job": ConfigRecord({"name": "score"})}), node, SCORE)


def outcomes(message, skip=()):
    names = [name for name in items_in(message) if not name.endswith(tuple(f"seed {seed}" for seed in skip))]
    return pack_outcomes([Outcome(name, name.partition(" ")[0], release=b"x") for name in names])


def by_request(grid, messages):
    ids = grid.push_messages(messages)
    replies = {reply.metadata.reply_to_message_id: reply for reply in grid.await_replies(ids)}
    return [replies[each] for each in ids]


def test_all_of_a_sites_jobs_go_in_one_message_and_come_back_apart():
    wire = Wire(lambda m: (outcomes(m), 3.0) if m.metadata.message_type == RELEASE else (RecordDict(), 1.0))
    replies = by_request(patient(wire), [asked(0), asked(1), other(), asked(2), asked(0, node=2)])
    sizes = [(m.metadata.dst_node_id, m.metadata.message_type) for _, m in wire.sent]
    assert sizes == [(1, RELEASE), (2, RELEASE), (1, SCORE)]
    assert [len(items_in(wire.sent[i][1])) for i in (0, 1)] == [3, 1]
    for reply, (seed, node) in zip([replies[i] for i in (0, 1, 3, 4)], [(0, 1), (1, 1), (2, 1), (0, 2)], strict=True):
        [outcome] = unpack_outcomes(reply.content)
        assert outcome.job == job(SIMULATION, f"site{node}", "dc", seed, 0).name
    assert wire.sent[2][0] >= wire.sent[0][0] + 3.0, "a node is sent nothing while it is at work"


def test_a_silent_node_is_named_in_time_and_asked_no_more():
    wire = Wire(lambda m: (outcomes(m), 1.0 if m.metadata.dst_node_id == 2 else None))
    grid = patient(wire)
    first = by_request(grid, [asked(0), asked(1), asked(0, node=2)])
    assert [reply.has_error() for reply in first] == [True, True, False]
    assert "no answer within 20 s: the site is silent (deadline_s = 10 a job)" in first[0].error.reason
    assert 20 <= wire.now < 22
    begun = wire.now
    [second] = by_request(grid, [asked(2)])
    assert second.has_error() and wire.now - begun < 2 and len(wire.sent) == 2


def test_a_node_heard_of_again_is_asked_again():
    wire = Wire(lambda m: (outcomes(m), 15.0 if items_in(m)[0].endswith("seed 0") else 1.0))
    grid = patient(wire)
    [late] = by_request(grid, [asked(0)])
    assert late.has_error()
    wire.now = 20.0
    grid.pull_messages([])
    [again] = by_request(grid, [asked(1)])
    assert not again.has_error()


@pytest.mark.parametrize("content", [RecordDict(), RecordDict({"outcome-x": ConfigRecord({"job": 3})})])
def test_a_reply_that_is_none_spoils_no_other(content):
    wire = Wire(lambda m: (content if m.metadata.dst_node_id == 1 else outcomes(m), 1.0))
    bad, good = by_request(patient(wire), [asked(0), asked(0, node=2)])
    assert bad.has_error() and not good.has_error()


def test_a_job_that_the_reply_leaves_out():
    wire = Wire(lambda m: (outcomes(m, skip=(1,)), 1.0))
    good, lost = by_request(patient(wire), [asked(0), asked(1)])
    assert not good.has_error() and "says nothing of this job" in lost.error.reason


def names(*said):
    found = dict(zip((1, 2), said, strict=True))

    def answer(message):
        name = found[message.metadata.dst_node_id]
        return RecordDict({"who": ConfigRecord({"site": name or ""})}), None if name is None else 1.0

    return Wire(answer)


def find(wire, **keys):
    become_server(1)
    return find_sites(wire, ["north", "east"], clock=wire.clock, sleep=wire.sleep, **keys)


def test_a_name_goes_with_its_key():
    keys = {1: "east", 2: "north"}
    assert find(names("east", "north"), registered=lambda: keys) == {"east": 1, "north": 2}
    assert find(names("east", "stranger"), registered=lambda: keys) == {"east": 1}
    assert find(names("east", "north"), registered=lambda: {1: "", 2: ""}) == {"east": 1, "north": 2}
    with pytest.raises(RunError, match="has the key of 'east' says it is site 'north'"):
        find(names("north", "east"), registered=lambda: keys)


def test_nodes_on_their_way_back_are_waited_for_as_long_as_it_takes():
    """After a restart of the server: the second node comes back after five minutes."""
    late = names("east", "north")
    late.get_node_ids = lambda: [1, 2] if late.now >= 300 else [1]
    assert find(late, patience=600.0) == {"east": 1, "north": 2} and 300 <= late.now < 310
    late = names("east", "north")
    late.get_node_ids = lambda: [1, 2] if late.now >= 300 else [1]
    assert find(late) == {"east": 1}


def test_who_is_who():
    assert find(names("east", "north")) == {"east": 1, "north": 2}
    assert find(names("east", "stranger")) == {"east": 1}
    assert find(names("east", None)) == {"east": 1}
    with pytest.raises(RunError, match="Two nodes say they are site 'east'"):
        find(names("east", "east"))
    with pytest.raises(RunError, match="No connected node"):
        find(names("x", None))


def agreement_of(**sites):
    """A wire on which each site says what it agreed to."""
    own = dict(enumerate(sites.values(), 1))

    def answer(message):
        agreed = own[message.metadata.dst_node_id]
        why = "" if agreed is True else "The site has not agreed to this study (rule agreement)."
        texts = [] if isinstance(agreed, bool) else [agreed] if isinstance(agreed, str) else agreed
        record = ConfigRecord({"site": "x", "agreed": agreed is True, "why": why, "texts": texts})
        return RecordDict({"agreed": record}), 1.0

    return Wire(answer)


def require(wire, needed, text='{"study":{"width":32}}'):
    become_server(1)
    nodes = {"north": 1, "east": 2}
    return require_agreed(wire, nodes, text, name="s", needed=needed, clock=wire.clock, sleep=wire.sleep)


def test_before_any_work_every_site_says_whether_it_has_agreed():
    assert require(agreement_of(north=True, east=True), 2) == []
    [note] = require(agreement_of(north=True, east=False), 1)
    assert note.startswith("east: The site has not agreed")


def test_a_difference_between_two_studies_is_shown_by_its_settings():
    theirs = '{"study":{"width":64}}'
    with pytest.raises(PlanError, match=r"1 of the connected sites have agreed[\s\S]*width: 32 here, 64 there"):
        require(agreement_of(north=True, east=theirs), 2)
    notes = require(agreement_of(north=True, east=theirs), 1)
    assert "east: its study differs: width: 32 here, 64 there" in notes


def test_of_a_site_with_several_studies_of_the_name_the_nearest_is_compared():
    theirs = ['{"study":{"width":64,"seed":3}}', '{"study":{"width":64}}', '{"study":{"scheme":{"dm":1}}}']
    notes = require(agreement_of(north=True, east=theirs), 1)
    assert [note for note in notes if "differs" in note] == ["east: its study differs: width: 32 here, 64 there"]


@pytest.mark.parametrize("text", ["no json", "[]", '{"a":' * 3000, "\x1b[2J"])
def test_a_text_of_a_site_that_is_no_study_does_no_harm(text):
    notes = require(agreement_of(north=True, east=text), 1)
    assert all(note.isprintable() for note in notes) and len(notes) == 2


def test_a_run_ends_with_the_status_of_its_error():
    for error, kind in ((PlanError("mend it"), UserError), (RunError("bad luck"), RunError)):
        with pytest.raises(RunError) as caught, status_told():
            raise error
        found = error_of(f"ServerApp failed with exception: {caught.value}")
        assert type(found) is kind and found.exit_code == error.exit_code and str(found) == str(error)
