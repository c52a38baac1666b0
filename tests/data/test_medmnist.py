"""MedMNIST's files: fetched once, checked once, never by the medmnist package's own downloader."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from fedistill.data import load_dataset
from fedistill.data.facts import FACTS, SIZES
from fedistill.data.sources import medmnist
from fedistill.errors import DataError


@pytest.fixture
def published(save, monkeypatch) -> Path:
    """A small file that passes for the published BreastMNIST."""
    path = save("published.npz")
    made = medmnist.published_file("breastmnist")
    stand_in = medmnist.PublishedFile(
        made.name, made.size, made.url, hashlib.md5(path.read_bytes()).hexdigest(), made.file
    )
    monkeypatch.setattr(medmnist, "published_file", lambda name, size=28: stand_in)
    return path


@pytest.fixture
def network(published, monkeypatch) -> list[str]:
    """Answers downloads with the published file; lists the addresses asked for."""
    asked: list[str] = []

    class Downloader:
        def __init__(self, **_):
            pass

        def __call__(self, url, output, _):
            asked.append(url)
            assert output.endswith(".partial")
            Path(output).write_bytes(published.read_bytes())

    monkeypatch.setattr("pooch.HTTPDownloader", Downloader)
    return asked


def test_facts_are_those_of_the_medmnist_package():
    from medmnist import INFO

    assert set(FACTS) == {name for name in INFO if not name.endswith("3d")}
    for name, known in FACTS.items():
        info = INFO[name]
        assert known.images == tuple(info["n_samples"][split] for split in ("train", "val", "test"))
        assert known.class_names == tuple(info["label"].values())
        assert (known.task, known.channels, known.licence) == (info["task"], info["n_channels"], info["license"])
        assert len(known.counts) == len(known.class_names)
        if known.test_counts:
            assert sum(known.test_counts) == known.images[2]
        for size in SIZES:
            assert len(medmnist.published_file(name, size).md5) == 32


def test_only_organs_must_not_be_mirrored():
    assert [name for name, known in FACTS.items() if not known.mirror] == ["organamnist", "organcmnist", "organsmnist"]


def test_unknown_names_and_sizes_get_a_hint():
    with pytest.raises(DataError, match="did you mean 'breastmnist'"):
        medmnist.published_file("brestmnist")
    with pytest.raises(DataError, match="There is no data set 'organmnist3d'"):
        medmnist.published_file("organmnist3d")
    with pytest.raises(DataError, match="28, 64, 128, 224"):
        medmnist.published_file("breastmnist", 32)


def test_the_root_is_the_argument_the_variable_or_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path / "variable"))
    assert medmnist.find_data_root(tmp_path) == tmp_path
    assert medmnist.find_data_root() == tmp_path / "variable"
    monkeypatch.delenv("MEDMNIST_ROOT")
    assert medmnist.find_data_root() == Path("~/.medmnist").expanduser()


def test_a_missing_file_is_downloaded_once(network, tmp_path):
    root = tmp_path / "root"
    for _ in range(2):
        assert len(load_dataset("breastmnist", data_root=root)) == 6
    assert network == ["https://zenodo.org/records/10519652/files/breastmnist.npz?download=1"]
    assert [file.name for file in root.iterdir()] == ["breastmnist.npz"]


def test_a_wrong_download_leaves_nothing(published, network, tmp_path):
    published.write_bytes(b"please log in")
    with pytest.raises(DataError, match="is not the published file"):
        load_dataset("breastmnist", data_root=tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_without_network_the_message_says_what_to_do(published, monkeypatch, tmp_path):
    import requests

    def refuse(*_, **__):
        raise requests.ConnectionError("no route")

    monkeypatch.setattr("requests.get", refuse)
    with pytest.raises(DataError) as error:
        load_dataset("breastmnist", data_root=tmp_path / "root")
    for part in ("breastmnist.npz", "https://zenodo.org", str(tmp_path / "root"), "--phantom", "phantom:breast"):
        assert part in str(error.value)


def test_a_file_of_the_right_name_with_other_content_is_refused(save, tmp_path):
    save("breastmnist.npz")
    with pytest.raises(DataError, match=r"not the file that MedMNIST publishes[\s\S]*750601b1[\s\S]*move it away"):
        load_dataset("breastmnist", data_root=tmp_path)


def test_a_checked_file_is_remembered_outside_the_data_folder(published, monkeypatch, own_cache):
    path = published.rename(published.with_name("breastmnist.npz"))
    read: list[Path] = []
    md5 = medmnist._md5
    monkeypatch.setattr(medmnist, "_md5", lambda file: read.append(file) or md5(file))
    for _ in range(3):
        medmnist.fetch(medmnist.published_file("breastmnist"), path.parent)
    assert read == [path]
    assert len(json.loads((own_cache / "fedistill" / "verified.json").read_text())) == 1
    path.write_bytes(path.read_bytes() + b"x")  # another size or time: checked again, and found wrong
    with pytest.raises(DataError, match="not the file"):
        medmnist.fetch(medmnist.published_file("breastmnist"), path.parent)


@pytest.mark.parametrize("damage", ["no json", '{"a": 1}', None])
def test_a_broken_or_unwritable_memory_is_no_error(published, own_cache, damage):
    path = published.rename(published.with_name("breastmnist.npz"))
    if damage is None:
        own_cache.write_text("a file where the folder should be")
    else:
        (own_cache / "fedistill").mkdir(parents=True)
        (own_cache / "fedistill" / "verified.json").write_text(damage)
    assert medmnist.fetch(medmnist.published_file("breastmnist"), path.parent) == path


@pytest.mark.parametrize(
    ("name", "sizes", "counts"),
    [("breastmnist", (546, 78, 156), [147, 399]), ("pneumoniamnist", (4708, 524, 624), [1214, 3494])],
)
def test_the_real_files(medmnist_root, name, sizes, counts):
    splits = [load_dataset(name, split, data_root=medmnist_root) for split in ("train", "val", "test")]
    assert tuple(map(len, splits)) == sizes
    assert splits[0].counts().tolist() == counts == list(FACTS[name].counts)
    assert splits[0].images.shape[1:] == (28, 28, 1) and splits[0].licence == "CC BY 4.0"
    assert splits[0].task == "binary-class" and "MedMNIST v2" in splits[0].source
    if FACTS[name].test_counts:
        assert splits[2].counts().tolist() == list(FACTS[name].test_counts)
    assert np.ptp(splits[0].images) > 200
