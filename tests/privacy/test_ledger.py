"""The ledger: nothing spent is forgotten or spent twice, and a book that cannot be trusted pays for nothing."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedistill.core.accounting import Mechanism, PrivacyCost, epsilon_of, sigma_for
from fedistill.errors import LedgerError, PolicyError
from fedistill.privacy.accounting import ledger as ledger_file
from fedistill.privacy.accounting.budget import Charge, require_affordable, spent, within
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.accounting.ledger_lines import Occasion

ASKED = Occasion("run 7", "dp-dm", (1, 10))


def cost(epsilon=3.0, delta=1e-5):
    return PrivacyCost(Mechanism(sigma_for(epsilon=epsilon, delta=delta)), epsilon, delta)


def charge(key="k", *, epsilon=3.0, limit=None, entropy="system", account=""):
    return Charge(key, account, "images", "patient", entropy, cost(epsilon), limit)


@pytest.fixture
def book(tmp_path):
    return Ledger(tmp_path / "north.jsonl")


def test_what_was_entered_is_read_again(book):
    book.charge(ASKED, charge(limit=(8.0, 1e-5)))
    book.release(ASKED, "ab" * 32, ["k"])
    paid, left = book.entries()
    assert paid.charge == charge(limit=(8.0, 1e-5)) and paid.occasion == ASKED
    assert (left.sha256, left.keys, left.charge) == ("ab" * 32, ("k",), None)
    assert 0 <= left.time - paid.time < 60
    assert oct(book.path.stat().st_mode & 0o777) == "0o600"


def test_budgets_add_up_and_the_third_release_is_refused(book):
    limit = (5.0, 1e-5)
    two, three = (epsilon_of([cost().mechanism] * n, delta=1e-5) for n in (2, 3))
    assert two < 5 < three < 9  # composed, not added
    book.charge(ASKED, charge("first", limit=limit))
    book.charge(ASKED, charge("second", limit=limit))
    before = book.path.read_bytes()
    with pytest.raises(PolicyError, match=rf"rule epsilon_max[\s\S]*{two:.4g} spent before, {three:.4g} with this"):
        book.charge(ASKED, charge("third", limit=limit))
    assert book.path.read_bytes() == before
    book.charge(Occasion("run 8", "dp-dm"), charge("third", limit=(9.0, 1e-5)))  # where the site allows more


def test_images_of_another_fingerprint_are_no_other_patients(book):
    book.charge(ASKED, charge("first", epsilon=4.0, limit=(5.0, 1e-5)))
    with pytest.raises(PolicyError, match="epsilon_max"):
        book.charge(ASKED, replace(charge("second", epsilon=4.0, limit=(5.0, 1e-5)), images="one image more"))


def test_accounts_of_a_simulation_are_alternatives(book):
    for account in ("dp-dm seed 0", "dp-dm seed 1"):
        book.charge(ASKED, charge(account, epsilon=4.0, limit=(5.0, 1e-5), account=account))
    with pytest.raises(PolicyError):
        book.charge(ASKED, charge("more", epsilon=4.0, limit=(5.0, 1e-5), account="dp-dm seed 1"))


def test_seeded_answers_cost_once_and_unseeded_ones_every_time(book):
    for _ in range(2):
        book.charge(ASKED, charge("simulated", entropy="seeded"))
    assert len(book.charges()) == 1
    for _ in range(2):  # their noise was drawn and lost: what was drawn first is not what will be drawn now
        book.charge(ASKED, charge("real"))
    assert len(book.charges()) == 3


def test_a_release_is_entered_once_for_each_recipient(book):
    for to in ("run 1", "run 1", "run 2"):
        book.release(Occasion(to, "full"), "c" * 64)
    assert [entry.occasion.to for entry in book.entries()] == ["run 1", "run 2"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.05, 4), max_size=5), st.lists(st.floats(0.05, 4), min_size=1, max_size=3), st.floats(0.1, 9)
)
def test_what_is_allowed_stays_within_the_budget_and_what_is_refused_does_not(before, new, limit):
    paid = [charge(f"b{i}", epsilon=e) for i, e in enumerate(before)]
    asked = [charge(f"n{i}", epsilon=e, limit=(limit, 1e-5)) for i, e in enumerate(new)]
    total = epsilon_of([each.cost.mechanism for each in (*paid, *asked)], delta=1e-5)
    assert total <= (sum(before) + sum(new)) * (1 + 1e-6)  # composition never costs more than adding
    try:
        require_affordable(paid, asked)
        assert total <= limit * (1 + 2e-6)
    except PolicyError:
        assert total > limit


def test_a_smaller_delta_of_the_policy_is_what_counts():
    one = cost(epsilon=5.0, delta=1e-3)
    assert not within([one], epsilon=5.0, delta=1e-5) and within([one], epsilon=5.0, delta=1e-3)
    assert spent([one], delta=1e-5) > 5


def test_a_torn_last_line_that_is_whole_but_for_its_end_counts_as_spent(book):
    book.charge(ASKED, charge("first", limit=(5.0, 1e-5)))
    book.path.write_bytes(book.path.read_bytes().removesuffix(b"\n"))
    assert [each.key for each in book.charges()] == ["first"]
    book.charge(ASKED, charge("second", limit=(5.0, 1e-5)))
    assert [each.key for each in book.charges()] == ["first", "second"]
    assert book.path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("kept", [1, 60, -30, -2])
def test_a_torn_last_line_is_an_error_that_says_how_to_mend_it(book, kept):
    book.charge(ASKED, charge("first"))
    whole = book.path.read_bytes()
    book.charge(ASKED, charge("second"))
    book.path.write_bytes(whole + book.path.read_bytes()[len(whole) :][:kept])
    for attempt in (book.entries, lambda: book.charge(ASKED, charge("third")), lambda: book.release(ASKED, "d" * 64)):
        with pytest.raises(LedgerError, match=r"line 2, is torn[\s\S]*delete it"):
            attempt()
    book.path.write_bytes(whole)
    book.charge(ASKED, charge("third"))
    assert [each.key for each in book.charges()] == ["first", "third"]


def changed(lines):
    return [lines[0].replace(b'"sigma": 1', b'"sigma": 9'), *lines[1:]]


@pytest.mark.parametrize(
    "spoil",
    [
        changed,
        lambda lines: lines[1:],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [lines[0], b"\x00\xff" * 40 + b"\n", *lines[1:]],
        lambda lines: [lines[0], b"\n", *lines[1:]],
        lambda lines: [b'{"entry": "charged"}\n'],
        lambda lines: [b"[]\n"],
    ],
)
def test_a_damaged_ledger_refuses(book, spoil):
    for key in ("first", "second", "third"):
        book.charge(ASKED, charge(key))
    lines = book.path.read_bytes().splitlines(keepends=True)
    spoilt = b"".join(spoil(lines))
    assert spoilt != b"".join(lines)
    book.path.write_bytes(spoilt)
    for attempt in (book.entries, lambda: book.require([charge("more")]), lambda: book.charge(ASKED, charge("more"))):
        with pytest.raises(LedgerError, match="is damaged at line") as raised:
            attempt()
        assert isinstance(raised.value, PolicyError) and raised.value.exit_code == 2
    assert book.path.read_bytes() == spoilt


def test_a_ledger_that_cannot_be_written_refuses(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be written"):
        Ledger(tmp_path / "file" / "north.jsonl").charge(ASKED, charge())
    (tmp_path / "folder").mkdir()
    with pytest.raises(LedgerError, match="cannot be"):
        Ledger(tmp_path / "folder").charge(ASKED, charge())


def test_a_full_disk_leaves_no_half_line(book, monkeypatch):
    book.charge(ASKED, charge("first"))
    true = os.write
    monkeypatch.setattr(ledger_file.os, "write", lambda file, data: true(file, data[:20]))
    with pytest.raises(LedgerError, match="is the disk full"):
        book.charge(ASKED, charge("second"))
    monkeypatch.undo()
    assert [each.key for each in book.charges()] == ["first"]
    book.charge(ASKED, charge("third"))
    assert len(book.charges()) == 2


WRITER = """
import sys
from pathlib import Path
from fedistill.core.accounting import Mechanism, PrivacyCost
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.accounting.ledger_lines import Occasion
from fedistill.privacy.accounting.budget import Charge
ledger = Ledger(Path(sys.argv[1]))
for i in range(25):
    cost = PrivacyCost(Mechanism(sigma=9.0), 0.4, 1e-5)
    ledger.charge(Occasion("run", "dp-dm"), Charge(f"{sys.argv[2]} {i}", "", "x", "image", "system", cost))
