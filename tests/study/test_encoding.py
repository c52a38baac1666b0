"""The encoding of Releases: asked for by the simulation, obeyed by the sites, and no reason to distil anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import write_tiny

from fedistill.api.distill_file import distill_to_file
from fedistill.config import job, load_plan, load_simulation
from fedistill.core.store import Store
from fedistill.errors import SettingError
from fedistill.release.release import Release, unpack
from fedistill.schemes.site.release import carry_out
from fedistill.study import run
from fedistill.transport.site.context import SiteContext

ENCODINGS = ("uint8", "float16", "float32")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same simulation once an encoding, one after the other, with one store; and what images it then keeps."""
    folder = tmp_path_factory.mktemp("encodings")
    path = write_tiny(folder)
    changes = ["networks=1", "ipc=[2]", "recipe.lr=[0.01]", "recipe.max_steps=4"]
    finished, kept = {}, {}
    for encoding in ENCODINGS:
        simulation = load_simulation(path, changes=[*changes, f"encoding='{encoding}'"])
        finished[encoding] = run(simulation, out=folder / encoding, engine="inline", cache=folder / "store")
        kept[encoding] = {path.name: path.stat().st_mtime_ns for path in (folder / "store" / "synthetic").iterdir()}
    return finished, kept


def releases(finished, scheme):
    paths = sorted((finished.root / "releases").rglob(f"{scheme}-seed0.safetensors"))
    return [Release.from_bytes(path.read_bytes()) for path in paths]


def test_every_run_has_the_encoding_it_asks_for(runs):
    for encoding, finished in runs[0].items():
        for scheme in ("dc", "mtt"):
            made = [packed for release in releases(finished, scheme) for packed in release.sets.values()]
            assert len(made) == 2 and {p.images.dtype for p in made} == {getattr(torch, encoding)}
        mine = finished.sites[finished.sites["scheme"].isin(["dc", "mtt"])]
        assert (mine["status"] == "shared").all()


def test_only_the_first_run_distils(runs):
    first, second, third = runs[1].values()
    assert len(first) == 2 * 2  # schemes, sites
    assert first == second == third


def test_the_images_differ_by_their_encoding_alone(runs):
    for exact, half, level in zip(*[releases(runs[0][name], "dc") for name in ENCODINGS[::-1]], strict=True):
        for ipc, packed in exact.sets.items():
            x = packed.images
            assert ((unpack(half.sets[ipc], ipc).images - x).abs() <= x.abs() * 2**-11 + 2**-25).all()
            step = (x.amax((0, 2, 3)) - x.amin((0, 2, 3))) / 255
            assert ((unpack(level.sets[ipc], ipc).images - x).abs().amax((0, 2, 3)) <= 0.501 * step).all()
            assert (level.sets[ipc].labels == packed.labels).all()


def test_real_images_are_the_same_in_every_run(runs):
    roots = [finished.root / "releases" for finished in runs[0].values()]
    hashes = {path.read_bytes() for root in roots for path in root.rglob("random-seed0.sha256")}
    assert len(hashes) == 2  # one a site


def test_the_shipped_comparison_changes_the_encoding_alone():
    points = [point.simulation.model_dump() for point in load_plan("encoding").points]
    assert [point.pop("encoding") for point in points] == list(ENCODINGS)
    assert points[0] == points[1] == points[2]
    assert len(points[0]["recipe"]["lr"]) == 1  # nothing is chosen that could fall differently


def test_a_site_refuses_an_unknown_encoding_before_it_touches_data(tmp_path):
    simulation = load_simulation(write_tiny(tmp_path))
    asked = replace(job(simulation, "a", "dc", 0, 0), encoding="float8")
    here = SiteContext(simulation.federation, 0, None, Store(tmp_path / "store"))
    with pytest.raises(SettingError, match="no encoding 'float8'"):
        carry_out(asked, here, lambda event: None)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("method", "dtype"), [("dc", torch.float16), ("random", torch.uint8)])
def test_one_hospital_alone(tmp_path, method, dtype):
    images, labels = np.zeros((12, 28, 28), np.uint8), np.arange(12, dtype=np.uint8)[:, None] % 2
    images[labels[:, 0] == 1, ::2] = 255
    arrays = {
        f"{s}_{what}": x for s in ("train", "val", "test") for what, x in [("images", images), ("labels", labels)]
    }
    np.savez(tmp_path / "mine.npz", **arrays)
    distill_to_file(
        str(tmp_path / "mine.npz"),
        tmp_path / "x.safetensors",
        method=method,
        ipc=1,
        seed=0,
        width=4,
        size=None,
        data_root=None,
        phantom=False,
        settings={"preset": "published", "iterations": 1} if method == "dc" else {},
        precision="float32",
        device="cpu",
        encoding="float16",
        on_event=lambda event: None,
    )
    assert Release.from_bytes((tmp_path / "x.safetensors").read_bytes()).sets[1].images.dtype == dtype
