"""What the README tells people to type does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def average(tmp_path_factory) -> Path:
    """The folder of the README's own method, with what an installed package would have."""
    [code] = re.findall(r"```python\n(# average\.py\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    [offer] = re.findall(r'```toml\n\[project\.entry-points\."(.*?)"\]\n(.*?)```', README.read_text(), re.DOTALL)
    folder = tmp_path_factory.mktemp("average")
    (folder / "average.py").write_text(code)
    info = folder / "average-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: average\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{offer[0]}]\n{offer[1].replace(chr(34), '')}")
    return folder


def python(folder: Path, *words: str) -> subprocess.CompletedProcess:
    here = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
    )


def test_the_example_of_a_method_runs(average):
    (average / "alone").mkdir()
    (average / "alone" / "average.py").write_text((average / "average.py").read_text())
    done = python(average / "alone", "average.py")
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert set(found) == {"random", "average"} and all(0.4 < float(auc) <= 1 for auc in found.values())
    code = (average / "average.py").read_text().split("if __name__")[0]
    assert len(code.strip().splitlines()) <= 30


def test_a_package_brings_its_method_to_a_simulation(average):
    scheme = "scheme={random={}, average={of=3}}"
    changes = ["width=4", "ipc=[1]", "networks=2", "recipe.steps=2", "recipe.lr=0.01", "federation.images=60", scheme]
    words = [word for change in changes for word in ("--set", change)]
    done = python(average, "-m", "fedistill.cli", "run", "quickstart", "--engine", "inline", "--out", "out", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "average" in (average / "out" / "comparison.csv").read_text()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("dc", "average:METHOD", "taken"), ("other", "average:AverageSettings", "none"), ("other", "nowhere:X", "loaded")],
)
def test_a_package_that_offers_nonsense_is_named(average, tmp_path, name, value, words):
    info = tmp_path / "odd-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fedistill.methods]\n{name} = {value}\n")
    (tmp_path / "average.py").write_text((average / "average.py").read_text())
    done = python(
        tmp_path, "-m", "fedistill.cli", "distill", "phantom:breast", "--method", "dm", "--out", "x.safetensors"
    )
    assert done.returncode == 2 and "odd" in done.stderr + done.stdout and words in done.stderr + done.stdout
