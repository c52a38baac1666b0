"""Data sets by name, and their cards."""

import subprocess
import sys

import pytest

from fedistill.data import catalogue, describe, load_dataset, to_phantom
from fedistill.errors import DataError


def test_a_path_is_read(save):
    path = save()
    assert len(load_dataset(path)) == len(load_dataset(str(path), size=8)) == 6
    with pytest.raises(DataError, match=r"another size[\s\S]*expected: 28 pixels[\s\S]*found: 8"):
        load_dataset(path, size=28)


def test_unknown_names_get_a_hint():
    with pytest.raises(DataError, match="did you mean 'breastmnist'"):
        load_dataset("breast")
    with pytest.raises(DataError, match=r"give a path to an \.npz"):
        load_dataset("zzz")


@pytest.mark.parametrize("options", [{"images": 100}, {"seed": 0}])
def test_only_phantoms_are_drawn(save, options):
    for name in (save(), "breastmnist"):
        with pytest.raises(DataError, match="is not drawn"):
            load_dataset(name, **options)


def test_every_set_has_a_phantom(save):
    assert to_phantom("organcmnist") == to_phantom("phantom:organc") == to_phantom("phantom:organcmnist")
    with pytest.raises(DataError, match="your own file"):
        to_phantom(save())
    with pytest.raises(DataError, match="There is no phantom"):
        to_phantom("zzz")


def test_the_catalogue_needs_no_network_and_sees_what_is_there(tmp_path):
    (tmp_path / "breastmnist.npz").touch()
    (tmp_path / "breastmnist_64.npz").touch()
    cards = {card.name: card for card in catalogue(data_root=tmp_path)}
    assert len(cards) == 24
    assert cards["breastmnist"].on_disk == (28, 64) and cards["bloodmnist"].on_disk == ()
    assert cards["phantom:blood"].on_disk is None and cards["phantom:blood"].images == (1200, 172, 600)
    assert cards["dermamnist"].licence == "CC BY-NC 4.0"
    assert cards["chestmnist"].n_classes == 14


def test_a_card_of_one(save, tmp_path):
    assert describe(save()).images == (6, 2, 3)
    assert describe("breastmnist", data_root=tmp_path).images == (546, 78, 156)
    with pytest.raises(DataError, match="did you mean"):
        describe("bloodmnst")


def test_importing_the_room_costs_numpy_only():
    heavy = "torch medmnist pooch requests datasets flwr_datasets pandas tqdm"
    code = f"import sys, fedistill.data; print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
