"""The run folder: nothing of an earlier run is lost, nothing of somebody else's is touched."""

import subprocess
import sys
import time

import pytest

from fedistill.errors import RunFolderError
from fedistill.plan import load_simulation
from fedistill.study.folder import described, opened


@pytest.fixture
def simulation():
    return load_simulation("quickstart")


def test_what_is_described_is_the_same_simulation(tmp_path, simulation):
    path = tmp_path / "again.toml"
    path.write_text(described(simulation))
    assert load_simulation(str(path)) == simulation


def test_a_folder_of_something_else_is_left_alone(tmp_path, simulation):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match="no run of FeDistill"), opened(tmp_path, simulation, fresh=False):
        pass
    with pytest.raises(RunFolderError, match="no run of FeDistill"), opened(tmp_path, simulation, fresh=True):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_simulations_folder_is_refused(tmp_path, simulation):
    with opened(tmp_path / "run", simulation, fresh=False):
        pass
    other = simulation.model_copy(update={"name": "other"})
    with pytest.raises(RunFolderError, match="belongs to another simulation") as raised:
        opened(tmp_path / "run", other, fresh=False).__enter__()
    assert raised.value.exit_code == 2


def test_other_settings_set_the_results_aside_and_keep_the_work(tmp_path, simulation):
    root = tmp_path / "run"
    with opened(root, simulation, fresh=False) as folder:
        (root / "results.csv").write_text("first")
        folder.release("north", "dc", 0, 0, b"bytes", keep=True, name="x")
        (root / "work" / "network").mkdir(parents=True)
    changed = simulation.model_copy(update={"networks": 2})
    with opened(root, changed, fresh=False):
        assert not (root / "results.csv").exists()
    assert (root / "earlier" / "1" / "results.csv").read_text() == "first"
    assert (root / "earlier" / "1" / "simulation.toml").read_text() == described(simulation)
    assert (root / "earlier" / "1" / "releases" / "north" / "dc-seed0.safetensors").read_bytes() == b"bytes"
    assert (root / "work" / "network").is_dir()


def test_fresh_renames(tmp_path, simulation):
    root = tmp_path / "run"
    for n in range(3):
        with opened(root, simulation, fresh=True):
            (root / "results.csv").write_text(str(n))
    found = {p.name: (p / "results.csv").read_text() for p in tmp_path.iterdir()}
    assert found == {"run.old-1": "0", "run.old-2": "1", "run": "2"}


def test_a_second_process_is_kept_out(tmp_path, simulation):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom fedistill.plan import load_simulation\n"
        "from fedistill.study.folder import opened\n"
        "with opened(Path(sys.argv[1]), load_simulation('quickstart'), fresh=False):\n"
        "    print('in', flush=True)\n    time.sleep(60)\n"
    )
    root = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        with pytest.raises(RunFolderError, match=f"in use[\\s\\S]*process {other.pid}"):
            opened(root, simulation, fresh=True).__enter__()
        other.kill()
        other.wait()
    time.sleep(0)
    with opened(root, simulation, fresh=False):  # the lock went with the process
        pass


def test_real_releases_leave_their_hash(tmp_path, simulation):
    with opened(tmp_path / "run", simulation, fresh=False) as folder:
        folder.release("north", "full", 0, 0, b"patients", keep=False, name="abc")
        [kept] = (folder.root / "releases" / "north").iterdir()
    assert kept.name == "full-seed0.sha256" and kept.read_text() == "abc  full-seed0.safetensors\n"
