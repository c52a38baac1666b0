"""Data sources: what the kinds claim, and one that an installed package offers by an entry point."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedistill.config import Federation, holdings
from fedistill.data import catalogue, describe, load_dataset, parse_source, to_phantom
from fedistill.data.combine import label_space, parts_of
from fedistill.data.sources.installed import installed_sources
from fedistill.errors import DataError, SettingError

STRIPES = '''
"""Stripes that lie or stand: a data source in one file, as a package outside FeDistill has it."""

from dataclasses import dataclass

import numpy as np

from fedistill.data import DatasetCard, DataSource, ImageSet


@dataclass(frozen=True)
class Stripes(DataSource):
    """``stripes:4``: stripes of four pixels."""

    prefix = "stripes:"

    @classmethod
    def cards(cls, data_root):
        return [cls("stripes:4").card(data_root)]

    def load(self, split, *, size, data_root, images, seed):
        size, n = size or 28, self.card(data_root).images[("train", "val", "test").index(split)]
        random, labels = np.random.default_rng(len(split)), np.arange(n) % 2
        row = np.where(np.arange(size) // int(self.short) % 2, 200, 50)
        pictures = np.stack([np.tile(row, (size, 1)).T if label else np.tile(row, (size, 1)) for label in labels])
        pictures = pictures + random.integers(0, 50, pictures.shape)
        return ImageSet(pictures[..., None].astype(np.uint8), labels, ("standing", "lying"), name=self.name)

    def card(self, data_root):
        return DatasetCard(self.name, "binary-class", ("standing", "lying"), 1, (40, 8, 20), "none", (28,))

    def provenance(self, *, size, images, seed):
        return self.name, "stripes 1.0"
'''


def offer(folder: Path, name: str, target: str, code: str = STRIPES) -> Path:
    """Lay out a folder as an installed package that offers one data source."""
    (folder / "stripes.py").write_text(code)
    info = folder / "stripes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stripes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fedistill.sources]\n{name} = {target}\n")
    return folder


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that makes a package's data source known, until the test ends."""

    def installed(name: str = "stripes", target: str = "stripes:Stripes", code: str = STRIPES) -> None:
        monkeypatch.syspath_prepend(offer(tmp_path, name, target, code))
        importlib.invalidate_caches()
        installed_sources.cache_clear()

    yield installed
    sys.modules.pop("stripes", None)
    installed_sources.cache_clear()


@pytest.mark.parametrize(
    ("word", "name", "flags"),
    [
        ("phantom:bloodmnist", "phantom:blood", {"known", "drawn", "published"}),
        ("phantom:zzz", "phantom:zzz", {"drawn", "published"}),
        ("bloodmnist", "bloodmnist", {"known", "published"}),
        ("zzz", "zzz", set()),
        ("ours/lungs.npz", "ours/lungs.npz", {"known", "one_size"}),
    ],
)
def test_a_word_is_parsed_into_its_kind(word, name, flags):
    source = parse_source(word)
    assert source.name == name
    assert {each for each in ("known", "drawn", "published", "one_size") if getattr(source, each)} == flags


def test_only_a_file_has_a_path_and_moves_with_its_folder(tmp_path):
    assert parse_source("ours/lungs.npz").moved(tmp_path).name == str(tmp_path / "ours" / "lungs.npz")
    assert parse_source("~/lungs.npz").moved(tmp_path).path == Path("~/lungs.npz").expanduser()
    for word in ("bloodmnist", "phantom:blood"):
        assert parse_source(word).path is None and parse_source(word).moved(tmp_path).name == word


def test_names_for_people_and_for_files():
    words = ("phantom:blood", "bloodmnist", "ours/lungs.npz")
    assert [parse_source(word).short for word in words] == ["blood", "blood", "lungs"]
    assert [parse_source(word).slug for word in words] == ["phantom-blood", "bloodmnist", "lungs"]


def test_an_installed_source_loads_like_the_built_in_ones(install):
    install()
    train = load_dataset("stripes:4", size=14)
    assert train.images.shape == (40, 14, 14, 1) and train.name == "stripes:4"
    assert describe("stripes:4").class_names == ("standing", "lying")
    assert catalogue()[-1].name == "stripes:4" and len(catalogue()) == 25
    assert parse_source("stripes:4").slug == "stripes-4" and not parse_source("stripes:4").published
    with pytest.raises(DataError, match="is not drawn"):
        load_dataset("stripes:4", images=5)
    with pytest.raises(DataError, match="no phantom of stripes:4"):
        to_phantom("stripes:4")


def test_classes_of_an_installed_source_combine_with_others(install):
    install()
    assert parts_of("stripes:4: lying") == ("stripes:4", "lying")
    assert label_space(["stripes:4", "octmnist:drusen"], by_name=False).names == (
        "4: standing",
        "4: lying",
        "oct: drusen",
    )


def test_sites_divide_an_installed_source(install):
    install()
    shares = holdings(Federation(name="two", dataset="stripes:4", sites=("a", "b")), 0, None).shares
    assert [len(share.train) for share in shares] == [20, 20]
    assert not np.array_equal(shares[0].train.images, shares[1].train.images)


def test_a_word_of_a_package_that_is_gone_fails_when_its_data_are_needed():
    assert not parse_source("stripes:4").known
    with pytest.raises(DataError, match="There is no data set 'stripes:4'"):
        load_dataset("stripes:4")


@pytest.mark.parametrize(
    ("name", "target", "code", "message"),
    [
        ("phantom", "stripes:Stripes", STRIPES, "this name is taken"),
        ("lines", "stripes:Stripes", STRIPES, "expected: prefix = 'lines:'"),
        ("stripes", "stripes:nothing", STRIPES, "cannot be loaded"),
        ("stripes", "stripes:Stripes", "Stripes = 3", "expected: a subclass of fedistill.data.DataSource"),
        ("stripes", "stripes:Stripes", "raise ImportError('no tifffile')", "no tifffile"),
    ],
)
def test_an_installed_source_that_cannot_be_used_names_its_package(install, name, target, code, message):
    install(name, target, code)
    with pytest.raises(SettingError, match=r"^stripes offers the data source") as raised:
        load_dataset("phantom:blood")
    assert message in str(raised.value) and raised.value.exit_code == 2


@pytest.mark.slow
def test_a_whole_run_on_an_installed_source(tmp_path):
    """The command line in a process of its own, as after `pip install`: workers parse the word as well."""
    offer(tmp_path, "stripes", "stripes:Stripes")
    changes = [
        'federation={name="two", dataset="stripes:4", sites=2, policy={allow_real_images=true}}',
        "scheme={random={}}",
    ]
    changes += ["min_sites=2", "width=4", "ipc=[1]"]
    changes += ["networks=2", "recipe.steps=2", "recipe.lr=0.01"]
    words = [word for change in changes for word in ("--set", change)]
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "fedistill.cli", "run", "quickstart", "--engine", "inline", "--out", "out", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"stripes:4": "stripes 1.0"' in (tmp_path / "out" / "environment.json").read_text()
    assert "random" in (tmp_path / "out" / "comparison.csv").read_text()
