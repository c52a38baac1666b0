"""Federations that combine sets: who holds what of which, under which name, and every mistake before any work."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from fedistill.config import everything, holdings, load_federation, load_plan, test_sets
from fedistill.data import concatenate, load_dataset
from fedistill.data.facts import FACTS
from fedistill.errors import DataError, PlanError
from fedistill.report.terminal.plan import print_holdings

MIXED = """
sites = ["eyes", "cells"]
images = 80
[combine]
classes = ["phantom:oct:drusen", "phantom:blood:platelet", "phantom:oct:normal"]
"""
BROUGHT = '[site.eyes]\ndataset = "phantom:octmnist"\n[site.cells]\ndataset = "phantom:blood"\n'


def federation(folder, text, **more):
    path = folder / "mine.toml"
    path.write_text(text)
    return load_federation(str(path), **more)


def drawn(name, images=60):
    return load_federation(name, phantom=True).model_copy(update={"images": images})


def test_each_site_holds_what_is_listed_of_its_set(tmp_path):
    mixed = federation(tmp_path, MIXED + BROUGHT)
    eyes, cells = holdings(mixed, 0, None).shares
    oct_images = load_dataset("phantom:oct", images=80)
    assert eyes.train.counts().tolist() == [
        *(oct_images.labels == 2).nonzero()[0].shape,
        0,
        (oct_images.labels == 3).sum(),
    ]
    assert set(cells.train.labels) == {1} and cells.train.class_names == (
        "oct: drusen",
        "blood: platelet",
        "oct: normal",
    )
    assert {share.train.channels for share in (eyes, cells)} == {3} and len(eyes.val) and len(cells.val)
    assert everything(holdings(mixed, 0, None)).train.counts().all()


def test_the_test_split_is_that_of_every_set_joined(tmp_path):
    mixed = federation(tmp_path, MIXED + BROUGHT)
    parts = test_sets(mixed, None)
    joined = concatenate(parts)
    assert mixed.datasets() == ["phantom:oct", "phantom:blood"] and len(parts) == 2
    assert np.array_equal(joined.labels, np.concatenate([part.labels for part in parts]))
    whole = load_dataset("phantom:blood", "test", images=80)
    assert np.array_equal(parts[1].images, whole.images[whole.labels == 7]) and joined.counts().all()


def test_sites_may_divide_what_is_combined(tmp_path):
    mixed = federation(tmp_path, MIXED + "[partition]\nby = 'iid'\nseed = 4\n")
    held = holdings(mixed, 0, None)
    counts = np.stack([share.train.counts() for share in held.shares])
    assert (counts > 0).all() and held.unheld == (0, 0) and held.shares[0].train.channels == 3
    apart = holdings(federation(tmp_path, MIXED + BROUGHT), 0, None)
    assert counts.sum(0).tolist() == everything(apart).train.counts().tolist()
    again = [share.train.fingerprint() for share in holdings(mixed, 0, None).shares]
    assert again == [share.train.fingerprint() for share in held.shares]


def test_phantoms_stand_in_for_the_sets_that_are_combined(tmp_path):
    real = (
        MIXED.replace("phantom:oct:", "octmnist:").replace("phantom:blood:", "bloodmnist:").replace("images = 80", "")
    )
    brought = BROUGHT.replace("phantom:octmnist", "octmnist").replace("phantom:blood", "bloodmnist")
    text = real + brought
    plain, drawn = federation(tmp_path, text), federation(tmp_path, text, phantom=True)
    assert plain.datasets() == ["octmnist", "bloodmnist"] and drawn.datasets() == ["phantom:oct", "phantom:blood"]
    assert drawn.combine.classes == ("phantom:oct:drusen", "phantom:blood:platelet", "phantom:oct:normal")
    assert drawn.combine.space().names == plain.combine.space().names
    assert len(holdings(drawn, 0, None).shares) == 2


SWEPT = """
[federation]
sites = 2
combine = {{ classes = ["octmnist"] }}
policy = {{ allow_real_images = true }}
[scheme.random]
[sweep]
"federation.combine.classes" = [["octmnist:normal", "octmnist:drusen"], ["organamnist", "{other}"]]
"federation.combine.by_name" = [true, false]
"""


def test_what_is_combined_can_be_swept_and_set(tmp_path):
    path = tmp_path / "swept.toml"
    path.write_text(SWEPT.format(other="own.npz:ill"))
    last = load_plan(str(path)).points[-1].simulation.federation.combine
    assert last.classes == ("organamnist", f"{tmp_path}/own.npz:ill") and not last.by_name
    path.write_text(SWEPT.format(other="organcmnist"))
    drawn = load_plan(str(path), phantom=True)
    assert [len(p.simulation.federation.combine.space().names) for p in drawn.points] == [2, 2, 11, 22]
    assert drawn.sweep["federation.combine.classes"][1] == [
        "phantom:organa",
        "phantom:organc",
    ]  # tables say what it was
    changes = ["sweep={}", "federation.combine.classes=['octmnist', 'pneumoniamnist']"]
    [point] = load_plan(str(path), changes=changes, phantom=True).points
    assert point.simulation.federation.datasets() == ["phantom:oct", "phantom:pneumonia"]


def test_a_path_in_a_list_is_relative_to_its_file(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"{s}_images": rng.integers(0, 256, (6, 28, 28), dtype=np.uint8) for s in ("train", "val", "test")}
    labels = {f"{s}_labels": np.arange(6) % 2 for s in ("train", "val", "test")}
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "own.npz", class_names=np.array(["well", "ill"]), **arrays, **labels)
    text = 'sites = ["a", "b"]\n[combine]\nclasses = ["data/own.npz:%s", "phantom:breast:malignant"]\n'
    text += '[site.a]\ndataset = "data/own.npz"\n[site.b]\ndataset = "phantom:breast"\n'
    mixed = federation(tmp_path, text % "ill")
    a, b = holdings(mixed, 0, None).shares
    assert a.train.counts().tolist() == [3, 0] and b.train.counts().tolist() == [0, 147]
    assert a.train.class_names == ("own: ill", "breast: malignant")
    with pytest.raises(DataError, match="has no class 'sick'"):  # a file is looked into when its data are
        holdings(federation(tmp_path, text % "sick"), 0, None)
    with pytest.raises(DataError, match="your own file"):
        federation(tmp_path, text % "ill", phantom=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MIXED.replace("platelet", "platelets") + BROUGHT, "no class 'platelets'"),
        (MIXED.replace("blood:platelet", "bloood:platelet"), "phantom:bloood"),
        (MIXED.replace("oct:drusen", "oct:normal"), "listed twice"),
        (MIXED.replace("oct:drusen", "chest:mass"), "several findings"),
        (MIXED.replace("[combine]", "[combine]\nbyname = true"), "did you mean 'by_name'"),
        (MIXED.replace("[combine]", 'dataset = "phantom:oct"\n[combine]'), "`dataset` and `combine`"),
        (MIXED + '[site.eyes]\ndataset = "phantom:oct"\n', "no data for ['cells']"),
        (MIXED + BROUGHT.replace("phantom:blood", "phantom:path"), "site.cells brings phantom:path, of which"),
        (MIXED + BROUGHT.replace("phantom:blood", "phantom:oct"), "two sites bring the same"),
        (MIXED.replace('= ["phantom', '= ["phantom:path", "phantom') + BROUGHT, "of phantom:path, which no site"),
        ('sites = 2\n[combine]\nclasses = "octmnist"\n', "combine.classes is invalid"),
        ("sites = 2\n[combine]\nby_name = true\n", "'combine.classes' is missing"),
        ("sites = 2\ncombine = 3\n", "combine"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_any_work(tmp_path, text, message):
    with pytest.raises((PlanError, DataError)) as raised:
        federation(tmp_path, text)
    assert message in str(raised.value) and raised.value.exit_code == 2


def test_the_combined_federations_are_what_they_say():
    minor, great = (load_federation(name) for name in ("combined-minor", "combined-great"))
    assert minor.combine.space().names == FACTS["organamnist"].class_names
    sets = great.combine.space().sets
    assert len(great.combine.space().names) == len(sets) == len(great.sites) == 8
    held = holdings(drawn("combined-great"), 0, None)
    counts = np.stack([share.train.counts() for share in held.shares])
    assert np.array_equal(counts > 0, np.eye(8, dtype=bool)) and held.shares[0].train.channels == 3
    views = holdings(drawn("combined-minor"), 0, None)
    assert all(share.train.counts().all() and share.train.channels == 1 for share in views.shares)
    assert not everything(views).train.mirror


@pytest.mark.parametrize("name", ["combined-great", "combined-minor", "ten-uneven"])
def test_who_holds_what_fits_into_a_terminal(name):
    asked = drawn(name, images=None if name == "ten-uneven" else 60)
    held = holdings(asked, 0, None)
    for width in (80, 130):
        console = Console(width=width, record=True, file=StringIO())
        print_holdings(asked, held, console)
        text = console.export_text()
        assert "…" not in text and max(map(len, text.splitlines())) <= width
        for site, share in zip(asked.sites, held.shares, strict=True):
            assert site in text and f"{len(share.train):,}" in text
        for count in np.concatenate([share.train.counts() for share in held.shares]):
            assert not count or f"{count:,}" in text
