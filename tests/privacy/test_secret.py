"""A site's secret: made once, never lost in silence, nobody else's to read, and in every seed."""

import stat

import pytest

from fedistill.errors import SettingError
from fedistill.privacy.policy.secret import BYTES, ensure_secret, read_secret, seed_for


@pytest.fixture
def places(tmp_path):
    return {"path": tmp_path / "site.secret", "store": tmp_path / "store", "ledger": tmp_path / "ledger.jsonl"}


def ensure(places):
    ensure_secret(places["path"], store=places["store"], ledger=places["ledger"])


def test_it_is_made_at_the_first_start_and_kept(places):
    ensure(places)
    first = read_secret(places["path"])
    ensure(places)
    assert read_secret(places["path"]) == first and len(first) == BYTES
    assert stat.S_IMODE(places["path"].stat().st_mode) == 0o600
    assert list(places["path"].parent.iterdir()) == [places["path"]], "nothing else is left"


@pytest.mark.parametrize("used", ["ledger", "store"])
def test_one_that_is_missing_beside_work_made_with_it_is_not_replaced(places, used):
    if used == "ledger":
        places["ledger"].write_text("{}\n")
    else:
        (places["store"] / "synthetic").mkdir(parents=True)
        (places["store"] / "synthetic" / "a.safetensors").write_bytes(b"x")
    with pytest.raises(SettingError, match=r"is missing[\s\S]*put it back") as error:
        ensure(places)
    assert error.value.exit_code == 2 and not places["path"].exists()


@pytest.mark.parametrize(
    ("mend", "words"),
    [
        (lambda path: path.chmod(0o640), "Others may read"),
        (lambda path: path.write_bytes(b"short"), "no secret of a site"),
        (lambda path: (path.unlink(), path.mkdir(mode=0o700)), "cannot be read"),
    ],
)
def test_one_that_cannot_be_trusted_starts_nothing(places, mend, words):
    ensure(places)
    mend(places["path"])
    for use in (ensure, lambda places: read_secret(places["path"])):
        with pytest.raises(SettingError, match=words) as error:
            use(places)
        assert error.value.exit_code == 2


def test_where_it_cannot_be_written_it_says_so(places):
    places["path"].parent.joinpath("file").write_text("")
    places["path"] = places["path"].parent / "file" / "site.secret"
    with pytest.raises(SettingError, match="cannot be"):
        ensure(places)


def test_every_word_of_a_job_changes_its_seed():
    job = {"scheme": "dm", "ipcs": [1, 10], "settings": {"iterations": 20}}
    seeds = {
        seed_for(b"a" * BYTES, job),
        seed_for(b"b" * BYTES, job),
        seed_for(b"a" * BYTES, {**job, "ipcs": [1]}),
        seed_for(b"a" * BYTES, {**job, "settings": {"iterations": 21}}),
    }
    assert len(seeds) == 4 and all(0 <= seed < 2**63 for seed in seeds)
    assert seed_for(b"a" * BYTES, dict(reversed(job.items()))) in seeds, "the order of words means nothing"
