"""A whole study in this process: rows, resuming, and every way a site can fail."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import same, write_tiny

from fedistill import distill
from fedistill.api.evaluate import evaluate
from fedistill.config import holdings, load_simulation
from fedistill.core.events import Event
from fedistill.errors import DataError, RunError
from fedistill.methods import METHODS, SyntheticSet
from fedistill.release.release import Release
from fedistill.schemes import images as images_scheme
from fedistill.schemes.server import tasks as stages
from fedistill.study import run
from fedistill.training.metrics import Tally
from fedistill.transport.site import scoring

PROMISED = (
    "simulation dataset federation partition scheme ipc pool_ipc seed recipe model network accuracy auc "
    "balanced_accuracy f1_macro n_sites images_shared bytes_shared distill_seconds train_seconds"
).split()


SMALL = ["ipc=[2]", "networks=1"]
"""Every scheme once: enough wherever repeats, budgets and several networks are not what is looked at."""

FEWER = [*SMALL, "recipe.lr=0.01", "recipe.max_steps=4"]
"""The same, with nothing to choose."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    simulation = load_simulation(write_tiny(folder, more="seeds = 2"))
    return run(simulation, out=folder / "out", engine="inline")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of every scheme, and the store that it filled."""
    folder = tmp_path_factory.mktemp("small")
    simulation = load_simulation(write_tiny(folder), changes=SMALL)
    return run(simulation, out=folder / "out", engine="inline", cache=folder / "store"), folder / "store"


def test_the_table_is_as_promised(finished):
    rows = pd.read_csv(finished.root / "results.csv")
    assert set(PROMISED) <= set(rows.columns)
    assert all(c.endswith("_seconds") for c in rows.columns if "seconds" in c)
    counts = rows.groupby(["scheme", "recipe"]).size().to_dict()
    # full is asked once and has no budget; the others 2 seeds x 2 budgets x 2 networks.
    assert counts == {
        ("full", "common"): 2,
        ("random", "common"): 8,
        ("dc", "common"): 8,
        ("mtt", "common"): 8,
    }
    assert rows["ipc"].isna().sum() == 2
    budgeted = rows[rows["ipc"].notna()]
    assert (budgeted["images_shared"] == 2 * 2 * budgeted["ipc"]).all()
    assert (budgeted["pool_ipc"] == 2 * budgeted["ipc"]).all()
    assert (budgeted["steps"] == 4).all()
    assert rows[["accuracy", "auc", "balanced_accuracy", "f1_macro"]].stack().between(0, 1).all()
    pd.testing.assert_frame_equal(pd.read_parquet(finished.root / "results.parquet"), finished.rows)


def test_the_folder_is_as_promised(finished):
    root = finished.root
    names = {p.name for p in root.iterdir()}
    assert {"simulation.toml", "results.csv", "sites.csv", "comparison.csv", "events.jsonl"} <= names
    events = [json.loads(line) for line in (root / "events.jsonl").read_text().splitlines()]
    assert [Event.from_json(e).as_json() for e in events] == events
    assert {e.get("site") for e in events} >= {"a", "b"}
    known = json.loads((root / "environment.json").read_text())
    assert known["precision"] == dict.fromkeys(("distillation", "training", "training_at_sites"), "float32")
    assert known["device"] == {"distillation": {"a": "cpu", "b": "cpu"}, "training": "cpu"}
    assert known["data"] == {"phantom:breast": "drawn, seed 0, 60 images"} and known["machine"]["gpus"] == []
    releases = {str(p.relative_to(root / "releases")) for p in (root / "releases").rglob("*.*")}
    wanted = {"a/dc-seed0.safetensors", "b/mtt-seed1.safetensors", "a/full-seed0.sha256", "a/random-seed1.sha256"}
    assert wanted <= releases
    assert not any("full" in r and r.endswith(".safetensors") for r in releases)
    assert {"a-dc-ipc1.png", "b-mtt-ipc2.png"} <= {p.name for p in (root / "grids").iterdir()}
    assert not list(root.rglob("*.partial")) and not list(root.rglob("*.pkl"))


def test_majority_and_intervals(finished):
    table = finished.comparison
    assert table["scheme"].iloc[0] == "majority" and table["auc"].iloc[0] == 0.5
    dc = table[(table["scheme"] == "dc") & (table["recipe"] == "common")]
    assert (dc["auc_vs_random_low"] <= dc["auc_vs_random_high"]).all()
    for line in dc.to_dict("records"):
        rows = finished.rows[(finished.rows["recipe"] == "common") & (finished.rows["ipc"] == line["ipc"])]
        means = rows.groupby("scheme")["auc"].mean()
        assert line["auc"] == pytest.approx(means["dc"])
    assert table.loc[table["scheme"] == "random", "auc_vs_random_low"].isna().all()


def test_native_recipes_stand_beside_the_common_one(tmp_path, monkeypatch):
    """Which recipes are trained by, and named; that training takes its steps is shown with `fit`."""
    train, asked = stages.fit_ensemble, set()

    def few(network, images, labels, recipe, **rest):
        asked.add((recipe.name, recipe.steps_for(images.shape[-4])))
        return train(network, images, labels, replace(recipe, steps=2), **rest)

    monkeypatch.setattr(stages, "fit_ensemble", few)
    more = "recipes = ['common', 'native']"
    path = write_tiny(tmp_path, more=more)
    done = run(load_simulation(path, changes=["ipc=[1]", "networks=1"]), out=tmp_path / "out", engine="inline")
    native = done.rows[done.rows["recipe"] == "native"].set_index("scheme")
    assert list(native.index) == ["dc", "mtt"] and native["steps"].tolist() == [300, 1000]
    assert asked >= {("native", 300), ("native", 1000)}
    learned = [Release.from_bytes(p.read_bytes()).sets[1].lr for p in done.root.rglob("mtt-seed0.safetensors")]
    wanted = np.exp(np.mean(np.log([float(lr[0]) for lr in learned])))
    assert native.loc["mtt", "lr"] == pytest.approx(wanted)
    assert native.loc["dc", "lr"] == 0.01


def test_run_again_computes_nothing(finished):
    again = run(finished.simulation, out=finished.root, engine="inline")
    assert again.computed == 0 and again.found > 0
    same(again.rows, finished.rows)


def test_fresh_gives_the_same_rows(small):
    finished, _ = small
    fresh = run(finished.simulation, out=finished.root, engine="inline", fresh=True)
    assert fresh.computed > 0
    same(fresh.rows, finished.rows)
    assert (finished.root.parent / "out.old-1" / "results.csv").exists()


def test_another_seed_gives_other_rows(small, tmp_path):
    finished, _ = small
    other = run(finished.simulation.model_copy(update={"seed": 1}), out=tmp_path / "out", engine="inline")
    assert not other.rows["auc"].equals(finished.rows["auc"])


def test_a_shared_store_is_shared(small, tmp_path):
    finished, store = small
    again = run(finished.simulation, out=tmp_path / "two", engine="inline", cache=store)
    assert again.computed == 0
    assert not (tmp_path / "two" / "work").exists()


class Fault:
    """Puts something in the place of a method's run, at one site."""

    def __init__(self, monkeypatch, scheme, make):
        true = METHODS[scheme].run

        def run(task, settings):
            return make(true(task, settings)) if self.here else true(task, settings)

        self.here = False
        monkeypatch.setitem(METHODS, scheme, METHODS[scheme].__class__(**{**vars(METHODS[scheme]), "run": run}))
        carry_out = images_scheme.carry_out

        def at(job, site, on_event):
            self.here = site.name == "b"
            return carry_out(job, site, on_event)

        monkeypatch.setattr(images_scheme, "carry_out", at)


