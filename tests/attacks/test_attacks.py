"""What a server could once get out of a hospital is refused, by the rule that is meant to refuse it."""

import re
from pathlib import Path

import pytest

from attacks import unfriendly
from attacks.attempts import ATTEMPTS, known_seed
from attacks.hospital import Hospital, study
from fedistill.transport.site import context as here

SLOW = ("label vectors of patients", "the seed is the server's", "dp-dm of a hospital")


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.slow] if each.name.startswith(SLOW) else [])
        for each in ATTEMPTS
    ],
)
def test_it_is_refused_by_its_rule(attempt, tmp_path):
    assert attempt.rule in attempt.run(tmp_path / "hospital")


@pytest.mark.parametrize("attempt", unfriendly.ATTEMPTS, ids=lambda each: each.name)
def test_an_unfriendly_server_gets_nothing_that_was_not_agreed(attempt, tmp_path):
    assert attempt.rule in unfriendly.tried(attempt, tmp_path / "hospital")


def test_what_was_agreed_is_sent_and_logged(tmp_path):
    """The attempts fail for what they try, and not because this hospital answers nothing at all."""
    hospital = Hospital(tmp_path / "hospital")
    agreed = hospital.agree(study())
    outcome = hospital.release(agreed)
    assert outcome.release and [line["item"] for line in hospital.lines("sent")] == ["north dm seed 0"]
    [sent], [released] = hospital.lines("sent"), hospital.lines("released")
    assert sent["sha256"] == released["sha256"] and sent["agreement"] == released["agreement"] == agreed


@pytest.mark.slow
def test_without_the_secret_the_seed_tells_all(tmp_path, monkeypatch):
    """The attempt that the secret refuses finds what it looks for where there is none."""
    monkeypatch.setattr(here.SiteContext, "seed_of", lambda self, job: job.random_seed)
    assert known_seed(tmp_path / "hospital").startswith("ALIKE")


def rows(page, head="tried by a server"):
    """Return the cells of each row of a page's table of attempts."""
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    [table] = re.findall(rf"^\| {head}.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    return [tuple(cell.strip().replace("`", "") for cell in row.split("|")[1:-1]) for row in table.splitlines()]


def test_the_table_of_attempts_in_the_readme_is_what_is_tried():
    single = [(attempt.name, attempt.before, attempt.rule.strip("()").removeprefix("rule ")) for attempt in ATTEMPTS]
    written = rows("fedistill/privacy/README.md")
    assert sorted(written) == sorted(single)
    assert set(rows("README.md")) <= set(written), "the short table repeats rows of the whole one"


def test_the_table_of_an_unfriendly_servers_attempts_is_what_is_tried():
    """At least thirty, each in a row with what refuses it."""
    page = rows("fedistill/privacy/README.md", "an unfriendly server tries")
    tried = [(each.name, each.rule.strip("()").removeprefix("rule ")) for each in unfriendly.ATTEMPTS]
    assert page == tried and len(tried) >= 30
