"""Files that only grow: what a power cut leaves of a line stands in nobody's way."""

import errno
import os

import pytest

from fedistill.core.json_lines import append_line, parse, read_lines

TORN = {"cut": b'{"job": "b', "zeroed": b"\0" * 512, "half a character": b'{"site": "K\xc3', "no object": b"7"}


@pytest.mark.parametrize("torn", TORN.values(), ids=TORN)
def test_a_torn_line_is_counted_and_the_next_one_begins_anew(tmp_path, torn):
    path = tmp_path / "events.jsonl"
    append_line(path, {"job": "a"})
    with path.open("ab") as file:
        file.write(torn)
    assert read_lines(path).unreadable == 1 and read_lines(path, growing=True).unreadable == 0
    append_line(path, {"job": "c"})
    found = read_lines(path, growing=True)
    assert found.objects == ({"job": "a"}, {"job": "c"}) and found.unreadable == 1


def test_a_line_that_lost_its_end_alone_is_whole(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"job": "a"}')
    assert read_lines(path).objects == ({"job": "a"},)
    append_line(path, {"job": "b"})
    assert path.read_bytes() == b'{"job": "a"}\n{"job": "b"}\n'


def test_no_file_is_an_empty_one(tmp_path):
    assert read_lines(tmp_path / "none") == read_lines(tmp_path) and read_lines(tmp_path).objects == ()


def test_objects_of_another_kind_are_counted(tmp_path):
    path = tmp_path / "events.jsonl"
    append_line(path, {"time": 1})
    append_line(path, {"time": "x"})
    found = read_lines(path, fits=lambda each: isinstance(each["time"], int))
    assert (found.objects, found.unreadable) == (({"time": 1},), 1)


def test_a_line_nested_without_end_is_no_object():
    with pytest.raises(ValueError, match="without end"):
        parse(b'{"a":' * 200_000)


def test_of_a_line_that_finds_no_room_nothing_stays(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    append_line(path, {"job": "a"})
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
    with pytest.raises(OSError, match="disk full"):
        append_line(path, {"job": "b"})

    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        append_line(path, {"job": "b"})
    assert path.read_bytes() == b'{"job": "a"}\n'
