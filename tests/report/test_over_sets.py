"""The report on a sweep over data sets: does a random subset foretell what distilled images reach?"""

import re

import pandas as pd
import pytest
from tiny import write_tiny

from fedistill.config import load_plan
from fedistill.report.html.page import rebuild
from fedistill.study import run

pytestmark = pytest.mark.slow

SETS = ("phantom:breast", "phantom:pneumonia", "phantom:oct")
FEW = [
    "ipc=[1]",
    "networks=2",
    "recipe.lr=0.01",
    "scheme={random={}, dm={iterations=1, early_networks=1, early_steps=4}}",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    plan = load_plan(write_tiny(folder), changes=[*FEW, f"sweep.federation.dataset={list(SETS)}"])
    return run(plan, out=folder / "out", engine="inline")


def test_every_set_is_a_point_of_the_indicator(finished):
    html = rebuild(finished.root).read_text()
    [section] = re.findall(r'<section id="indicator">(.*?)</section>', html, re.DOTALL)
    assert '<a href="#indicator">' in html
    alts = re.findall(r'aria-label="([^"]*with dm[^"]*)"', section)
    assert len(alts) == 2 and all(name.removeprefix("phantom:") in alt for alt in alts for name in SETS)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", section, re.DOTALL)
    assert captions and all(caption.startswith("<strong>Phantoms.</strong>") for caption in captions)
    known = pd.read_csv(finished.root / "indicator_points.csv")
    assert set(known["dataset"]) == set(SETS) and known["phantom"].all()
    assert (finished.root / "indicator-ipc1.png").read_bytes().startswith(b"\x89PNG")


def test_other_settings_set_the_indicator_aside_too(finished):
    plan = load_plan(
        str(finished.root / "simulation.toml"),
        changes=["scheme.dm.iterations=2", f"sweep.federation.dataset={list(SETS[:1])}"],
    )
    run(plan, out=finished.root, engine="inline")
    aside = finished.root / "earlier" / "1"
    assert {path.name for path in aside.glob("indicator*")} >= {
        "indicator.csv",
        "indicator_points.csv",
        "indicator-ipc1.png",
    }
    assert not list(finished.root.glob("indicator*"))
