"""An unfriendly server that holds all keys, against a hospital that agreed to a study: it gets what was agreed to.

Each attempt sends a message made by hand, or by the product's own protocol, or touches what the hospital keeps. Each is
refused, and the hospital's ledger has a line that says so; where the ledger itself was touched, nothing is answered.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from attacks.attempts import ROUND_1, crafted
from attacks.hospital import Hospital, study
from fedistill.api.consent import revoke_agreement
from fedistill.config import Job
from fedistill.consent.agreement import Agreement, Agreements, write
from fedistill.consent.airlock import decide
from fedistill.consent.study import hash_of, load_study
from fedistill.core.seeds import generator
from fedistill.models import build
from fedistill.schemes.rounds import FEDAVG
from fedistill.transport.protocol.messages import RELEASE, SCORE, pack_jobs
from fedistill.transport.protocol.named import AGREED, pack_named
from fedistill.transport.protocol.round_messages import ROUND
from fedistill.transport.protocol.training_messages import ALONE

DM = "north dm seed 0"
WEIGHTS = "allow_weights = true"
AGREEMENT = "(rule agreement)"


@dataclass(frozen=True)
class Unfriendly:
    """One attempt.

    Args:
        name: what is tried.
        rule: the words that refuse it.
        run: tries it at a hospital; what it was answered.
        scheme: of the study that the hospital agreed to; policy: lines of its rules.
        logged: whether its ledger must say that it was refused; not where that was touched.
        review: whether everything waits there for a person.
    """

    name: str
    rule: str
    run: Callable[[Hospital, str], str]
    scheme: str = "dm"
    policy: str = ""
    logged: bool = True
    review: bool = False


def tried(attempt: Unfriendly, folder: Path) -> str:
    """Try it at a new hospital; return what it was answered, and look that the ledger says so."""
    hospital = Hospital(folder, attempt.policy, review=attempt.review)
    settings = {"rounds": 2} if attempt.scheme == "fedavg" else {}
    agreed = hospital.agree(study(attempt.scheme, settings))
    answer = attempt.run(hospital, agreed)
    if attempt.logged:
        said = [line.get("why", "") for line in hospital.lines("refused")]
        assert any(attempt.rule in why for why in said), (answer, said)
        assert hospital.lines("asked"), "who asked for what"
    return answer


def words(reply: Any) -> str:
    """Return what a reply says: a refusal, or that something came."""
    if isinstance(reply, str):
        return reply
    told = []
    for name, record in reply.content.config_records.items():
        if name.startswith("outcome-"):
            told += [str(record["refused"] or record["error"] or record.get("waits") or "RELEASED")]
    return "; ".join(dict.fromkeys(told)) or "ANSWERED"


def item(name: str, kind: str = RELEASE) -> Callable[[Hospital, str], str]:
    """Ask for an item of the study by a name."""
    return lambda hospital, agreed: words(hospital.ask(pack_named(agreed, [name]), kind))


def under(make: Callable[[str], Any]) -> Callable[[Hospital, str], str]:
    """Ask for the study's item under another HASH, made of the right one."""
    return lambda hospital, agreed: words(hospital.ask(pack_named(make(agreed), [DM]), RELEASE))


def raw(make: Callable[[str], dict[str, Any] | None], kind: str = RELEASE) -> Callable[[Hospital, str], str]:
    """Send records made by hand."""

    def run(hospital: Hospital, agreed: str) -> str:
        records = make(agreed)
        return words(hospital.ask(None if records is None else RecordDict(records), kind))

    return run


def named(agreed: str, **more: Any) -> ConfigRecord:
    """Return the record of a right question, with other values in it."""
    return ConfigRecord({"study": agreed, "items": [DM], **more})


def round_with(arrays: Callable[[], ArrayRecord]) -> Callable[[Hospital, str], str]:
    """Ask for the first round from these weights."""
    return lambda hospital, agreed: words(hospital.ask(pack_named(agreed, [ROUND_1], {"arrays": arrays()}), ROUND))


