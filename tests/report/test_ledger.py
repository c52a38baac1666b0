"""fedistill ledger: what was released and spent, in words that a data office can read."""

from io import StringIO

import pytest
from rich.console import Console

from fedistill.core.accounting import Mechanism, PrivacyCost, epsilon_of
from fedistill.errors import LedgerError, RunFolderError
from fedistill.privacy.accounting.budget import Charge
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.accounting.ledger_lines import Occasion
from fedistill.report.terminal.ledger import print_ledgers

NOISE = Mechanism(sigma=2.0)
ONE, TWO, THREE = (epsilon_of([NOISE] * n, delta=1e-5) for n in (1, 2, 3))


def charge(key, *, account="", limit=(5.0, 1e-5), entropy="system"):
    return Charge(key, account, "images", "patient", entropy, PrivacyCost(NOISE, 2.0, 1e-5), limit)


def shown(path, *, width=80, site=None):
    console = Console(width=width, record=True, file=StringIO())
    print_ledgers(path, console, site=site)
    return console.export_text()


def test_a_site_s_ledger(tmp_path):
    book = Ledger(tmp_path / "north.jsonl")
    first, second = Occasion("run 1", "dp-dm", (1, 10)), Occasion("run 2", "dp-dm", (10,))
    book.release(first, "f" * 64)  # something without a bound
    book.charge(first, charge("a"))
    book.release(first, "0123456789" * 6 + "abcd", ["a"])
    book.release(second, "b" * 64, ["a"])  # of the same answers
    book.charge(second, charge("c"))  # and then stopped
    text = shown(book.path)
    rows = [line.split() for line in text.splitlines() if "run" in line]
    assert [row[-1] for row in rows] == ["ffffffff", f"{ONE:.4g}", "0", f"{ONE:.4g}"]
    assert [row[-2] for row in rows][1:] == ["01234567", "bbbbbbbb", "none"]
    assert "1, 10" in text and "UTC" in text
    assert f"Together: epsilon {TWO:.4g} at delta 1e-05, for every single patient." in text
    assert f"Left of 5: {5 - TWO:.4g}." in text and "SIMULATED" not in text
    assert all(len(line) <= 60 for line in shown(book.path, width=60).splitlines())


def test_a_run_s_ledgers(tmp_path):
    for name in ("a", "b"):
        book = Ledger(tmp_path / "run" / "work" / "ledger" / f"{name}.jsonl")
        for account in ("seed 0", "seed 0", "seed 1"):
            asked = charge(f"{account} {len(book.entries())}", account=account, limit=None, entropy="seeded")
            book.charge(Occasion("simulation", "dp-dm"), asked)
    text = shown(tmp_path / "run")
    together = f"epsilon {TWO:.4g} at most, at delta 1e-05, for every single patient; all together {THREE:.4g}"
    assert text.count("2 alternatives") == 2
    assert " ".join(text.split()).count(together) == 2
    assert text.count("SIMULATED") == 2 and text.count("No budget is set.") == 2
    assert shown(tmp_path / "run", site="b").splitlines()[0].strip() == "b"
    assert shown(tmp_path / "run" / "work", site="a").splitlines()[0].strip() == "a"  # as a --cache would be


def test_a_ledger_without_a_bound(tmp_path):
    book = Ledger(tmp_path / "north.jsonl")
    book.release(Occasion("run 1", "full"), "f" * 64)
    assert "No privacy budget was spent." in shown(book.path)


def test_what_is_wrong_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, words in ((tmp_path / "nowhere", "no such file"), (tmp_path / "empty", "nothing was charged")):
        with pytest.raises(RunFolderError, match=words) as raised:
            print_ledgers(path, Console())
        assert raised.value.exit_code == 2
    book = Ledger(tmp_path / "run" / "ledger" / "north.jsonl")
    book.charge(Occasion("run 1", "dp-dm"), charge("a"))
    with pytest.raises(RunFolderError, match="did you mean 'north'"):
        print_ledgers(tmp_path / "run", Console(), site="nroth")
    with pytest.raises(RunFolderError, match="is one ledger"):
        print_ledgers(book.path, Console(), site="south")
    book.path.write_bytes(b"torn" + book.path.read_bytes())
    with pytest.raises(LedgerError, match="damaged") as damaged:
        print_ledgers(book.path, Console())
    assert damaged.value.exit_code == 2


def test_the_command(tmp_path, typed):
    code, text = typed("ledger", "nowhere")
    assert code == 2 and "There is no ledger at nowhere" in text
    Ledger(tmp_path / "north.jsonl").release(Occasion("run 1", "full"), "f" * 64)
    code, text = typed("ledger", "north.jsonl")
    assert code == 0 and "ffffffff" in text
