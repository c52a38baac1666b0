"""Faults in a run, those that take no Ray: the site is named, the others' work counts, and what was kept is kept."""

import errno
import shutil

import pandas as pd
import pytest
from tiny import timeless

from faults.plans import SMALL, written
from faults.sites import SPOILT, WHY
from fedistill.config import load_plan
from fedistill.core import store
from fedistill.core.files import write_atomic
from fedistill.errors import RunError
from fedistill.study import run
from fedistill.transport.server import launch


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    return run(load_plan(written(folder, "small", SMALL)), out=folder / "out", engine="inline")


@pytest.mark.parametrize("fault", ["raises", *SPOILT])
def test_a_sick_site_is_named_and_left_out(whole, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(launch, "CLIENT", "faults.sites:app")
    monkeypatch.setenv("FEDISTILL_FAULT", fault)
    shutil.copytree(whole.root / "work", tmp_path / "store")
    done = run(whole.plan, out=tmp_path / "out", engine="inline", cache=tmp_path / "store")
    sites = done.sites.set_index("site")
    assert sites.loc["b", "status"] == "failed" and WHY[fault] in sites.loc["b", "why"]
    assert sites.loc["a", "status"] == "shared" and (done.rows["n_sites"] == 1).all()
    [told] = (done.root / "failures").iterdir()
    assert WHY[fault].partition(" cannot")[0] in told.read_text()


def test_a_full_disk_ends_the_run_and_room_resumes_it(whole, tmp_path, monkeypatch):
    out, left = tmp_path / "out", [6]

    def full(path, content, **more):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_atomic(path, content, **more)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_atomic", full)
        patch.setattr("fedistill.study.folder.run_folder.write_atomic", full)
        # `dm` finds no room at one site or the other, or the server finds none for a network.
        with pytest.raises((OSError, RunError), match="No space left"):
            run(whole.plan, out=out, engine="inline")
    assert not list(out.rglob("*.partial"))
    again = run(whole.plan, out=out, engine="inline")
    pd.testing.assert_frame_equal(timeless(again.rows), timeless(whole.rows), check_exact=True)


def test_damaged_files_of_the_store_are_made_anew(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole.root, out)
    kept = sorted((out / "work").rglob("*.safetensors"))
    for number, path in enumerate(kept):
        data = path.read_bytes()
        path.write_bytes([data[: len(data) // 2], b"", data[:-1] + bytes([data[-1] ^ 1])][number % 3])
    again = run(whole.plan, out=out, engine="inline")
    assert again.computed == 3 and again.found == 0
    read = [path for path in kept if path.parent.name in ("synthetic", "network", "test")]
    assert (again.root / "events.jsonl").read_text().count('"damaged file"') == len(read) == 4
    pd.testing.assert_frame_equal(timeless(again.rows), timeless(whole.rows), check_exact=True)


def test_a_full_disk_is_said_in_a_line(monkeypatch, capsys):
    from fedistill.cli.main import main

    def full(**about):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/results.csv")

    monkeypatch.setattr("fedistill.cli.main.cli", full)
    with pytest.raises(SystemExit, match="1"):
        main()
    told = capsys.readouterr().err
    assert "no room to write at runs/x/results.csv" in told and "run the same command again" in told
