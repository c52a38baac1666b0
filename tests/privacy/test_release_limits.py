"""How much leaves a site in all is counted in its ledger, whatever asks and however it is cut into requests."""

import pytest

from fedistill.errors import PolicyError
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.accounting.ledger_lines import Occasion
from fedistill.privacy.accounting.release_limits import Leaving

RUN = Occasion("run 1", "dm", (10,))


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger.jsonl")


def leaving(item, per_class=10, releases=3, images=25):
    return Leaving(item, per_class, releases, images)


def test_images_of_a_class_add_up_over_releases(ledger):
    for item in ("a", "b"):
        ledger.require_room(leaving(item))
        ledger.release(RUN, item * 64, leaving=leaving(item))
    with pytest.raises(PolicyError, match=r"20 images of a class have left, 10 more would, and 25 may"):
        ledger.require_room(leaving("c"))
    ledger.require_room(leaving("c", per_class=5))
    ledger.require_room(leaving("c", per_class=0))  # what a privacy budget bounds is not counted in images


def test_releases_are_counted(ledger):
    for item in ("a", "b", "c"):
        ledger.release(RUN, item * 64, leaving=leaving(item, per_class=1))
    with pytest.raises(PolicyError, match=r"3 Releases have left, and 3 may in all \(rule max_releases\)"):
        ledger.require_room(leaving("d", per_class=1))


def test_the_same_bytes_count_once_whoever_gets_them(ledger):
    ledger.release(RUN, "a" * 64, leaving=leaving("a"))
    for _ in range(5):
        ledger.require_room(leaving("a"))
        ledger.release(Occasion("run 2", "dm", (10,)), "a" * 64, leaving=leaving("a"))
    assert [entry.occasion.to for entry in ledger.entries()] == ["run 1", "run 2"], "and each recipient is named"
    ledger.require_room(leaving("b"))


def test_the_same_job_with_other_bytes_is_another_release(ledger):
    """A store that was lost, or data that changed: what left cannot be called back."""
    ledger.release(RUN, "a" * 64, leaving=leaving("a", releases=1))
    ledger.require_room(leaving("a", releases=1))
    with pytest.raises(PolicyError, match="rule max_releases"):
        ledger.release(RUN, "b" * 64, leaving=leaving("a", releases=1))
    assert len(ledger.entries()) == 1, "and nothing was entered"


def test_lines_from_before_there_was_a_count_are_read(ledger):
    ledger.release(RUN, "a" * 64)
    assert ledger.entries()[0].per_class == 0
    with pytest.raises(PolicyError, match="rule max_releases"):
        ledger.require_room(leaving("b", releases=1))
