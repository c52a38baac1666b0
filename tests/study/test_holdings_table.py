"""holdings.csv, licences, the numbers in events that curves are drawn of, and which real images are drawn."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny import write_tiny

from fedistill.config import Holdings, load_simulation
from fedistill.config.holdings import Share
from fedistill.data import ImageSet
from fedistill.study import run
from fedistill.study.preflight import SourceSet
from fedistill.study.tables.grids import shows_real
from fedistill.study.tables.holdings_table import holdings_table, licences

ONE = ["ipc=[1, 2]", "networks=2", "recipe.lr=0.01"]


def some(labels, name="own.npz", licence="by agreement"):
    labels = np.array(labels, np.int64)
    images = np.zeros((len(labels), 8, 8, 1), np.uint8)
    return ImageSet(images, labels, ("no", "yes"), name=name, licence=licence)


def shares():
    first = Share(some([0, 0, 1]), some([1]), some([]))
    second = Share(some([[1, 1], [0, 1], [0, 0]]), some([0]), some([1, 1]))
    return Holdings((first, second), (5, 0))


def test_every_class_of_every_site_has_a_row(tmp_path):
    federation = load_simulation(write_tiny(tmp_path)).federation
    frame = holdings_table(federation, [shares()])
    assert list(frame.columns) == ["partition", "site", "split", "class", "images", "site_images"]
    train = frame[frame["split"] == "train"]
    at = {(line["site"], line["class"]): line["images"] for line in train.to_dict("records")}
    assert at == {("a", "no"): 2, ("a", "yes"): 1, ("b", "no"): 1, ("b", "yes"): 2, ("", ""): 5}
    # An image with two labels is one image.
    assert train.loc[train["site"] == "b", "site_images"].tolist() == [3, 3]


def test_what_nobody_holds_is_told_only_where_there_is_some(tmp_path):
    frame = holdings_table(load_simulation(write_tiny(tmp_path)).federation, [shares()])
    assert frame.loc[frame["site"] == "", ["split", "images"]].to_numpy().tolist() == [["train", 5]]


def test_licences_are_those_that_the_data_give():
    assert licences([SourceSet("own.npz", 3, "by agreement")]) == {"own.npz": "by agreement"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("divided")
    schemes = "scheme={random={}, dc={iterations=2, outer=1, inner=0, looks=1}}"
    plan = load_simulation(write_tiny(root), changes=[*ONE, schemes, "federation.images=480"])
    return run(plan, out=root / "out", engine="inline").root


def test_the_run_folder_says_who_held_what_and_by_what_licence(folder):
    frame = pd.read_csv(folder / "holdings.csv")
    assert set(frame["site"]) == {"a", "b"} and set(frame["split"]) == {"train", "val", "held_out"}
    assert frame.loc[frame["split"] == "train", "images"].sum() == 480
    assert json.loads((folder / "environment.json").read_text())["licences"] == {
        "phantom:breast": "none needed (drawn)"
    }


def test_events_have_the_numbers_of_curves(folder):
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    steps = [
        event for event in events if event["kind"] == "distilling" and (event["method"], event["ipc"]) == ("dc", 1)
    ]
    assert steps and all(event["loss"] > 0 for event in steps if event["step"])
    assert any(0 <= event["validation_auc"] <= 1 for event in steps if "validation_auc" in event)
    assert not any("loss" in event for event in events if event["kind"] == "training")


def test_a_random_subset_is_drawn_beside_the_distilled(folder):
    assert {p.name for p in (folder / "grids").glob("*.png")} == {
        f"{site}-{scheme}-ipc{ipc}.png" for site in "ab" for scheme in ("random", "dc") for ipc in (1, 2)
    }


@pytest.mark.parametrize(
    ("dataset", "policy", "keep", "shown"),
    [
        ("phantom:breast", True, False, True),
        ("breastmnist", True, False, True),
        ("own.npz", True, False, False),  # a hospital's own file: the run folder keeps no real images
        ("own.npz", True, True, True),
        ("breastmnist", False, True, False),
    ],
)
def test_real_images_are_drawn_where_the_sites_and_the_data_allow_it(tmp_path, dataset, policy, keep, shown):
    allowed = f"policy = {{ allow_real_images = {str(policy).lower()}, start = 'real' }}"
    path = write_tiny(tmp_path, federation=allowed).replace(".toml", "")
    text = (tmp_path / "tiny.toml").read_text().replace("phantom:breast", dataset).replace("images = 60, ", "")
    if not policy:
        text = text.replace("[scheme.full]\n[scheme.random]\n", "")
    (tmp_path / "tiny.toml").write_text(text)
    simulation = load_simulation(f"{path}.toml", changes=[f"keep_real_images={str(keep).lower()}"])
    assert shows_real(simulation) == shown
