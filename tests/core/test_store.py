"""The store: equal detail, equal result; a damaged file is made anew."""

import multiprocessing
import time
from pathlib import Path

import pytest
import torch

from fedistill.core.store import Store, key_of


def test_remembers(tmp_path):
    store, made = Store(tmp_path), []

    def make():
        made.append(1)
        return {"x": torch.arange(3), "y": torch.ones(2, 2, dtype=torch.float64), "z": torch.tensor(True)}

    first = store.remember("kind", {"a": 1}, make)
    again = store.remember("kind", {"a": 1}, make)
    assert len(made) == 1
    assert all(torch.equal(first[name], again[name]) for name in first)
    store.remember("kind", {"a": 2}, make)
    assert len(made) == 2


def test_a_damaged_file_is_found_out(tmp_path):
    told = []
    store, key = Store(tmp_path, on_damage=told.append), key_of({"a": 1})
    store.put("kind", key, {"x": torch.zeros(1000)}, {"seconds": 1.5})
    path = store.path("kind", key)
    whole = path.read_bytes()
    for damaged in (whole[:-1] + b"\x01", whole[: len(whole) // 2], b"", whole.replace(b"1.5", b"9.5")):
        path.write_bytes(damaged)
        assert store.get("kind", key) is None
        assert not path.exists(), "set aside"
    path.write_bytes(whole)
    found = store.get("kind", key)
    assert found is not None and found[1] == {"seconds": 1.5}
    assert len(told) == 4 and all(f"kind/{path.name} in the store was damaged" in words for words in told)


def test_an_empty_tensor_is_kept(tmp_path):
    store = Store(tmp_path)
    store.put("kind", "k", {"none": torch.zeros(0, dtype=torch.int64)})
    found = store.get("kind", "k")
    assert found is not None and found[0]["none"].shape == (0,)


def test_nothing_half_written_is_left(tmp_path):
    store = Store(tmp_path)
    store.put("kind", "k", {"x": torch.zeros(1)})
    assert [p.name for p in (tmp_path / "kind").iterdir()] == ["k.safetensors"]


def made_slowly(root, told, made):
    """In a process of its own: what takes a while to make."""

    def make():
        made.put(1)
        time.sleep(0.5)
        return {"x": torch.arange(3)}

    store = Store(Path(root), on_wait=lambda: told.put(1))
    assert store.remember("kind", {"a": 1}, make)["x"].tolist() == [0, 1, 2]


def test_two_processes_do_not_make_the_same_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    told, made = context.Queue(), context.Queue()
    both = [context.Process(target=made_slowly, args=(str(tmp_path), told, made)) for _ in range(3)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert made.get(timeout=5) == 1 and made.empty(), "one made it"
    assert not told.empty(), "the others waited, and said so"
    assert [p.suffix for p in (tmp_path / "kind").iterdir()] == [".safetensors"]


def test_who_fails_lets_the_next_one_try(tmp_path):
    store = Store(tmp_path)

    def fail():
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError):
            store.remember("kind", {"a": 1}, fail)
    assert store.remember("kind", {"a": 1}, lambda: {"x": torch.ones(1)})["x"] == 1


def test_what_is_kept_is_its_owners_alone(tmp_path):
    store = Store(tmp_path / "work")
    store.put("synthetic", "a", {"x": torch.zeros(1)})
    with store.making("experts", "b"):
        made = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
        assert len(made) == 2 and all(path.stat().st_mode & 0o777 == 0o600 for path in made)
    folders = [tmp_path / "work", *[path for path in (tmp_path / "work").iterdir()]]
    assert len(folders) == 3 and all(path.stat().st_mode & 0o777 == 0o700 for path in folders)
