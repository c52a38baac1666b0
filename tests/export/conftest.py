"""One hospital, imported once, and one run on it, for all tests of this folder."""

import numpy as np
import pytest
from export.study import hospital, write_study

import fedistill as fd
from fedistill.data import load_dataset
from fedistill.importing.listing.tables import Columns
from fedistill.importing.run_import import import_images
from fedistill.importing.settings import ImportSettings


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with ``files``, ``findings.csv``, ``thorax.npz`` imported from them, and ``run`` on it."""
    root = tmp_path_factory.mktemp("hospital")
    settings = ImportSettings(columns=Columns("file", ("finding",)), salt=root / "salt")
    import_images(hospital(root), root / "thorax.npz", settings)
    fd.run_simulation(str(write_study(root, root / "thorax.npz")), out=root / "run", engine="inline")
    return root


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """The same images as a file that nobody imported."""
    path = tmp_path_factory.mktemp("plain") / "thorax.npz"
    arrays = {}
    for split in ("train", "val", "test"):
        of = load_dataset("phantom:breast", split, images=160)
        number = ("train", "val", "test").index(split)
        arrays |= {f"{split}_images": of.images[..., 0], f"{split}_labels": of.labels}
        arrays[f"{split}_groups"] = np.array([f"{number}-{k // 2}" for k in range(len(of))])
    np.savez(path, **arrays, class_names=np.array(of.class_names))
    return path
