"""The notebooks run from their first cell to their last, by plain Python where Jupyter is not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "simulations" / "notebooks"


def cells(path: Path) -> list[str]:
    """Return the code cells of a notebook."""
    read = json.loads(path.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in read["cells"] if cell["cell_type"] == "code"]


def test_there_is_one():
    assert [path.name for path in FOLDER.glob("*.ipynb")] == ["from-folder-to-network.ipynb"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_kept_without_output_and_mean_no_shell(path):
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["nbformat"] == 4
    for cell in read["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    for code in cells(path):
        compile(code, path.name, "exec")  # no line for a shell or of Jupyter's own


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(path, tmp_path):
    (tmp_path / "cells.py").write_text("\n\n".join(cells(path)))
    done = subprocess.run(
        [sys.executable, "cells.py"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "wrong: []" in done.stdout and "not a medical device" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("002.png {")
