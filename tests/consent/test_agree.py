"""A hospital agrees: it reads what would leave before the yes, nothing is agreed without one, and sums are kept."""

import csv
import re
import stat

import pytest
import tomli_w
from attacks.hospital import DM, Hospital, study
from typer.testing import CliRunner

from fedistill.api.consent import listed, prepare, revoke_agreement
from fedistill.cli.main import cli
from fedistill.errors import LedgerError, PolicyError, SettingError


@pytest.fixture
def hospital(tmp_path):
    return Hospital(tmp_path / "h", "max_ipc = 12", review=True)


def command(hospital, *words, content=None):
    path = hospital.folder / "study.toml"
    path.write_text(tomli_w.dumps(study() if content is None else content))
    site = ["--site", str(hospital.folder / "north.toml")]
    return CliRunner().invoke(cli, [words[0], *([str(path)] if words[0] == "agree" else []), *words[1:], *site])


def test_before_the_yes_it_says_what_would_leave(hospital):
    content = {**study("dm", ipc=[1, 10]), "purpose": "to compare", "requester": "the university"}
    done = command(hospital, "agree", "--yes", "--by", "Dr. Who", content=content)
    assert done.exit_code == 0, done.output
    for words in (
        "asked for by the university",
        "Purpose: to compare",
        "dm: 1 Release of synthetic images, each with 11 images of each class (ipc 1, 10).",
        "No privacy bound",
        "1 Release leave this site in all, with earlier studies; 2 may.",
        "11 images of a class leave in all, in Releases without a privacy bound; 12 may.",
        "Everything waits here until somebody has looked at it",
    ):
        assert words in done.output, words
    [study_hash] = re.findall(r"HASH ([0-9a-f]{64})", done.output)
    path = hospital.site.agreements / f"{study_hash}.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    [line] = hospital.lines("agreed")
    assert line["by"] == "Dr. Who" and line["agreement"] == study_hash


def test_without_a_terminal_and_without_yes_nothing_is_agreed(hospital):
    done = command(hospital, "agree")
    assert isinstance(done.exception, SettingError) and "Nobody is there to be asked" in str(done.exception)
    assert not hospital.lines("agreed") and not hospital.site.agreements.exists()


def test_a_no_is_a_no(hospital, monkeypatch):
    monkeypatch.setattr("fedistill.cli.consent._terminal", lambda: True)
    path = hospital.folder / "study.toml"
    path.write_text(tomli_w.dumps(study()))
    words = ["agree", str(path), "--site", str(hospital.folder / "north.toml")]
    done = CliRunner().invoke(cli, words, input="n\n")
    assert done.exit_code == 1 and "Nothing was agreed" in done.output and not hospital.lines("agreed")
    done = CliRunner().invoke(cli, words, input="y\n")
    assert done.exit_code == 0 and len(hospital.lines("agreed")) == 1


def test_what_the_rules_forbid_is_left_out_and_named(hospital):
    hospital.agree(study("dm", schemes={"random": {}, "local": {}}))
    assert hospital.lines("agreed")
    offer = prepare(hospital.site, str(hospital.folder / "study.toml"))
    assert set(offer.refused) == {"random", "local"}
    assert any("random: nothing is sent, for it sends real images (rule allow_real_images)." in x for x in offer.lines)


def test_a_scheme_may_be_left_out_by_choice(hospital):
    agreed = hospital.agree(study("dm", schemes={"dc": {"clusters": 1}}), without=["dm"])
    assert "takes no part in 'dm'" in hospital.release(agreed).refused
    with pytest.raises(SettingError, match="no scheme 'mtt'"):
        hospital.agree(study(), without=["mtt"])


def test_nothing_left_is_nothing_to_agree_to(hospital):
    with pytest.raises(PolicyError, match=r"leaves nothing[\s\S]*\(rule allow_real_images\)"):
        hospital.agree(study("random"))


