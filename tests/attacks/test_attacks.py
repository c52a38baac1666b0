"""What a server could once get out of a hospital is refused, by the rule that is meant to refuse it."""

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
