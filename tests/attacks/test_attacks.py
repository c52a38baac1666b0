"""What a server could once get out of a hospital is refused, by the rule that is meant to refuse it."""

import re
from pathlib import Path

import pytest

from attacks.attempts import ATTEMPTS, known_seed
from fedistill.transport.site import context as here

SLOW = ("a thousand Releases", "label vectors of patients", "the seed is the server's", "dp-dm of a hospital")


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.slow] if each.name.startswith(SLOW) else [])
        for each in ATTEMPTS
    ],
)
def test_it_is_refused_by_its_rule(attempt, tmp_path):
    assert attempt.rule in attempt.run(tmp_path / "hospital")


@pytest.mark.slow
def test_without_the_secret_the_seed_tells_all(tmp_path, monkeypatch):
    """The attempt that the secret refuses finds what it looks for where there is none."""
    monkeypatch.setattr(here.SiteContext, "seed_of", lambda self, job: job.random_seed)
    assert known_seed(tmp_path / "hospital").startswith("ALIKE")


def rows(page):
    """Return (attempt, what it got before, what refuses it) for each row of a page's table of attempts."""
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    [table] = re.findall(r"^\| tried by a server.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M)
    return [tuple(cell.strip().replace("`", "") for cell in row.split("|")[1:-1]) for row in table.splitlines()]


def test_the_table_of_attempts_in_the_readme_is_what_is_tried():
    impossible = [attempt for attempt in ATTEMPTS if attempt.name.startswith("a job of ")]
    single = [
        (attempt.name, attempt.before, attempt.rule.strip("()").removeprefix("rule "))
        for attempt in ATTEMPTS
        if attempt not in impossible
    ]
    *written, (jobs, before, _) = rows("fedistill/privacy/README.md")
    assert sorted(written) == sorted(single)
    assert jobs.startswith(f"{len(impossible)} jobs that cannot be: ") and before.startswith("Python's error")
    assert set(rows("README.md")) <= set(written), "the short table repeats rows of the whole one"