MTT = "{iterations=1, experts=1, epochs=2, expert_epochs=1, max_start_epoch=1, syn_steps=2}"


def raises(made):
    raise ValueError("the scanner is on fire")


def not_a_number(made):
    images = made.images.clone()
    images[0] = float("nan")
    return SyntheticSet(images, made.labels, made.ipc)


def too_many(made):
    return SyntheticSet(torch.cat([made.images] * 3), torch.cat([made.labels] * 3), made.ipc)


def wrong_label(made):
    return SyntheticSet(made.images, made.labels + 7, made.ipc)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (raises, "ValueError: the scanner is on fire"),
        (not_a_number, "pixels that are not numbers"),
        (too_many, "refused by the server: Invalid number of images"),
        (wrong_label, "refused by the server: A label"),
    ],
)
def test_one_faulty_site_is_named_and_the_run_goes_on(monkeypatch, tmp_path, make, line):
    Fault(monkeypatch, "dc", make)
    changes = [*FEWER, "scheme={dc={iterations=1, outer=1}, mtt=" + MTT + "}"]
    simulation = load_simulation(write_tiny(tmp_path, more="min_sites = 1"), changes=changes)
    done = run(simulation, out=tmp_path / "out", engine="inline")
    dc = done.rows[done.rows["scheme"] == "dc"]
    assert (dc["n_sites"] == 1).all() and (done.rows.loc[done.rows["scheme"] == "mtt", "n_sites"] == 2).all()
    failed = done.sites[done.sites["status"] == "failed"]
    assert set(failed["site"]) == {"b"} and set(failed["scheme"]) == {"dc"}
    assert failed["why"].str.contains(line, regex=False).all()
    assert line.split(":")[-1].strip() in (tmp_path / "out" / "failures" / "b-dc-seed-0.txt").read_text()


