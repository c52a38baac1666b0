"""Networks trained together, as on a GPU: the rows are those of one network after another."""

import json
import re

import pandas as pd
import pytest
import torch

from fedistill.config import load_simulation
from fedistill.errors import PlanError
from fedistill.schemes.server import tasks as stages
from fedistill.study import run
from fedistill.transport.server import launch

FEW = """
networks = 3
width = 4
ipc = [2]
gpus = 0.5
[federation]
name = "two"
dataset = "phantom:breast"
images = 60
sites = ["a", "b"]
policy = { allow_real_images = true }
[recipe]
steps = 4
max_steps = 4
pilots = 1
chosen_on = "sites"
[scheme.full]
[scheme.random]
"""


@pytest.fixture
def simulation(tmp_path):
    (tmp_path / "few.toml").write_text(FEW)
    return load_simulation(str(tmp_path / "few.toml"))


def tasks(root):
    """The numbers of the networks that were trained in one task, as the events name them."""
    jobs = [json.loads(line).get("job", "") for line in (root / "events.jsonl").read_text().splitlines()]
    return {found[1] for job in jobs if (found := re.search(r" network (\d+(?:, \d+)*)", job))}


def test_together_as_one_by_one(simulation, tmp_path, monkeypatch):
    def processor(gpus):
        assert gpus == 0.5
        return torch.device("cpu")

    with monkeypatch.context() as patch:
        patch.setattr(stages, "device_for", processor)
        patch.setattr(launch, "device_for", processor)
        together = run(simulation, out=tmp_path / "together", engine="inline")
        again = run(simulation, out=tmp_path / "together", engine="inline")
    one_by_one = run(simulation.model_copy(update={"gpus": 0.0}), out=tmp_path / "one", engine="inline")
    timeless = [c for c in one_by_one.rows.columns if not c.endswith("_seconds")]
    pd.testing.assert_frame_equal(together.rows[timeless], one_by_one.rows[timeless], rtol=0, atol=0.01)
    assert again.computed == 0 and again.found == together.found + together.computed
    # The pilot, whose recipe was then chosen, is there already: the other two go together.
    assert tasks(tmp_path / "together") == {"1", "2, 3"} and tasks(tmp_path / "one") == {"1", "2", "3"}
    kept = [{p.name for p in (tmp_path / name / "work" / "network").iterdir()} for name in ("together", "one")]
    assert len(kept[0]) == len(kept[1]) and not kept[0] & kept[1]  # the key says what computed it


def test_without_a_gpu_nothing_is_begun(simulation, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PlanError, match="A GPU is asked for"):
        run(simulation, out=tmp_path / "out", engine="inline")
    assert not (tmp_path / "out").exists()
