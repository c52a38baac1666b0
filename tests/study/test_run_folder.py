"""The run folder: nothing of an earlier run is lost, nothing of somebody else's is touched."""

import json
import subprocess
import sys
import time

import pytest

from fedistill.config import Plan, load_plan, load_simulation
from fedistill.core.events import Event
from fedistill.errors import RunFolderError
from fedistill.study.folder.run_folder import described, open_run_folder


@pytest.fixture
def plan():
    return load_plan("quickstart")


def with_changes(plan, **changes):
    return Plan.of(plan.first.model_copy(update=changes))


def test_what_is_described_is_the_same_plan(tmp_path, plan):
    path = tmp_path / "again.toml"
    path.write_text(described(plan))
    assert load_plan(str(path)) == plan
    assert load_simulation(str(path)) == plan.first


def test_a_sweep_is_described_whole_and_in_its_order(tmp_path):
    changes = [
        "sweep.width=[64, 16]",
        "sweep.federation.partition=[{by='dirichlet', alpha=0.1}, {by='iid'}]",
        "sweep.scheme.dc.lr_img=[1.0, 10.0]",
        "sweep.federation=['four', 'breast-three']",
    ]
    for chosen in (changes[:3], [changes[3], *changes[:3]]):
        plan = load_plan("quickstart", changes=chosen, phantom=True)
        path = tmp_path / "quickstart.toml"
        path.write_text(described(plan))
        again = load_plan(str(path))
        assert again == plan and list(again.sweep) == list(plan.sweep)
        assert described(again) == described(plan)


def test_a_folder_of_something_else_is_left_alone(tmp_path, plan):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match="no run of FeDistill"), open_run_folder(tmp_path, plan, fresh=False):
        pass
    with pytest.raises(RunFolderError, match="no run of FeDistill"), open_run_folder(tmp_path, plan, fresh=True):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_simulations_folder_is_refused(tmp_path, plan):
    with open_run_folder(tmp_path / "run", plan, fresh=False):
        pass
    other = with_changes(plan, name="other")
    with pytest.raises(RunFolderError, match="belongs to another simulation") as raised:
        open_run_folder(tmp_path / "run", other, fresh=False).__enter__()
    assert raised.value.exit_code == 2


def test_other_settings_set_the_results_aside_and_keep_the_work(tmp_path, plan):
    root = tmp_path / "run"
    with open_run_folder(root, plan, fresh=False) as folder:
        (root / "results.csv").write_text("first")
        folder.release("north", "dc", 0, 0, b"bytes", keep=True, name="x")
        (root / "work" / "network").mkdir(parents=True)
    changed = with_changes(plan, networks=2)
    with open_run_folder(root, changed, fresh=False):
        assert not (root / "results.csv").exists()
    assert (root / "earlier" / "1" / "results.csv").read_text() == "first"
    assert (root / "earlier" / "1" / "simulation.toml").read_text() == described(plan)
    assert (root / "earlier" / "1" / "releases" / "north" / "dc-seed0.safetensors").read_bytes() == b"bytes"
    assert (root / "work" / "network").is_dir()


def test_fresh_renames(tmp_path, plan):
    root = tmp_path / "run"
    for n in range(3):
        with open_run_folder(root, plan, fresh=True):
            (root / "results.csv").write_text(str(n))
    found = {p.name: (p / "results.csv").read_text() for p in tmp_path.iterdir()}
    assert found == {"run.old-1": "0", "run.old-2": "1", "run": "2"}


def test_a_second_process_is_kept_out(tmp_path, plan):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom fedistill.config import load_plan\n"
        "from fedistill.study.folder.run_folder import open_run_folder\n"
        "with open_run_folder(Path(sys.argv[1]), load_plan('quickstart'), fresh=False):\n"
        "    print('in', flush=True)\n    time.sleep(60)\n"
    )
    root = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        with pytest.raises(RunFolderError, match=f"in use[\\s\\S]*process {other.pid}"):
            open_run_folder(root, plan, fresh=True).__enter__()
        other.kill()
        other.wait()
    time.sleep(0)
    with open_run_folder(root, plan, fresh=False):  # the lock went with the process
        pass


def test_real_releases_leave_their_hash(tmp_path, plan):
    with open_run_folder(tmp_path / "run", plan, fresh=False) as folder:
        folder.release("north", "full", 0, 0, b"patients", keep=False, name="abc")
        [kept] = (folder.root / "releases" / "north").iterdir()
    assert kept.name == "full-seed0.sha256" and kept.read_text() == "abc  full-seed0.safetensors\n"


def test_points_keep_their_files_apart(tmp_path):
    swept = load_plan("quickstart", changes=["sweep.width=[8, 16]"])
    with open_run_folder(tmp_path / "run", swept, fresh=False) as folder:
        for number in (0, 1):
            here = folder.of_point(number)
            here.release("north", "dc", 0, 0, bytes([number]), keep=True, name="x")
            here.failure("north dc seed 0", f"why {number}")
            here.event(Event("started", job="north dc seed 0", point=swept.points[number].label))
    found = {str(p.relative_to(folder.root)) for p in folder.root.rglob("*") if p.is_file()}
    wanted = {f"releases/{n}/north/dc-seed0.safetensors" for n in ("1-width=8", "2-width=16")}
    wanted |= {f"failures/{n}/north-dc-seed-0.txt" for n in ("1-width=8", "2-width=16")}
    assert wanted <= found
    points = [json.loads(line)["point"] for line in (folder.root / "events.jsonl").read_text().splitlines()]
    assert points == ["width=8", "width=16"]
