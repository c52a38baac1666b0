"""sources.csv: each source's own figures, by hand on a few probabilities and whole in a run of combined sets."""

import json

import numpy as np
import pandas as pd
import pytest

from fedistill.config import load_plan
from fedistill.schemes.server.condition import Condition, Result, Transfer
from fedistill.study import run
from fedistill.study.preflight import SourceSet
from fedistill.study.tables.sources import KEYS, score_source, score_sources
from fedistill.training.metrics import score
from fedistill.training.recipe import Recipe

LABELS = np.array([0, 0, 1, 1, 0, 1, 2])
OF_A = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.5, 0.4, 0.1], [0.1, 0.7, 0.2]]
GIVEN = np.array([*OF_A, [0.1, 0.2, 0.7], [0.2, 0.5, 0.3], [0.4, 0.1, 0.5]])


def test_a_source_is_scored_on_its_own_images_among_all_classes():
    found = score_source(LABELS, GIVEN, slice(0, 4))
    assert found["accuracy"] == 0.5 and found["balanced_accuracy"] == 0.5
    # Class 0: 0.8 and 0.3 against 0.5, 0.1, 0.2, 0.4 of any source's others: 4 and 2 of 4. Class 1: 0.4 and 0.7 against
    # 0.1, 0.6, 0.2, 0.1: 3 and 4 of 4.
    assert found["auc"] == pytest.approx((6 / 8 + 7 / 8) / 2)
    rest = score_source(LABELS, GIVEN, slice(4, 7))
    assert rest["accuracy"] == pytest.approx(2 / 3) and rest["balanced_accuracy"] == pytest.approx(2 / 3)


def test_one_source_is_the_whole():
    whole, known = score_source(LABELS, GIVEN, slice(0, 7)), score(LABELS, GIVEN)
    assert whole == {name: pytest.approx(known[name]) for name in whole}
    findings = np.array([[0, 1], [1, 1], [1, 0], [0, 0]])
    given = np.array([[0.2, 0.9], [0.7, 0.4], [0.6, 0.5], [0.1, 0.1]])
    assert score_source(findings, given, slice(0, 4)) == {name: score(findings, given)[name] for name in whole}


def test_a_source_of_one_class_has_its_recall_and_an_auc():
    found = score_source(LABELS, GIVEN, slice(6, 7))
    assert found == {"accuracy": 1.0, "balanced_accuracy": 1.0, "auc": pytest.approx(5 / 6)}


def test_what_cannot_be_scored_is_blank():
    broken = GIVEN.copy()
    broken[5, 0] = np.nan
    for found in (score_source(LABELS, broken, slice(0, 4)), score_source(LABELS, GIVEN, slice(3, 3))):
        assert np.isnan(list(found.values())).all()
    assert np.isnan(score_source(LABELS[:2], GIVEN[:2], slice(0, 2))["auc"])  # no image of another class


def test_a_row_an_arm_network_and_source():
    condition = Condition(0, "full", None, 0, "convnet", "common")
    scored = Result(condition, [Transfer(())] * 2, [Recipe()] * 2, [1, 1], np.stack([GIVEN, GIVEN[::-1]]), [0.0, 0.0])
    frame = score_sources(LABELS, (SourceSet("a", 4, ""), SourceSet("b", 3, "")), [scored])
    rows = frame[["network", "source", "test_images"]].to_numpy().tolist()
    assert rows == [[0, "a", 4], [0, "b", 3], [1, "a", 4], [1, "b", 3]]
    assert list(frame.columns[: len(KEYS)]) == KEYS and frame["ipc"].isna().all()
    assert frame["accuracy"].tolist()[:2] == [0.5, pytest.approx(2 / 3)]


RUN = """
networks = 2
width = 4
ipc = [1]
[federation]
name = "two"
sites = ["eyes", "cells"]
images = 60
combine = { classes = ["octmnist:drusen", "bloodmnist:platelet", "octmnist:normal"] }
policy = { allow_real_images = true, start = "real" }
[federation.site]
eyes = { dataset = "octmnist" }
cells = { dataset = "bloodmnist" }
[recipe]
steps = 4
max_steps = 4
lr = [0.01]
[scheme.full]
[scheme.random]
[scheme.dc]
iterations = 2
outer = 1
inner = 0
[scheme.central-mtt]
iterations = 1
experts = 1
epochs = 2
expert_epochs = 1
max_start_epoch = 1
syn_steps = 2
"""


def written(folder):
    (folder / "mixed.toml").write_text(RUN)
    return str(folder / "mixed.toml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("combined")
    return run(load_plan(written(folder), phantom=True), out=folder / "out", engine="inline")


def test_a_run_of_combined_sets_reports_every_source(finished):
    sources, rows = pd.read_csv(finished.root / "sources.csv"), finished.rows
    assert set(rows["dataset"]) == {"phantom:oct + phantom:blood"}
    assert len(sources) == 2 * len(rows) and set(sources["source"]) == {"phantom:oct", "phantom:blood"}
    # Right decisions add up: each source's, weighed by its images, are the whole's.
    weighed = sources.assign(right=sources["accuracy"] * sources["test_images"])
    sums = weighed.groupby(["scheme", "network"])[["right", "test_images"]].sum()
    whole = rows.set_index(["scheme", "network"])["accuracy"]
    assert (sums["right"] / sums["test_images"]).round(9).to_dict() == whole.round(9).to_dict()
    assert sources["auc"].between(0, 1).all()


def test_every_hospital_holds_one_source(finished):
    held = pd.read_csv(finished.root / "sites.csv")
    known = json.loads((finished.root / "environment.json").read_text())
    assert set(known["licences"]) == set(known["data"]) == {"phantom:oct", "phantom:blood"}
    assert dict(held[held["scheme"] == "dc"][["site", "classes_shared"]].to_numpy()) == {"eyes": 2, "cells": 1}
    assert held[held["scheme"] == "central-mtt"]["images_shared"].tolist() == [3]  # as many as the sites' three classes


def test_the_folders_plan_repeats_the_run(finished):
    again = run(load_plan(str(finished.root / "simulation.toml")), out=finished.root, engine="inline")
    assert again.computed == 0 and not (finished.root / "earlier").exists()


def test_a_single_set_has_no_sources(tmp_path):
    changes = ["federation.combine.classes=['octmnist']", "federation.site={}", "scheme={random={}}"]
    plan = load_plan(written(tmp_path), changes=changes, phantom=True)
    done = run(plan, out=tmp_path / "out", engine="inline")
    assert not (done.root / "sources.csv").exists() and len(done.rows) == 2
