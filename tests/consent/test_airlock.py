"""What waits at a hospital: nothing leaves before the yes, a no is for good, and people there see what would leave."""

import csv
import json
import stat

import pytest
from attacks.hospital import Hospital, study
from typer.testing import CliRunner

from fedistill.api.consent import show, waiting
from fedistill.cli.main import cli
from fedistill.consent.airlock import decide
from fedistill.errors import RunFolderError, SettingError
from fedistill.release.release import sha256


@pytest.fixture
def hospital(tmp_path):
    return Hospital(tmp_path / "h", review=True, more="images = 240\nheld_out = 0.2")


def command(hospital, *words):
    return CliRunner().invoke(cli, [*words, "--site", str(hospital.folder / "north.toml")])


def test_it_waits_until_somebody_says_yes(hospital):
    agreed = hospital.agree(study())
    first = hospital.release(agreed)
    assert first.release is None and "until somebody there has looked at it" in first.waits and not first.refused
    assert not hospital.lines("sent")
    assert [row[0] for row in waiting(hospital.site)] == [1]
    done = command(hospital, "approve", "1", "--by", "Dr. Who")
    assert done.exit_code == 0 and "approved: 1" in done.output
    second = hospital.release(agreed)
    [held], [sent] = hospital.lines("held"), hospital.lines("sent")
    assert held["sha256"] == sent["sha256"] == sha256(second.release), "what was looked at is what left"
    assert hospital.release(agreed).release == second.release


def test_a_no_is_for_good_and_gives_back_the_room(hospital):
    agreed = hospital.agree(study("dm", seeds=2))
    for number, name in enumerate(("north dm seed 0", "north dm seed 1"), 1):
        hospital.release(agreed, name)
        command(hospital, "reject", str(number), "--why", "too alike")
    assert "said no" in hospital.release(agreed).refused
    with pytest.raises(SettingError, match="was rejected by"):
        decide(hospital.book, 1, "approved", by="x")
    with pytest.raises(SettingError, match="no request 9"):
        decide(hospital.book, 9, "approved", by="x")
    other = hospital.agree(study("dm", seed=1))
    assert "looked at it" in hospital.release(other).waits, "the two that never left count for nothing"


def test_standing_approval_by_the_name_of_a_scheme(hospital):
    agreed = hospital.agree(study("dm", schemes={"dc": {"iterations": 20, "clusters": 1}}), standing=["dm"])
    assert hospital.release(agreed).release and not hospital.lines("held")
    assert hospital.release(agreed, "north dc seed 0").waits


def test_people_see_the_images_beside_the_nearest_real_ones(hospital):
    agreed = hospital.agree(study())
    hospital.release(agreed)
    seen = show(hospital.site, 1)
    assert len(seen.pictures) == 2 and all(len(each.images) == 2 for each in seen.pictures)
    assert all(image.min() >= 0 and image.max() <= 1 for each in seen.pictures for image in each.images)
    assert any("nearer to a training image than to any set aside" in line for line in seen.lines)
    done = command(hospital, "requests", "show", "1")
    page = hospital.folder / "requests" / "1.html"
    assert done.exit_code == 0 and "1.html" in done.output, done.output
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text()
    assert text.count("<img") == 4 and "http" not in text and "<script" not in text
    assert "north dm seed 0" in command(hospital, "requests").output


def test_the_ledger_says_who_got_what_under_which_agreement(hospital, tmp_path):
    agreed = hospital.agree(study())
    hospital.release(agreed)
    command(hospital, "approve", "1")
    hospital.release(agreed)
    hospital.release(agreed, "=HYPERLINK(1)")
    site = str(hospital.folder / "north.toml")
    shown = CliRunner().invoke(cli, ["ledger", site])
    assert shown.exit_code == 0 and "each of them as it was written" in shown.output
    table, plain = tmp_path / "l.csv", tmp_path / "l.json"
    for path in (table, plain):
        assert CliRunner().invoke(cli, ["ledger", site, "--export", str(path)]).exit_code == 0
    lines = json.loads(plain.read_text())["lines"]
    assert [line["entry"] for line in lines] == [line["entry"] for line in hospital.ledger]
    assert lines[-1]["chain"] == hospital.ledger[-1]["chain"]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    [sent] = [row for row in rows if row["entry"] == "sent"]
    assert sent["agreement"] == agreed and sent["item"] == "north dm seed 0" and sent["to"] == "run 4242"
    assert not any(cell.startswith("=") for row in rows for cell in row.values())
    again = CliRunner().invoke(cli, ["ledger", site, "--export", str(table)])
    assert isinstance(again.exception, RunFolderError), "what is there is not overwritten"
    with hospital.book.path.open("a") as file:
        file.write("{}\n")
    broken = CliRunner().invoke(cli, ["ledger", site])
    assert "damaged" in str(broken.exception)
