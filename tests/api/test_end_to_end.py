"""The installed command on Ray, and Flower's own runtime: the same rows as in one process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from tiny import timeless, write_tiny

from fedistill.config import load_simulation
from fedistill.study import run

BIN = Path(sys.executable).parent
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def rows(folder):
    return timeless(pd.read_csv(folder / "results.csv"))


def command(*words):
    return [str(BIN / "fedistill"), "run", *map(str, words)]


@pytest.mark.ray
@pytest.mark.slow
def test_the_installed_command_on_ray_killed_and_resumed(tmp_path):
    """Killed half-way on two workers, resumed on one: the rows of a run in one process."""
    path = write_tiny(tmp_path, more="seeds = 2")
    wanted = run(load_simulation(path), out=tmp_path / "inline", engine="inline")
    out = tmp_path / "out"
    first = subprocess.Popen(
        command(path, "--out", out, "--workers", 2), stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 90
        while len(list((out / "work").glob("network/*.safetensors"))) < 6 and time.monotonic() < deadline:
            assert first.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert not (out / "results.csv").exists(), "killed half-way"
    finished = {p.name: p.stat().st_mtime_ns for p in (out / "work" / "network").glob("*.safetensors")}
    assert len(finished) >= 6
    done = subprocess.run(
        command(path, "--out", out, "--workers", 1), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "majority" in done.stdout and "Traceback" not in done.stderr
    pd.testing.assert_frame_equal(rows(out), rows(wanted.root), check_exact=True)
    again = {p.name: p.stat().st_mtime_ns for p in (out / "work" / "network").glob("*.safetensors")}
    assert {name: again[name] for name in finished} == finished, "finished stages are not made again"


@pytest.mark.ray
@pytest.mark.slow
def test_flwr_run_starts_the_same_two_apps(tmp_path):
    source = Path(__file__).parents[2]
    app = tmp_path / "app"
    for name in ("fedistill", "sites", "simulations"):
        shutil.copytree(source / name, app / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(source / name, app)
    path = write_tiny(tmp_path)
    home = tmp_path / "flwr"
    config = f'simulation="{path}" out="{tmp_path / "out"}"'
    try:
        done = subprocess.run(
            [BIN / "flwr", "run", ".", "--federation-config", "num-supernodes=2", "--stream", "--run-config", config],
            cwd=app,
            env={**os.environ, **QUIET, "FLWR_HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
    finally:
        # `flwr run` leaves a SuperLink of its own behind; it is ours, for its files lie in this test's folder.
        subprocess.run(["pkill", "-f", str(home)], check=False)
    assert (tmp_path / "out" / "results.csv").exists(), done.stdout[-2000:] + done.stderr[-2000:]
    wanted = run(load_simulation(path), out=tmp_path / "inline", engine="inline")
    pd.testing.assert_frame_equal(rows(tmp_path / "out"), rows(wanted.root), check_exact=True)


@pytest.mark.slow
def test_the_wheel_installed_elsewhere_runs_a_simulation_by_name(tmp_path):
    source = Path(__file__).parents[2]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    small = (
        "networks=1 width=4 ipc=[1] recipe.steps=2 recipe.max_steps=2 scheme.dc.iterations=1 scheme.mtt.iterations=1"
    )
    words = [w for change in [*small.split(), "federation.images=100"] for w in ("--set", change)]
    where = tmp_path / "elsewhere"
    where.mkdir()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "fedistill.cli", "run", "quickstart", "--engine", "inline", *words],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(rows(where / "runs" / "quickstart")) == 5
    assert not (site / "sites").exists() and (site / "fedistill" / "content" / "sites" / "four.toml").exists()
    code = "import fedistill; print(fedistill.__file__)"
    env = {**os.environ, "PYTHONPATH": str(site)}
    used = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=where, env=env, capture_output=True, text=True, check=True
    )
    assert str(site) in used.stdout, "it is the wheel that ran, not the checkout"
