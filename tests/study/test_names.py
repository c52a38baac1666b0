"""No role is told by a name: whatever a site is called, it gets its own share and nothing else."""

import pandas as pd
import pytest
from tiny import write_tiny

from fedistill.config import load_plan
from fedistill.config.jobs import job
from fedistill.config.scheme import EVERYONE
from fedistill.errors import PlanError
from fedistill.study import run

CHANGES = [
    "ipc=[1]",
    "networks=1",
    "recipe.lr=0.01",
    "recipe.max_steps=4",
    "scheme={full={}, dm={iterations=1, looks=0, early_networks=1, early_steps=4}, central-dm={}}",
]
NAMES = ["everyone", "NA"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run whose sites are called by words that mean something elsewhere."""
    root = tmp_path_factory.mktemp("names")
    plan = load_plan(write_tiny(root), changes=[*CHANGES, f"federation.sites={NAMES}"])
    return run(plan, out=root / "odd", engine="inline")


def test_a_site_called_everyone_shares_its_own_images_alone(odd):
    held = pd.read_csv(odd.root / "holdings.csv", keep_default_na=False)
    held = held[held["split"] == "train"]["images"].astype(int).sum()
    assert odd.rows[odd.rows["scheme"] == "full"]["images_shared"].tolist() == [held]


def test_all_data_in_one_place_stand_beside_a_site_called_everyone(odd):
    given = odd.sites[odd.sites["scheme"] == "central-dm"]
    assert given["site"].tolist() == [EVERYONE] and given["status"].tolist() == ["shared"]
    mine = odd.sites[odd.sites["scheme"] == "dm"]
    assert mine["site"].tolist() == NAMES and (mine["status"] == "shared").all()
    assert {path.name for path in (odd.root / "releases").iterdir()} == {*NAMES, EVERYONE}


def test_all_data_in_one_place_draw_what_they_always_drew(odd):
    simulation = odd.simulation
    seeds = [job(simulation, *named, 0, 0).random_seed for named in ((EVERYONE, "central-dm"), ("everyone", "dm"))]
    assert seeds[0] == seeds[1]


def test_no_site_can_be_called_as_all_of_them_are(tmp_path):
    with pytest.raises(PlanError, match="cannot name a site"):
        load_plan(write_tiny(tmp_path), changes=[f"federation.sites=['a', '{EVERYONE}']"])
