"""Seeds by name, and files that appear whole."""

import os
from pathlib import Path

import pytest

from fedistill.core import files
from fedistill.core.files import keep_private, private_file, private_folder, write_atomic
from fedistill.core.seeds import generator, rng, spawn
from fedistill.errors import SettingError


def test_known_numbers():
    # Written down once: were they to change, every published seed would mean something else.
    assert spawn(0, "north", "dc", 1) == 3653445096073349537
    assert spawn(0) != spawn(1)
    assert spawn(0, 1) != spawn(0, "1")
    assert spawn(0, "a", "b") != spawn(0, "a, b")


def test_generators_repeat():
    assert rng(0, "x").integers(1 << 30) == rng(0, "x").integers(1 << 30)
    assert generator(0, "x").initial_seed() == spawn(0, "x")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def fails(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, fails)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_private_from_now_on(tmp_path, monkeypatch):
    before = os.umask(0o022)
    monkeypatch.setattr(files, "_UMASK", 0o022)
    try:
        write_atomic(tmp_path / "open" / "a", "x")
        keep_private()
        write_atomic(tmp_path / "closed" / "a", "x")
        (tmp_path / "closed" / "b").write_text("x")
    finally:
        os.umask(before)
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"open": 0o755, "open/a": 0o644, "closed": 0o700, "closed/a": 0o600, "closed/b": 0o600}


def test_what_was_open_is_closed(tmp_path):
    folder, file = tmp_path / "store", tmp_path / "ledger.jsonl"
    folder.mkdir(mode=0o755)
    file.write_text("kept")
    file.chmod(0o644)
    private_folder(folder)
    private_file(file)
    private_file(tmp_path / "none")
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777, file.read_text()) == (0o700, 0o600, "kept")
    assert not (tmp_path / "none").exists()


def test_what_is_somebody_elses_is_said(tmp_path, monkeypatch):
    tmp_path.chmod(0o755)

    def not_yours(self, mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", not_yours)
    with pytest.raises(SettingError, match=r"Others can read[\s\S]*mode 0700[\s\S]*owner"):
        private_folder(tmp_path)