def own_start(hospital: Hospital) -> ArrayRecord:
    """Return the weights that the study's first round starts from."""
    simulation = load_study(str(hospital.folder / "study.toml"))
    [run_key] = FEDAVG.run_keys(simulation)
    network = build("convnet", channels=1, classes=2, size=28, width=32)
    start = network.init(generator(FEDAVG.start_seed(simulation, run_key), "init"))
    return ArrayRecord({name: Array(each.numpy()) for name, each in zip(network.names, start, strict=True)})


def second_question(hospital: Hospital, agreed: str) -> str:
    """Have a round trained as agreed, then ask for the same round from other weights."""
    first = hospital.ask(pack_named(agreed, [ROUND_1], {"arrays": own_start(hospital)}), ROUND)
    assert not isinstance(first, str), first
    again = hospital.ask(pack_named(agreed, [ROUND_1], {"arrays": own_start(hospital)}), ROUND)
    assert again.content["arrays"] == first.content["arrays"], "asked again, the same bytes"
    return words(hospital.ask(pack_named(agreed, [ROUND_1], {"arrays": crafted()}), ROUND))


def revoked(hospital: Hospital, agreed: str) -> str:
    """Ask after the hospital has taken its agreement back."""
    revoke_agreement(hospital.site, agreed[:8], by="the data office")
    return item(DM)(hospital, agreed)


def put_back(hospital: Hospital, agreed: str) -> str:
    """Put the file of a revoked agreement back as it was."""
    path = hospital.site.agreements / f"{agreed}.toml"
    before = path.read_bytes()
    revoke_agreement(hospital.site, agreed, by="the data office")
    path.write_bytes(before)
    return item(DM)(hospital, agreed)


def expired(hospital: Hospital, agreed: str) -> str:
    """Ask on the day after the last."""
    known = Agreements(hospital.site.agreements, hospital.book.entries()).read(agreed)
    digest = write(hospital.site.agreements, replace(known, until="2020-01-01"))
    hospital.book.note("agreed", agreement=agreed, by="x", file=digest)
    return item(DM)(hospital, agreed)


def prolonged(hospital: Hospital, agreed: str) -> str:
    """Change the last day, or any other word, in the agreement's file."""
    path = hospital.site.agreements / f"{agreed}.toml"
    path.write_text(path.read_text().replace("the data office", "the director"))
    return item(DM)(hospital, agreed)


def smuggled(hospital: Hospital, agreed: str) -> str:
    """Lay an agreement to a greedier study into the hospital's folder, which nobody there has entered."""
    greedy = study("dm", {"batch_real": 1})
    other = Hospital(hospital.folder / "elsewhere", "smallest_batch = 1\nmin_class_size = 1")
    theirs = other.agree(greedy)
    shutil.copy(other.site.agreements / f"{theirs}.toml", hospital.site.agreements)
    return item(DM)(hospital, theirs)


def greedier(hospital: Hospital, agreed: str) -> str:
    """Keep the HASH and put a greedier study into the file that the hospital's ledger vouches for."""
    known = Agreements(hospital.site.agreements, hospital.book.entries()).read(agreed)
    text = known.text.replace('"batch_real":32', '"batch_real":1')
    assert text != known.text and hash_of(text) != agreed
    fields = {name: getattr(known, name) for name in ("site", "by", "at", "until")}
    digest = write(hospital.site.agreements, Agreement(agreed, text, **fields))
    hospital.book.note("agreed", agreement=agreed, by="x", file=digest)
    return item(DM)(hospital, agreed)


def other_version(hospital: Hospital, agreed: str) -> str:
    """Ask for a study that was agreed to under another version of FeDistill."""
    known = Agreements(hospital.site.agreements, hospital.book.entries()).read(agreed)
    text = known.text.replace('"presets":"', '"presets":"0')
    theirs = hash_of(text)
    digest = write(hospital.site.agreements, replace(known, hash=theirs, text=text))
    hospital.book.note("agreed", agreement=theirs, by="x", file=digest)
    return item(DM)(hospital, theirs)


def cut(hospital: Hospital, agreed: str) -> str:
    """Cut the ledger's last line, with the revocation in it."""
    revoke_agreement(hospital.site, agreed, by="the data office")
    path = hospital.book.path
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    return item(DM)(hospital, agreed)


