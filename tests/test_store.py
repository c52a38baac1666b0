"""The store: equal detail, equal result; a damaged file is made anew."""

import torch

from fedistill.store import Store, key_of


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
    store, key = Store(tmp_path), key_of({"a": 1})
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


def test_an_empty_tensor_is_kept(tmp_path):
    store = Store(tmp_path)
    store.put("kind", "k", {"none": torch.zeros(0, dtype=torch.int64)})
    found = store.get("kind", "k")
    assert found is not None and found[0]["none"].shape == (0,)


def test_nothing_half_written_is_left(tmp_path):
    store = Store(tmp_path)
    store.put("kind", "k", {"x": torch.zeros(1)})
    assert [p.name for p in (tmp_path / "kind").iterdir()] == ["k.safetensors"]
