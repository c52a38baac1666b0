"""Pictures are found by their index: whatever sites and schemes are called, each is shown as whose it is."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import write_tiny

from fedistill.config import load_plan
from fedistill.config.scheme import EVERYONE
from fedistill.data import ImageSet
from fedistill.errors import RunFolderError
from fedistill.methods.engine.method import SyntheticSet
from fedistill.release.release import Release, pack
from fedistill.report.figures.pictures import pictures
from fedistill.study.folder.run_folder import RunFolder
from fedistill.study.tables.grids import write_grids

SITES = ("north", "north-dp", "everyone")
POLICY = "policy = { allow_real_images = true, start = 'real' }"


def release(site, scheme, ipc=1):
    made = SyntheticSet(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), ipc)
    return Release(
        site=site, scheme=scheme, seed=0, real=False, sets={ipc: pack(made, real=False)}, provenance={}, privacy={}
    )


@pytest.fixture
def folder(tmp_path):
    test = ImageSet(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), ("no", "yes"))
    plan = load_plan(write_tiny(tmp_path, federation=POLICY))
    sent = [release("north", "dp-dm"), release("north-dp", "dm"), release("everyone", "dm"), release(EVERYONE, "dm")]
    write_grids(RunFolder(tmp_path, plan), [*sent, release("north", "dp-dm", 2)], test, real=False)
    return tmp_path


def shown(folder):
    plan = load_plan(write_tiny(folder, federation=POLICY))
    run = SimpleNamespace(
        folder=folder, sites=SITES, plan=plan, holdings=pd.DataFrame(), at_first_point=lambda frame: frame
    )
    rows, more = pictures(run)
    return [(p.site, p.scheme, p.ipc) for row in rows for p in row.pictures], more


def test_private_schemes_and_sites_called_alike_are_told_apart(folder):
    found, more = shown(folder)
    assert found == [("north", "dp-dm", 2), ("north-dp", "dm", 1), ("everyone", "dm", 1), (EVERYONE, "central-dm", 1)]
    assert more == 1 and len(list((folder / "grids").glob("*.png"))) == 5, "none has taken another's place"


def test_pictures_that_no_index_names_stay_in_the_folder(folder):
    (folder / "grids" / "index.json").unlink()
    assert shown(folder) == ([], 5)


@pytest.mark.parametrize("damaged", ["", "[]", '{"grids": [{"site": "a"}]}', '{"grids": 7}'])
def test_a_damaged_index_says_what_to_do(folder, damaged):
    (folder / "grids" / "index.json").write_text(damaged)
    with pytest.raises(RunFolderError, match="not as the run wrote it"):
        shown(folder)


def test_the_index_names_every_picture(folder):
    listed = json.loads((folder / "grids" / "index.json").read_text())["grids"]
    assert {each["file"] for each in listed} == {path.name for path in (folder / "grids").glob("*.png")}
