"""What is read out of run folders: whole pools, points of sweeps, and which runs are of one kind."""

import numpy as np
import pandas as pd
import pytest
from fabricated import fabricate, rows
from tiny import write_tiny

from fedistill.config import load_plan, load_simulation
from fedistill.errors import RunFolderError
from fedistill.study.feasibility.comparability import canonical_name, kind_of
from fedistill.study.feasibility.run_metrics import POINTS, distils, finished_runs, points, read_runs
from fedistill.study.folder.run_folder import described

QUALITIES = {("full", None): 0.9, ("random", 1): 0.6, ("random", 2): 0.7, ("dc", 1): 0.65, ("dc", 2): 0.8}


def test_a_row_a_metric_and_budget(tmp_path):
    found = points(read_runs([fabricate(tmp_path / "a", "phantom:blood", QUALITIES)]))
    assert list(found.columns) == POINTS
    assert found[["scheme", "ipc", "metric"]].values.tolist() == [
        ["dc", 1, "auc"],
        ["dc", 1, "accuracy"],
        ["dc", 2, "auc"],
        ["dc", 2, "accuracy"],
    ]
    assert found["random"].tolist() == pytest.approx([0.6, 0.6, 0.7, 0.7])
    assert found["distilled"].tolist() == pytest.approx([0.65, 0.65, 0.8, 0.8])
    assert found["chance"].tolist() == [0.5, 1 / 8, 0.5, 1 / 8] and (found["full"].round(9) == 0.9).all()
    assert set(found["dataset"]) == {"phantom:blood"} and found["phantom"].all() and (found["runs"] == 1).all()


def test_several_runs_on_a_set_are_one_point(tmp_path):
    other = {key: value + 0.1 for key, value in QUALITIES.items() if key[0] != "full"}
    folders = [
        fabricate(tmp_path / "a", "phantom:bloodmnist", QUALITIES),
        fabricate(tmp_path / "b", "phantom:blood", other),
    ]
    found = points(read_runs(folders)).query("ipc == 2 and metric == 'auc'")
    assert len(found) == 1 and found["runs"].item() == 2
    assert found["distilled"].item() == pytest.approx(0.85) and found["full"].item() == pytest.approx(0.9)


def test_findings_that_mostly_are_absent_have_no_accuracy_here(tmp_path):
    found = points(read_runs([fabricate(tmp_path / "a", "phantom:chest", QUALITIES)]))
    assert set(found["metric"]) == {"auc"}


@pytest.mark.parametrize(
    "stray", [{"recipe": "native"}, {"site": "a"}, {"left_out": "a"}, {"n_sites": 1}, {"model": "another"}]
)
def test_rows_of_anything_but_whole_pools_and_the_common_recipe_do_not_count(tmp_path, stray):
    folder = fabricate(tmp_path / "a", "phantom:blood", QUALITIES)
    right = points(read_runs([folder]))
    table = pd.read_csv(folder / "results.csv")
    astray = table.assign(auc=0.1, accuracy=0.1, **stray)
    pd.concat([table, astray]).to_csv(folder / "results.csv", index=False)
    pd.testing.assert_frame_equal(points(read_runs([folder])), right)


def test_all_data_in_one_place_count_as_a_whole_pool(tmp_path):
    changes = ["scheme.central-dc={}"]
    folder = fabricate(tmp_path / "a", "phantom:blood", {**QUALITIES, ("central-dc", 2): 0.85}, changes=changes)
    table = pd.read_csv(folder / "results.csv")
    table.loc[table["scheme"] == "central-dc", "n_sites"] = 1
    table.to_csv(folder / "results.csv", index=False)
    found = points(read_runs([folder])).query("metric == 'auc'").set_index(["scheme", "ipc"])["distilled"]
    assert found["central-dc", 2] == pytest.approx(0.85) and ("central-dc", 1) not in found


def test_a_network_that_diverged_leaves_no_point(tmp_path):
    folder = fabricate(tmp_path / "a", "phantom:blood", QUALITIES)
    table = pd.read_csv(folder / "results.csv")
    table.loc[table.query("scheme == 'dc' and ipc == 2 and network == 1").index, "auc"] = np.nan
    table.to_csv(folder / "results.csv", index=False)
    found = points(read_runs([folder]))
    assert found.query("metric == 'auc'")["ipc"].tolist() == [1]


