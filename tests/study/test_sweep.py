"""A sweep in one run folder: a table with the swept settings, what points have in common computed once, resumed."""

import json
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from tiny import same, timeless, write_tiny

from fedistill.config import load_plan, load_simulation
from fedistill.config.sweep import TAKEN, column_of
from fedistill.errors import RunError
from fedistill.schemes import images as images_scheme
from fedistill.schemes.server import tasks as stages
from fedistill.study import run

FEW = ["ipc=[1]", "networks=1", "recipe.lr=0.01", "scheme={random={}, dc={iterations=1, outer=1, inner=0}}"]
BOTH = ["sweep.federation.partition=[{by='dirichlet', alpha=0.5}, {by='iid'}]", "sweep.scheme.dc.lr_img=[0.1, 10.0]"]


def read(folder, name):
    return timeless(pd.read_csv(folder / f"{name}.csv"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def run_and_counts(path, tmp_path_factory):
    """A sweep's run, and how often each job was carried out at a site and each network trained."""
    seen: Counter[str] = Counter()
    carry_out, fit = images_scheme.carry_out, stages.fit_ensemble

    def at_site(job, site, on_event):
        seen[f"job {site.federation.partition.by} {job.name} {sorted(job.settings.items())}"] += 1
        return carry_out(job, site, on_event)

    def trained(network, images, labels, recipe, *, seeds, **rest):
        seen[f"network {images.sum():.6f} {recipe} {seeds}"] += 1
        return fit(network, images, labels, recipe, seeds=seeds, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images_scheme, "carry_out", at_site)
        patch.setattr(stages, "fit_ensemble", trained)
        plan = load_plan(path, changes=["scheme.mtt.iterations=1", *BOTH])
        done = run(plan, out=tmp_path_factory.mktemp("out") / "out", engine="inline")
    return done, seen


@pytest.fixture(scope="module")
def finished(run_and_counts):
    return run_and_counts[0]


def test_tables_have_a_column_for_each_swept_setting(finished):
    rows, compared, by_site = (read(finished.root, name) for name in ("results", "comparison", "sites"))
    swept = ["federation.partition", "scheme.dc.lr_img"]
    assert list(rows.columns[:3]) == ["simulation", *swept]
    for table in (compared, by_site, read(finished.root, "traffic")):
        assert list(table.columns[:2]) == swept
    points = list(dict.fromkeys(rows[swept].itertuples(index=False, name=None)))
    both = ("dirichlet alpha=0.5", "iid")
    assert points == [(by, lr) for by in both for lr in (0.1, 10.0)]
    # One line says what always guessing the commonest class scores: the test split is the same everywhere.
    majority = compared[compared["scheme"] == "majority"]
    assert len(majority) == 1 and majority[swept].isna().all(axis=None)
    assert len(compared) == 1 + 4 * 7


def test_every_point_is_what_it_would_be_alone(finished, path, tmp_path):
    changes = ["federation.partition={by='iid'}", "scheme.dc.lr_img=10.0"]
    alone = run(load_simulation(path, changes=changes), out=tmp_path / "out", engine="inline")
    for name in ("results", "comparison", "sites", "traffic"):
        table = read(finished.root, name)
        mine = table[(table["federation.partition"] == "iid") & (table["scheme.dc.lr_img"] == 10.0)]
        wanted = read(alone.root, name)
        wanted = wanted[wanted["scheme"] != "majority"] if name == "comparison" else wanted
        got = mine.drop(columns=["federation.partition", "scheme.dc.lr_img"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(got, wanted.reset_index(drop=True), check_exact=True, check_dtype=False)


def test_what_points_have_in_common_is_computed_once(run_and_counts):
    finished, counted = run_and_counts
    assert max(counted.values()) == 1
    jobs = [name for name in counted if name.startswith("job")]
    # Two divisions of the data, two sites; of dc two step sizes each; full, random and mtt do not know of them.
    assert len(jobs) == 2 * 2 * (2 + 3)
    assert finished.computed == 2 * 2 * 2 * (2 + 1) + len(list((finished.root / "work" / "network").iterdir()))


def test_releases_of_points_lie_apart(finished):
    found = {
        str(p.relative_to(finished.root / "releases")) for p in (finished.root / "releases").rglob("*.safetensors")
    }
    assert "1-dirichlet-alpha=0.5-lr_img=0.1/a/dc-seed0.safetensors" in found
    assert "4-iid-lr_img=10/b/mtt-seed0.safetensors" in found and len(found) == 4 * 2 * 2
    grids = [p.name for p in (finished.root / "grids").iterdir() if "-dc-" in p.name or "-mtt-" in p.name]
    assert len(grids) == 2 * 2 * 2  # the first point's
    points = {json.loads(line).get("point") for line in (finished.root / "events.jsonl").read_text().splitlines()}
    assert "iid, lr_img=10" in points


def test_the_folders_plan_repeats_the_run_and_computes_nothing(finished):
    again = run(load_plan(str(finished.root / "simulation.toml")), out=finished.root, engine="inline")
    assert again.computed == 0 and not (finished.root / "earlier").exists()
    same(again.rows, finished.rows)


def test_a_stopped_sweep_goes_on_where_it_was(path, tmp_path, monkeypatch):
    plan = load_plan(path, changes=["ipc=[1]", "networks=1", "recipe.lr=0.01", "recipe.max_steps=4", *BOTH])
    finished = run(plan, out=tmp_path / "whole", engine="inline")
    left = [3]

    class Stopped(BaseException):
        pass

    train = stages.fit_ensemble

    def until(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Stopped
        return train(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit_ensemble", until)
        with pytest.raises(Stopped):
            run(plan, out=tmp_path / "out", engine="inline")
    assert not (tmp_path / "out" / "results.csv").exists()
    done = run(plan, out=tmp_path / "out", engine="inline")
    assert done.found >= 3 and done.computed < finished.computed
    same(done.rows, finished.rows)


def test_another_sweep_sets_the_results_aside_and_reuses_the_work(path, tmp_path):
    one = run(load_plan(path, changes=[*FEW, "sweep.width=[2, 4]"]), out=tmp_path / "out", engine="inline")
    more = run(load_plan(path, changes=[*FEW, "sweep.width=[4, 2, 3]"]), out=tmp_path / "out", engine="inline")
    assert (tmp_path / "out" / "earlier" / "1" / "results.csv").exists()
    assert more.found > 0 and set(more.rows["width"]) == {2, 3, 4}
    for width in (2, 4):
        old, new = (x.rows[x.rows["width"] == width].reset_index(drop=True) for x in (one, more))
        same(old, new)


def test_a_failing_point_is_named(path, tmp_path, monkeypatch):
    carry_out = images_scheme.carry_out

    def at_site(job, site, on_event):
        if job.width == 3 and job.scheme == "dc":
            raise ValueError("the scanner is on fire")
        return carry_out(job, site, on_event)

    monkeypatch.setattr(images_scheme, "carry_out", at_site)
    plan = load_plan(path, changes=[*FEW, "sweep.width=[2, 3]"])
    with pytest.raises(RunError, match=r"At width=3: Too few sites answered for 'dc'[\s\S]*on fire"):
        run(plan, out=tmp_path / "out", engine="inline")
    assert (tmp_path / "out" / "failures" / "2-width=3" / "a-dc-seed-0.txt").exists()


def test_points_may_differ_in_their_data(path, tmp_path):
    changes = [
        "federation.partition={by='iid'}",
        *FEW,
        "sweep.federation.dataset=['phantom:breast', 'phantom:blood']",
    ]
    done = run(load_plan(path, changes=changes), out=tmp_path / "out", engine="inline")
    assert set(done.rows["dataset"]) == {"phantom:breast", "phantom:blood"}
    majority = done.comparison[done.comparison["scheme"] == "majority"]
    assert len(majority) == 2 and majority["accuracy"].nunique() == 2
    known = json.loads((done.root / "environment.json").read_text())
    assert set(known["data"]) == {"phantom:breast", "phantom:blood"}


def test_columns_of_settings_never_hide_those_of_the_tables(finished):
    from fedistill.config import Simulation

    columns = {c for name in ("results", "comparison", "sites", "traffic") for c in read(finished.root, name).columns}
    named = {key for key in Simulation.model_fields if column_of(key) in columns}
    assert not named, f"add these to TAKEN: {named}"
    assert set(Simulation.model_fields) >= TAKEN


def test_the_time_is_accounted_for(path, tmp_path, monkeypatch):
    fit = stages.fit_ensemble

    def slow(*args, **kwargs):
        time.sleep(0.2)
        return fit(*args, **kwargs)

    monkeypatch.setattr(stages, "fit_ensemble", slow)
    changes = ["ipc=[1]", "networks=1", "recipe.lr=0.01", "recipe.max_steps=4", "scheme.mtt.iterations=1"]
    done = run(load_simulation(path, changes=changes), out=tmp_path / "out", engine="inline")
    timing = done.timing
    networks = len(list((done.root / "work" / "network").iterdir()))
    assert timing.workers == 1 and networks == 4
    assert timing.server_seconds >= 0.2 * networks and timing.sites_seconds > 0
    assert timing.sites_seconds + timing.server_seconds < timing.wall_seconds == done.seconds
    assert timing.sites + timing.server + timing.rest == pytest.approx(1)
    kept = json.loads((Path(done.root) / "timing.json").read_text())
    assert kept["server_seconds"] == pytest.approx(timing.server_seconds, abs=1e-3)
    again = run(load_simulation(path, changes=changes), out=tmp_path / "out", engine="inline")
    assert again.timing.server_seconds < 0.2 and again.timing.rest > timing.rest


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_the_rows_are_those_of_one_process(path, tmp_path):
    """Both points need the same experts, of every site, at the same time."""
    changes = [
        "ipc=[1]",
        "networks=1",
        "recipe.lr=0.01",
        "scheme.dc.iterations=1",
        "sweep.scheme.mtt.lr_img=[1.0, 10.0]",
    ]
    plan = load_plan(path, changes=changes)
    inline = run(plan, out=tmp_path / "inline", engine="inline")
    spread = run(plan, out=tmp_path / "ray", engine="local", workers=2)
    same(spread.rows, inline.rows)
    kept = [{p.name for p in (tmp_path / name / "work" / "experts").iterdir()} for name in ("ray", "inline")]
    assert kept[0] == kept[1] and len(kept[0]) == 2  # one a site
    assert (spread.computed, spread.found) == (inline.computed, inline.found)
    assert spread.timing is not None and spread.timing.workers == 2 and spread.timing.start_seconds > 0
    assert 0 < spread.timing.rest < 1