def test_too_few_sites_end_the_run_and_keep_what_is_done(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        Fault(patch, "dc", raises)
        simulation = load_simulation(write_tiny(tmp_path), changes=FEWER)
        with pytest.raises(RunError, match=r"Too few sites answered for 'dc'[\s\S]*on fire") as raised:
            run(simulation, out=tmp_path / "out", engine="inline")
        assert raised.value.exit_code == 1
    done = run(simulation, out=tmp_path / "out", engine="inline")
    assert done.found > 0 and len(done.rows)


def test_a_policy_refuses_at_the_site(tmp_path):
    path = write_tiny(tmp_path, more="min_sites = 1")
    simulation = load_simulation(path)
    strict = simulation.federation.model_copy(update={"policy": simulation.federation.policy.__class__()})
    # The server's own check is passed by: the site's policy is what must hold.
    asked = simulation.model_copy(update={"federation": strict})
    with pytest.raises(RunError, match="rule allow_real_images"):
        run(asked, out=tmp_path / "out", engine="inline")
    only_mtt = asked.model_copy(update={"scheme": {"mtt": asked.scheme["mtt"]}})
    with pytest.raises(RunError, match="rule start"):
        run(only_mtt, out=tmp_path / "mtt", engine="inline")


def test_multilabel_and_ordinal_sets(tmp_path):
    for name in ("chest", "retina"):
        changes = [f"federation.dataset='phantom:{name}'", "federation.partition={by='iid'}", f"name='{name}'"]
        changes += FEWER
        done = run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / name, engine="inline")
        shared = done.sites[done.sites["scheme"] == "dc"]
        # Multi-label: two images for each of the 14 labels; else two for every class that the site holds.
        held = shared["ipc"] * (14 if name == "chest" else shared["classes_shared"])
        assert (shared["images_shared"] == held).all()
        assert done.rows["auc"].notna().all()


def test_a_site_without_a_class(tmp_path):
    more = "partition = { by = 'pathological', classes = 1 }, policy = { allow_real_images = true, start = 'real' }"
    simulation = load_simulation(write_tiny(tmp_path, federation=more), changes=FEWER)
    done = run(simulation, out=tmp_path / "out", engine="inline")
    dc = done.sites[done.sites["scheme"] == "dc"]
    assert (dc["classes_shared"] == 1).all() and (dc["images_shared"] == dc["ipc"]).all()
    assert done.rows["auc"].notna().all()


def test_inside_a_running_loop_as_in_a_notebook(finished):
    async def cell():
        return run(finished.simulation, out=finished.root, engine="inline")

    same(asyncio.run(cell()).rows, finished.rows)


def test_a_site_whose_counts_cannot_be(monkeypatch, tmp_path):
    true = scoring.tally

    def doubled(labels, probabilities):
        return true(labels, probabilities) if len(labels) != wrong else Tally(*[np.full(3, -1.0)] * 4)

    path = write_tiny(tmp_path, more="min_sites = 1")
    changes = [*SMALL, "federation.partition={by='linear'}", "recipe.chosen_on='sites'", "scheme={random={}}"]
    simulation = load_simulation(path, changes=changes)
    sizes = [len(share.val) for share in holdings(simulation.federation, 0, None).shares]
    wrong = max(sizes)
    assert sizes.count(wrong) == 1
    monkeypatch.setattr(scoring, "tally", doubled)
    run(simulation, out=tmp_path / "out", engine="inline")
    told = (tmp_path / "out" / "events.jsonl").read_text()
    assert "its counts are not valid counts" in told


def test_evaluate_reads_a_release(finished):
    import fedistill as fd

    test = fd.load_dataset("phantom:breast", "test", images=60)
    images = fd.load_dataset("phantom:breast", images=60)
    rows = evaluate(distill(images, method="random", ipc=2), test, width=4, seeds=2)
    assert list(rows.columns) == ["seed", "accuracy", "auc", "balanced_accuracy", "f1_macro"] and len(rows) == 2
    path = next((finished.root / "releases" / "a").glob("dc-seed0.safetensors"))
    with pytest.raises(DataError, match="several budgets"):
        evaluate(path, test)
    with pytest.raises(DataError, match="different shapes"):
        evaluate(distill(images, method="random", ipc=2), fd.load_dataset("phantom:blood", "test", images=60))