"""


def test_two_processes_lose_no_line(book):
    started = [subprocess.Popen([sys.executable, "-c", WRITER, str(book.path), name]) for name in ("a", "b")]
    assert [process.wait() for process in started] == [0, 0]
    entered = sorted(each.key for each in book.charges())
    assert entered == sorted(f"{name} {i}" for name in ("a", "b") for i in range(25))


def test_who_cannot_have_the_lock_refuses(book, monkeypatch):
    import fcntl

    book.charge(ASKED, charge("first"))
    monkeypatch.setattr(ledger_file, "PATIENCE_SECONDS", 0.05)
    with book.path.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match="Another process holds"):
            book.charge(ASKED, charge("second"))
    book.charge(ASKED, charge("second"))
    assert len(book.charges()) == 2


def test_a_charge_is_on_the_disk_when_it_returns(book, monkeypatch):
    synced = []
    true = os.fsync
    monkeypatch.setattr(ledger_file.os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), true(file))[1])
    book.charge(ASKED, charge())
    assert synced[0] == book.path.stat().st_size  # the whole line, before anything else


def test_lines_are_json_that_people_can_read(book):
    book.charge(ASKED, charge(limit=(5.0, 1e-5)))
    line = json.loads(book.path.read_text())
    assert (line["entry"], line["to"], line["scheme"], line["ipc"], line["unit"]) == (
        "charged",
        "run 7",
        "dp-dm",
        [1, 10],
        "patient",
    )
    assert line["cost"]["epsilon"] == 3.0 and line["limit"] == [5.0, 1e-5]
