"""What `flwr run` starts: one simulation, and never several."""

import pytest
from tiny import write_tiny

from fedistill.app import _prepare, run_simulation
from fedistill.errors import PlanError

SWEEP = "\n[sweep]\nwidth = [2, 3]\n"


def test_flowers_own_runtime_refuses_a_sweep(tmp_path):
    path = write_tiny(tmp_path)
    simulation, _ = _prepare({"simulation": path})
    assert simulation.name == "tiny"
    (tmp_path / "tiny.toml").write_text((tmp_path / "tiny.toml").read_text() + SWEEP)
    with pytest.raises(PlanError, match=r"sweeps over width: `flwr run` runs a single[\s\S]*fedistill run"):
        _prepare({"simulation": path})


def test_one_call_runs_a_sweep(tmp_path):
    changes = ["ipc=[1]", "networks=1", "recipe.lr=0.01", "scheme={random={}}", "sweep.seed=[0, 1]"]
    rows = run_simulation(write_tiny(tmp_path), out=tmp_path / "out", engine="inline", changes=changes)
    assert rows["sweep.seed"].tolist() == [0, 1] and rows["auc"].nunique() == 2
    assert (tmp_path / "out" / "report.html").exists()
