"""`--json`: one JSON value on standard output, and nothing else."""

import json
import subprocess
import sys

import pytest
from tiny import write_tiny


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["datasets"], "licence"),
        (["sites"], "path"),
        (["simulations"], "path"),
        (["sites", "four"], "site_images"),
    ],
)
def test_lists_as_json(typed, words, key):
    code, text = typed(*words, "--json")
    read = json.loads(text)
    assert code == 0 and isinstance(read, list) and all(key in each for each in read)


def test_a_simulation_as_json_is_what_its_file_says(typed):
    code, text = typed("simulations", "quickstart", "--json")
    assert code == 0 and json.loads(text)["federation"]["name"] == "four-chest"


def test_a_run_its_status_and_its_ledger_as_json(tmp_path, typed):
    changes = ["--set", "ipc=[1]", "--set", "scheme={random={}, dp-dm={epsilon=8, iterations=2, queries=1, width=4}}"]
    words = ["run", write_tiny(tmp_path), "--engine", "inline", "--out", "out", *changes, "--json"]
    done = subprocess.run([sys.executable, "-m", "fedistill.cli", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    lines = {line["scheme"]: line for line in read["comparison"]}
    assert set(lines) == {"majority", "random", "dp-dm"} and 0 <= lines["random"]["auc"] <= 1
    assert lines["random"]["epsilon"] is None and lines["dp-dm"]["epsilon"] == 8
    code, text = typed("status", "out", "--json")
    status = json.loads(text)
    assert code == 0 and status["state"] == "finished" and status["results"] == status["results_wanted"] == 2
    assert status["jobs"]["random"]["left"] == 0
    code, text = typed("ledger", "out", "--json")
    assert code == 0 and all(json.loads(text).values())
