"""Sizes of messages against Flower's own encoding, and the count of what crossed a boundary."""

import tracemalloc

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto

from fedistill.config import Job
from fedistill.methods import SyntheticSet
from fedistill.release.release import Release, pack
from fedistill.transport.flower_internals import acting_as, become_server, stamped
from fedistill.transport.protocol.messages import EvalRequest, Outcome, pack_jobs, pack_outcomes, pack_question
from fedistill.transport.protocol.traffic import Traffic, encoded_size

LONGEST_ID = 2**63 - 1
JOB = Job("north", "dc", 0, 0, (1, 10), {"iterations": 5}, 1, "convnet", 8, "float32", 1)


@pytest.fixture(autouse=True)
def server():
    become_server(1)


def flowers(message):
    """The bytes Flower makes of a message between a SuperLink's ids."""
    proto = message_to_proto(message)
    proto.metadata.message_id = "a1" * 32
    for name in ("run_id", "src_node_id", "dst_node_id", "src_task_id", "dst_task_id"):
        setattr(proto.metadata, name, LONGEST_ID)
    if proto.metadata.reply_to_message_id:
        proto.metadata.reply_to_message_id = "b2" * 32
    return proto.SerializeToString()


def arrays(*values):
    return RecordDict({"networks": ArrayRecord({f"layer {i}": Array(value) for i, value in enumerate(values)})})


CONTENTS = {
    "nothing": RecordDict(),
    "empty records": RecordDict({"a": ConfigRecord(), "b": ArrayRecord(), "c": MetricRecord()}),
    "a request": pack_jobs([JOB]),
    "a question": pack_question(EvalRequest("q", "convnet", 8, 0, {"w": torch.rand(2, 3), "b": torch.zeros(0)})),
    "a refusal": pack_outcomes([Outcome("north dc seed 0", "north", refused="the rule, in Zürich: §1")]),
    "an answer": pack_outcomes([Outcome("north dc seed 0", "north", release=bytes(300), seconds=(1.5, 2.0))]),
    "every kind of value": RecordDict(
        {
            "values": ConfigRecord(
                {
                    "int": -3, "huge": 2**63 + 1, "float": 0.0, "bool": False, "text": "", "bytes": b"",
                    "ints": [1, -200, 70_000], "floats": [1.0], "bools": [True, False], "texts": ["a", "ß"],
                    "blobs": [b"", b"xyz"], "none": [],
                }
            ),
            "metrics": MetricRecord({"auc": 0.5, "steps": 300, "each": [0.25, 0.5]}),
        }
    ),
    "arrays": arrays(np.zeros((), np.int64), np.zeros((0, 3)), np.ones((4, 200, 3), np.float32)),
}  # fmt: skip
LENGTHS = (0, 1, 117, 118, 119, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152)  # where one more byte of length is due


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_the_size_is_that_of_flowers_encoding(content):
    message = Message(content, 3, "query.release")
    assert encoded_size(message) == len(flowers(message))


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths_where_the_length_itself_grows(length):
    for content in (
        RecordDict({"r": ConfigRecord({"b": bytes(length)})}),
        RecordDict({"r": ArrayRecord({"a": Array("uint8", (length,), "raw", bytes(length))})}),
        RecordDict({"r" * max(1, length % 1000): ConfigRecord({"k" * length: "v"})}),
    ):
        message = Message(content, 3, "query")
        assert encoded_size(message) == len(flowers(message))


def test_a_reply_and_an_error():
    asked = stamped(Message(pack_jobs([JOB]), 3, "query.release"), "17")
    with acting_as(1, 3):
        replies = [
            Message(CONTENTS["an answer"], reply_to=asked),
            Message(Error(code=2, reason="the scanner is on fire"), reply_to=asked),
        ]
    for reply in replies:
        assert encoded_size(reply) == len(flowers(reply))


def test_it_does_not_depend_on_who_sent_it_when():
    sizes = set()
    for run_id, message_id in ((1, "1"), (2**62, "f" * 64), (7, "1234")):
        become_server(run_id)
        message = Message(CONTENTS["an answer"], run_id, "query")
        sizes |= {encoded_size(message), encoded_size(stamped(message, message_id))}
    assert len(sizes) == 1


def test_arrays_dominate():
    one = np.random.default_rng(0).integers(256, size=(10, 3, 64, 64), dtype=np.uint8)
    for n in (1, 8, 64):
        images = np.concatenate([one] * n)
        assert images.nbytes < encoded_size(Message(arrays(images), 3, "query")) <= images.nbytes + 450


def test_a_larger_release_is_as_much_larger_on_its_way():
    sizes = []
    for n in (40, 80):
        made = SyntheticSet(torch.rand(n, 1, 28, 28), torch.zeros(n, dtype=torch.int64), ipc=n)
        data = Release("north", "dc", 0, False, {n: pack(made, real=False)}).to_bytes()
        sizes.append((len(data), encoded_size(Message(pack_outcomes([Outcome("j", "north", data)]), 3, "query"))))
    (small, small_sent), (large, large_sent) = sizes
    assert large_sent - small_sent == large - small
    assert small_sent - small < 500


def test_nothing_large_is_copied():
    message = Message(arrays(np.zeros(20_000_000, np.uint8)), 3, "query")
    message.content["release"] = ConfigRecord({"release": bytes(20_000_000)})
    tracemalloc.start()
    try:
        size = encoded_size(message)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert size > 40_000_000


def test_the_count():
    traffic = Traffic()
    for purpose, site, direction, size in (
        ("mtt", "south", "up", 5),
        ("dc", "south", "up", 1),
        ("dc", "south", "down", 2),
        ("dc", "north", "up", 3),
        ("dc", "south", "up", 10),
    ):
        traffic.count(purpose, site, direction, size)
    told = [tuple(row.values()) for row in traffic.rows()]
    assert told == [
        ("dc", "north", "up", 1, 3),
        ("dc", "south", "down", 1, 2),
        ("dc", "south", "up", 2, 11),
        ("mtt", "south", "up", 1, 5),
    ]
    assert Traffic().rows() == []