def deleted(hospital: Hospital, agreed: str) -> str:
    """Delete the ledger, so that nothing has ever left."""
    hospital.book.path.unlink()
    return item(DM)(hospital, agreed)


def both_deleted(hospital: Hospital, agreed: str) -> str:
    """Delete the ledger and its counter, after something has left."""
    assert hospital.release(agreed).release
    hospital.book.path.unlink()
    (hospital.site.path(hospital.site.file.store) / "ledger.count").unlink()
    return item(DM)(hospital, agreed)


def edited(hospital: Hospital, agreed: str) -> str:
    """Change a word in the ledger."""
    path = hospital.book.path
    path.write_text(path.read_text().replace("the data office", "the director"))
    return item(DM)(hospital, agreed)


def forged(hospital: Hospital, agreed: str) -> str:
    """Answer for the hospital's people: a line of a ledger needs the chain, and the counter."""
    first = item(DM)(hospital, agreed)
    assert "(rule review)" in first
    path = hospital.book.path
    with path.open("a") as file:
        file.write('{"entry": "approved", "number": 1, "by": "x", "time": 0, "chain": "0"}\n')
    return item(DM)(hospital, agreed)


def unseen(hospital: Hospital, agreed: str) -> str:
    """Ask again and again for what nobody there has looked at."""
    answers = {item(DM)(hospital, agreed) for _ in range(3)}
    assert len(hospital.lines("held")) == 1 and not hospital.lines("sent")
    [only] = answers
    return only


def after_no(hospital: Hospital, agreed: str) -> str:
    """Ask for what somebody there has looked at and kept."""
    item(DM)(hospital, agreed)
    decide(hospital.book, 1, "rejected", by="the data office")
    return item(DM)(hospital, agreed)


def again_and_again(hospital: Hospital, agreed: str) -> str:
    """Ask a hundred times for one Release, to average its randomness away."""
    answers = {hospital.release(agreed).release for _ in range(100)}
    released = hospital.lines("released")
    assert len(released) == 1 and len(answers) == 1 and None not in answers
    return f"the same bytes, {len(answers)} Release"


def what_else(hospital: Hospital, agreed: str) -> str:
    """Ask what the hospital has agreed to, by guessing names."""
    reply = hospital.ask(RecordDict({"request": ConfigRecord({"study": "0" * 64, "name": "another"})}), AGREED)
    record = reply.content["agreed"]
    assert record["agreed"] is False and record["texts"] == []
    return str(record["why"])


def spelt(agreed: str) -> dict[str, Any]:
    """Return the records of a job spelt out."""
    job = Job("north", "dm", 0, 0, (1,), {"batch_real": 1}, 1, "convnet", 32, "float32", 7)
    return dict(pack_jobs([job]))


def fedavg(name: str, rule: str, run: Callable[[Hospital, str], str]) -> Unfriendly:
    """Return an attempt at a hospital that agreed to federated averaging."""
    return Unfriendly(name, rule, run, "fedavg", WEIGHTS)


ARRAYS = ArrayRecord({"x": Array(np.zeros(3, np.float32))})

