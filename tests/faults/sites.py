"""A Flower app of sound sites, but for the site ``b``, which does what ``$FEDISTILL_FAULT`` says with its Releases.

Imported by name, in Ray's workers as well.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedistill.release.release import Packed, Release
from fedistill.transport.protocol.messages import Outcome, pack_outcomes, unpack_outcomes
from fedistill.transport.site import app as sound

SICK = "b"
LARGE = int(os.environ.get("FEDISTILL_FAULT_BYTES", 64 << 20))

app = ClientApp()
app.query("who")(sound.who)
app.train()(sound.train)
app.train("alone")(sound.alone)
app.evaluate("score")(sound.score)


@app.query("release")
def release(message: Message, context: Context) -> Message:
    """The site's answer, or what the fault makes of it."""
    fault = os.environ.get("FEDISTILL_FAULT", "")
    if not fault or context.node_config["site"] != SICK:
        return sound.release(message, context)
    if fault == "raises":
        raise ValueError("the scanner is on fire")
    if fault == "hangs":
        time.sleep(3600)
    if fault == "dies once" and not (marker := Path(os.environ["FEDISTILL_FAULT_MARKER"])).exists():
        marker.touch()
        os.kill(os.getpid(), 9)
    reply = sound.release(message, context)
    [outcome] = unpack_outcomes(reply.content)
    content = SPOILT[fault](outcome) if fault in SPOILT else reply.content
    return Message(content, reply_to=message)


def _bytes(make):
    """A fault of the Release's bytes."""
    return lambda outcome: pack_outcomes([replace(outcome, release=make(outcome.release))])


def _packed(**changes):
    """A fault of every budget's tensors."""

    def make(data: bytes) -> bytes:
        whole = Release.from_bytes(data)
        sets = {ipc: replace(p, **{n: f(p) for n, f in changes.items()}) for ipc, p in whole.sets.items()}
        return replace(whole, sets=sets).to_bytes()

    return _bytes(make)


def _twice(outcome: Outcome) -> RecordDict:
    return pack_outcomes([outcome, outcome])


def _other_site(data: bytes) -> bytes:
    return replace(Release.from_bytes(data), site="a").to_bytes()


def _halved(p: Packed) -> torch.Tensor:
    return p.images[:, :, ::2].contiguous()


SPOILT = {
    "answers twice": _twice,
    "answers for another site": lambda outcome: pack_outcomes([replace(outcome, site="a")]),
    "sends another site's Release": _bytes(_other_site),
    "answers nonsense": lambda outcome: RecordDict({"outcome-x": ConfigRecord({"job": 1})}),
    "takes no time at all": lambda outcome: pack_outcomes([replace(outcome, seconds=(float("nan"),))]),
    "sends NaN": _packed(scale=lambda p: p.scale * float("nan")),
    "sends infinity": _packed(offset=lambda p: p.offset + float("inf")),
    "sends wrong shapes": _packed(images=_halved),
    "sends labels out of range": _packed(labels=lambda p: p.labels + 7),
    "sends negative labels": _packed(labels=lambda p: p.labels - 9),
    "sends far too much": _bytes(lambda data: bytes(LARGE)),
    "claims two gigabytes": _bytes(lambda data: (2 << 30).to_bytes(8, "little") + data[8:]),
    "sends a bomb": _bytes(lambda data: (1 << 20).to_bytes(8, "little") + b"[" * (1 << 20)),
    "sends half of it": _bytes(lambda data: data[: len(data) // 2]),
    "sends a pickle": _bytes(lambda data: b"cos\nsystem\n(S'touch /tmp/fedistill-was-here'\ntR."),
}
"""Faults of what is sent, and what makes them."""

WHY = {
    "raises": "ValueError: the scanner is on fire",
    "answers twice": "a reply that cannot be read",
    "answers for another site": "a reply of 'a' for",
    "sends another site's Release": "The Release answers another request",
    "answers nonsense": "a reply that cannot be read",
    "takes no time at all": "a reply that cannot be read",
    "sends NaN": "holds NaN or infinity",
    "sends infinity": "holds NaN or infinity",
    "sends wrong shapes": "Invalid images of ipc",
    "sends labels out of range": "is out of range",
    "sends negative labels": "is out of range",
    "sends far too much": "The Release is too large",
    "claims two gigabytes": "This is no Release",
    "sends a bomb": "This is no Release",
    "sends half of it": "This is no Release",
    "sends a pickle": "This is no Release",
    "hangs": "cancelled",
}
"""What the tables say of the site then, in part."""