def test_points_of_a_sweep_are_told_by_its_columns(tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    changes = [
        "sweep.federation.dataset=['phantom:blood', 'phantom:path']",
        "sweep.ipc=[[1], [2]]",
        "sweep.recipe.steps=[4, 8]",
    ]
    plan = load_plan(write_tiny(tmp_path), changes=changes)
    (folder / "simulation.toml").write_text(described(plan))
    tables = []
    for number, (point, values) in enumerate(zip(plan.points, plan.columns(), strict=True)):
        [ipc] = point.simulation.ipc
        made = rows(point.simulation, {("random", ipc): 0.5, ("dc", ipc): 0.6 + number / 100})
        tables.append(made.assign(**values))
    pd.concat(tables).to_csv(folder / "results.csv", index=False)
    found = points(read_runs([folder])).query("metric == 'auc'")
    assert found["kind"].nunique() == 2 and found.groupby("kind")["dataset"].nunique().tolist() == [2, 2]
    assert found["distilled"].tolist() == pytest.approx([0.6 + n / 100 for n in range(8)])
    assert found["ipc"].tolist() == [1, 1, 2, 2, 1, 1, 2, 2]


SAME = ["name='other'", "seed=3", "seeds=4", "networks=7", "threads=2", "keep_real_images=true"]
SAME += ["federation.sites=['x', 'y']", "federation.partition={by='iid', seed=5}", "federation.site.a.cpus=2"]
SAME += ["ipc=[2, 4]"]
OTHER = ["width=8", "recipe.steps=5", "recipe.lr=[0.01]", "recipe.batch=8", "pooling='balanced'", "encoding='float16'"]
OTHER += ["federation.sites=3", "federation.size=32", "federation.images=80", "federation.held_out=0.1"]
OTHER += ["federation.partition={by='dirichlet', alpha=0.5}", "federation.dataset='breastmnist'"]


@pytest.mark.parametrize(("change", "same"), [(c, True) for c in SAME] + [(c, False) for c in OTHER])
def test_what_makes_a_kind(tmp_path, change, same):
    path = write_tiny(tmp_path)
    one, other = (kind_of(load_simulation(path, changes=changes), "convnet") for changes in ([], [change]))
    assert (one == other) is same and (one.words == other.words) is same


def test_settings_of_the_budget_keep_points_apart(tmp_path):
    changes = ["scheme.dc.ipc.2.lr_img=3.0"]
    folders = [
        fabricate(tmp_path / "a", "phantom:blood", QUALITIES),
        fabricate(tmp_path / "b", "phantom:path", QUALITIES, changes=changes),
    ]
    found = points(read_runs(folders)).query("metric == 'auc'")
    assert found.groupby("ipc")["settings"].nunique().tolist() == [1, 2]
    assert found["kind"].nunique() == 1


def test_folders_that_cannot_be_read(tmp_path):
    fabricate(tmp_path / "good", "phantom:blood", QUALITIES)
    (fabricate(tmp_path / "unfinished", "phantom:path", QUALITIES) / "results.csv").unlink()
    (fabricate(tmp_path / "later", "phantom:path", QUALITIES) / "simulation.toml").write_text("federation = 3")
    assert [path.name for path in finished_runs(tmp_path)] == ["good", "later"]
    with pytest.raises(RunFolderError, match="holds no finished run") as raised:
        read_runs([tmp_path / "unfinished"])
    assert raised.value.exit_code == 2
    notes: list[str] = []
    assert len(read_runs(finished_runs(tmp_path), notes=notes)) == 1
    assert len(notes) == 1 and "later is skipped" in notes[0]


def test_names_of_sets_and_schemes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert canonical_name("a.npz") == canonical_name(str(tmp_path / "a.npz"))
    schemes = ["full", "random", "herding", "dc", "central-mtt", "fedavg", "local", "join"]
    assert [scheme for scheme in schemes if distils(scheme)] == ["dc", "central-mtt"]