ATTEMPTS = (
    Unfriendly("a job spelt out", AGREEMENT, raw(spelt)),
    Unfriendly("jobs beside the names", AGREEMENT, raw(lambda h: {"request": named(h, jobs="[]")})),
    Unfriendly("settings beside the names", AGREEMENT, raw(lambda h: {"request": named(h, settings="{}")})),
    Unfriendly("a seed beside the names", AGREEMENT, raw(lambda h: {"request": named(h, seed=1)})),
    Unfriendly(
        "a record more",
        AGREEMENT,
        raw(lambda h: {"request": named(h), "config": ConfigRecord({"ledger": "/tmp/x", "entropy": "seeded"})}),
    ),
    Unfriendly("networks beside a Release", AGREEMENT, raw(lambda h: {"request": named(h), "arrays": ARRAYS})),
    Unfriendly("an empty message", AGREEMENT, raw(lambda h: None)),
    Unfriendly("names in a record of numbers", AGREEMENT, raw(lambda h: {"request": MetricRecord({"study": 1})})),
    Unfriendly("no items", AGREEMENT, raw(lambda h: {"request": ConfigRecord({"study": h, "items": []})})),
    Unfriendly("one item twice", AGREEMENT, raw(lambda h: {"request": named(h, items=[DM, DM])})),
    Unfriendly("a name in place of a list", AGREEMENT, raw(lambda h: {"request": named(h, items=DM)})),
    Unfriendly("numbers for names", AGREEMENT, raw(lambda h: {"request": named(h, items=[1, 2])})),
    Unfriendly("bytes for a HASH", AGREEMENT, raw(lambda h: {"request": named(h, study=b"x")})),
    Unfriendly(
        "twenty thousand items", AGREEMENT, raw(lambda h: {"request": named(h, items=[str(i) for i in range(20_000)])})
    ),
    Unfriendly("a name of a million letters", AGREEMENT, raw(lambda h: {"request": named(h, items=["x" * 1_000_000])})),
    Unfriendly("another study's HASH", AGREEMENT, under(lambda h: "0" * 64)),
    Unfriendly("the HASH's beginning", AGREEMENT, under(lambda h: h[:12])),
    Unfriendly("the HASH in capitals", AGREEMENT, under(str.upper)),
    Unfriendly("a path for a HASH", AGREEMENT, under(lambda h: f"../agreements/{h}")),
    Unfriendly("an item that there is not", AGREEMENT, item("north dm seed 7")),
    Unfriendly("another hospital's item", AGREEMENT, item("east dm seed 0")),
    Unfriendly("all real images", AGREEMENT, item("north full seed 0")),
    Unfriendly("a redraw of who holds what", AGREEMENT, item(f"{DM} partition 3")),
    Unfriendly("a name with a space more", AGREEMENT, item(f"{DM} ")),
    Unfriendly("a name with an escape sequence", AGREEMENT, item(f"{DM}\x1b[2J\nnorth dm seed 0: sent")),
    Unfriendly("a Release asked for as a round", AGREEMENT, item(DM, ROUND)),
    Unfriendly("a Release asked for as networks", AGREEMENT, item(DM, ALONE)),
    Unfriendly("scores of networks", AGREEMENT, item(DM, SCORE)),
    fedavg("a round asked for as a Release", AGREEMENT, item(ROUND_1)),
    fedavg("a round more than agreed", AGREEMENT, item(ROUND_1.replace("round 1", "round 3"), ROUND)),
    fedavg("another step size", AGREEMENT, item(ROUND_1.replace("lr 0.01", "lr 10"), ROUND)),
    fedavg("a network more", AGREEMENT, item(ROUND_1.replace("network 1", "network 2"), ROUND)),
    fedavg("networks trained to their end", AGREEMENT, item("north local seed 0 convnet common", ALONE)),
    fedavg("weights made to isolate an image", "(rule start)", round_with(crafted)),
    fedavg("the same round from other weights", "(rule once)", second_question),
    Unfriendly("after the agreement was revoked", AGREEMENT, revoked),
    Unfriendly("a revoked agreement's file put back", AGREEMENT, put_back),
    Unfriendly("after the last day", AGREEMENT, expired),
    Unfriendly("a word changed in the agreement", AGREEMENT, prolonged),
    Unfriendly("an agreement laid into the folder", AGREEMENT, smuggled),
    Unfriendly("a greedier study under the HASH", AGREEMENT, greedier),
    Unfriendly("a study of another version", AGREEMENT, other_version),
    Unfriendly("the ledger's end cut off", "lost its end", cut, logged=False),
    Unfriendly("the ledger deleted", "missing or empty", deleted, logged=False),
    Unfriendly("ledger and counter deleted", "ledger is missing", both_deleted, logged=False),
    Unfriendly("a word changed in the ledger", "is damaged", edited, logged=False),
    Unfriendly("a yes forged in the ledger", "is damaged", forged, logged=False, review=True),
    Unfriendly("before somebody has looked at it", "(rule review)", unseen, logged=False, review=True),
    Unfriendly("after somebody said no", "(rule review)", after_no, review=True),
    Unfriendly("a hundred times the same", "the same bytes, 1 Release", again_and_again, logged=False),
    Unfriendly("what else was agreed to", AGREEMENT, what_else, logged=False),
)
"""All attempts."""
