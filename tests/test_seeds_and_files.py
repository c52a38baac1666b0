"""Seeds by name, and files that appear whole."""

import pytest

from fedistill.files import write_atomic
from fedistill.seeds import generator, rng, spawn


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