def test_sums_are_over_all_studies_and_equal_releases_count_once(hospital):
    """11 of 12 images: a study that differs in what the server alone does asks for the same bytes; another does not."""
    hospital.agree(study("dm", ipc=[1, 10]))
    hospital.agree(study("dm", ipc=[1, 10], pooling="balanced"))
    with pytest.raises(PolicyError, match=r"22 images of a class, and 12 may in all \(rule max_ipc\)"):
        hospital.agree(study("dm", ipc=[1, 10], seed=1))
    first = hospital.lines("agreed")[0]["agreement"]
    revoke_agreement(hospital.site, first[:10], by="x")
    with pytest.raises(PolicyError, match="max_ipc"):
        hospital.agree(study("dm", ipc=[1, 10], seed=1))
    revoke_agreement(hospital.site, hospital.lines("agreed")[1]["agreement"], by="x")
    hospital.agree(study("dm", ipc=[1, 10], seed=1))


def test_what_has_left_counts_when_its_agreement_is_revoked(tmp_path):
    hospital = Hospital(tmp_path / "h")
    agreed = hospital.agree(study())
    assert hospital.release(agreed).release
    revoke_agreement(hospital.site, agreed, by="x")
    hospital.agree(study("dm", seed=1))
    with pytest.raises(PolicyError, match=r"3 Releases, and 2 may in all \(rule max_releases\)"):
        hospital.agree(study("dm", seed=2))


def test_privacy_budgets_add_up_before_anything_is_asked(tmp_path):
    hospital = Hospital(tmp_path / "h", "epsilon_max = 5.0\nnon_private = 'allow'")
    private = {"epsilon": 4.0, "queries": 1}
    hospital.agree(study("dp-dm", private))
    with pytest.raises(PolicyError, match=r"rule epsilon_max"):
        hospital.agree(study("dp-dm", private, seed=1))


def test_the_list_says_what_each_has_used(hospital):
    agreed = hospital.agree(study())
    hospital.release(agreed)
    hospital.release(agreed, "north dm seed 5")
    [row] = listed(hospital.site)
    assert row[0] == agreed[:12] and row[4:] == ("holds", "1 of 1", 0, 1, 1)
    done = command(hospital, "agreements", "--revoke", agreed[:6])
    assert done.exit_code == 0 and "cannot be called back" in done.output
    assert listed(hospital.site)[0][4] == "revoked"
    assert "revoked" in command(hospital, "agreements").output


def test_evidence_is_shown_before_the_yes_and_kept(hospital, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    columns = "scheme ipc rounds attack auc auc_low auc_high dataset members".split()
    with (run / "privacy.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(columns)
        rows.writerow(["dm", 1, "", "lira", 0.52, 0.5, 0.55, "breastmnist", 100])
        rows.writerow(["dm", 1, "", "tracing", 0.59, 0.57, 0.61, "breastmnist", 100])
    done = command(hospital, "agree", "--yes", "--evidence", str(run))
    line = "the strongest attack (tracing) tells members from others with AUC 59 (57 to 61; a coin has 50)"
    assert line in done.output, done.output
    [path] = hospital.site.agreements.glob("*.toml")
    assert "strongest attack (tracing)" in path.read_text()
    bare = command(hospital, "agree", "--yes", "--evidence", str(tmp_path / "none"))
    assert isinstance(bare.exception, SettingError)


def test_days_and_ledgers_that_cannot_be_are_said_before_the_yes(hospital):
    for until in ("tomorrow", "2001-01-01"):
        with pytest.raises(SettingError, match="--until"):
            hospital.agree(study(), until=until)
    hospital.agree(study())
    hospital.book.path.unlink()
    with pytest.raises(LedgerError, match="missing"):
        hospital.agree(study("dm", {**DM, "iterations": 21}))


def test_two_sites_in_one_folder_have_agreements_of_their_own(hospital):
    """One's file would stand in the place of the other's, and neither would answer."""
    hospital.agree(study())
    text = (hospital.folder / "north.toml").read_text()
    kept = 'store = "e"\nledger = "e.jsonl"\nsecret = "e.secret"\n'
    other = hospital.folder / "east.toml"
    words = ["agree", str(hospital.folder / "study.toml"), "--yes", "--site", str(other)]
    for more, kind in (("", SettingError), ('agreements = "east"\n', type(None))):
        other.write_text(text.replace('name = "north"', 'name = "east"').replace("images", kept + more + "images"))
        assert isinstance(CliRunner().invoke(cli, words).exception, kind)
    assert len(list((hospital.folder / "east").glob("*.toml"))) == 1
