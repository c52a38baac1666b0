"""The command line, as a person meets it: exit codes, one clear message, nothing done before it."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from tiny import write_tiny


def custom_file(path):
    """A small data set in MedMNIST's layout."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 20), ("val", 6), ("test", 8)):
        arrays[f"{split}_images"] = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(n, dtype=np.uint8)[:, None] % 2
    np.savez(path, **arrays)


@pytest.fixture
def typed(typed, monkeypatch, tmp_path):
    """Type a command in a narrow terminal, where no data were ever kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path / "medmnist"))
    return lambda *words, width=60: typed(*words, width=width)


FEW = ["ipc=[1]", "networks=1", "recipe.lr=0.01", "recipe.max_steps=4", "scheme={random={}}"]
FEW = [word for change in FEW for word in ("--set", change)]
"""The least that is a run, for tests of what is around it."""


def test_a_run_in_a_narrow_terminal(typed, tmp_path):
    code, text = typed("run", write_tiny(tmp_path), "--engine", "inline", "--out", "out")
    assert code == 0
    assert "majority" in text and "report: out/report.html" in text
    lines = text.split("majority")[1].splitlines()[:8]
    assert all(len(line) <= 60 for line in lines)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<table" in page and "http:" not in page and "https:" not in page
    code, text = typed("report", "out")
    assert code == 0


def test_a_sweep_from_the_command_line(typed, tmp_path):
    words = ["--set", "ipc=[1]", "--set", "scheme={random={}}", "--set", "sweep.width=[2, 3]"]
    code, text = typed("run", write_tiny(tmp_path), "--engine", "inline", "--out", "out", *words)
    assert code == 0 and "2 points of a sweep over width" in text
    assert "width = 2\n" in text and "width = 3\n" in text
    told = re.search(r" s on 1 worker: sites (\d+) %, server (\d+) %, everything else (\d+) %", " ".join(text.split()))
    assert told is not None and sum(map(int, told.groups())) == 100
    code, text = typed("simulations", "out/simulation.toml", width=200)
    assert code == 0 and text.rstrip().endswith("[sweep]\nwidth = [2, 3]")


def test_words_of_the_user_are_escaped_in_the_report(typed, tmp_path):
    custom_file(tmp_path / "<b>mine.npz")
    path = write_tiny(tmp_path)
    words = ["run", path, "--engine", "inline", "--out", "out", *FEW]
    words += ["--set", f"federation.dataset='{tmp_path}/<b>mine.npz'"]
    code, text = typed(*words)
    assert code == 2 and "images" in text  # of which only phantoms have a number
    text = (tmp_path / "tiny.toml").read_text().replace("images = 60,", "")
    (tmp_path / "tiny.toml").write_text(text)
    assert typed(*words)[0] == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>" not in page and "&lt;b&gt;mine.npz" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "quikstart"], "did you mean 'quickstart'"),
        (["run", "quickstart", "--set", "scheme.dc.iteratons=1"], "did you mean 'iterations'"),
        (["run", "quickstart", "--set", "federation.dataset='nowhere'"], "no data set 'nowhere'"),
        (["run", "quickstart", "--set", "federation.dataset='a.npz'"], "a.npz"),
        (["run", "quickstart", "--set", "federation.partition.by='iidd'"], "did you mean 'iid'"),
        (["run", "quickstart", "--set", "ipc=[0]"], "ipc"),
        (["run", "quickstart", "--set", "sweep.width=[]"], "the sweep over 'width' has no values"),
        (["run", "quickstart", "--set", "sweep.widht=[8, 16]"], "at widht=8: there is no setting 'widht'"),
        (["run", "quickstart", "--set", "sweep.width=[8, -1]"], "at width=-1: width is invalid"),
        (
            ["run", "quickstart", "--set", "sweep.federation.partition=[{by='iid'}, {by='idd'}]"],
            "did you mean 'iid'",
        ),
        (["run", "quickstart", "--engine", "locla"], "did you mean 'local'"),
        (["run", "quickstart", "--set", "federation.site.north.cpus=4000"], "needs more CPUs"),
        (["sites", "fuor"], "did you mean 'four'"),
        (["distill", "phantom:blood", "--method", "dcc", "--out", "x"], "did you mean 'dc'"),
        (["distill", "phantom:blood", "--ipc", "0", "--out", "x"], "ipc"),
        (["distill", "phantom:blood", "--encoding", "float61", "--out", "x"], "did you mean 'float16'"),
        (["run", "quickstart", "--set", "encoding='float64'"], "encoding"),
        (["report", "."], "no run of FeDistill"),
    ],
)
def test_a_mistake_ends_with_two_before_any_work(typed, tmp_path, words, message):
    code, text = typed(*words, width=200)
    assert code == 2 and message in text
    assert not (tmp_path / "runs").exists() and not (tmp_path / "x").exists()


def test_the_engine_is_the_cluster_of_the_environment_unless_said(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    code, text = typed("run", "quickstart", width=200)
    assert code == 2 and "it comes from RAY_ADDRESS in the environment" in text
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    code, text = typed("run", write_tiny(tmp_path), "--out", "out", width=200)
    assert code == 1 and "no Ray cluster answers at 127.0.0.1:9" in text
    assert typed("run", write_tiny(tmp_path), "--out", "out", "--engine", "inline", *FEW)[0] == 0


def test_data_that_cannot_be_had_name_file_address_folder_and_phantom(typed, tmp_path, monkeypatch):
    from fedistill.data.sources import medmnist

    def unreachable(*args, **kwargs):
        raise OSError("network is unreachable")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", unreachable)
    code, text = typed("run", "breast", width=200)
    wanted = medmnist.published_file("breastmnist", 28)
    assert code == 2
    for word in (wanted.url, "breastmnist.npz", str(tmp_path / "medmnist"), "--phantom"):
        assert word in text


def test_a_folder_of_another_simulation(typed, tmp_path):
    one, other = write_tiny(tmp_path), write_tiny(tmp_path, name="other")
    assert typed("run", one, "--engine", "inline", "--out", "out", *FEW)[0] == 0
    before = (tmp_path / "out" / "results.csv").read_bytes()
    code, text = typed("run", other, "--engine", "inline", "--out", "out", *FEW)
    assert code == 2 and "belongs to another simulation" in text
    assert (tmp_path / "out" / "results.csv").read_bytes() == before


@pytest.mark.parametrize(
    "words", [["datasets"], ["sites"], ["simulations"], ["sites", "four"], ["simulations", "breast"]]
)
def test_lists(typed, words):
    code, text = typed(*words, width=80)
    assert code == 0 and len(text.splitlines()) > 2


def test_the_plan_of_a_federation_shows_every_image(typed):
    code, text = typed("sites", "breast-three", "--phantom", width=80)
    assert code == 0 and "546" in text and "university" in text and "held by one site" in text


def test_one_hospital_alone(typed, tmp_path):
    custom_file(tmp_path / "mine.npz")
    words = ["distill", "mine.npz", "--ipc", 1, "--width", 4, "--set", "iterations=1", "--out", "x.safetensors"]
    code, text = typed(*words, width=200)
    assert code == 0 and "2 images of 2 classes from 20" in text
    import fedistill as fd

    rows = fd.evaluate(tmp_path / "x.safetensors", fd.load_dataset(tmp_path / "mine.npz", "test"), width=4, seeds=1)
    assert rows["accuracy"].between(0, 1).all()
    code, text = typed(*words, width=200)
    assert code == 2 and "existing files are never overwritten" in text


def test_a_killed_distillation_goes_on_where_it_was(typed, tmp_path):
    """SIGTERM in the middle of a process; the same command ends with the file of a run that nobody stopped."""
    words = ["distill", "phantom:breast", "--method", "dsa", "--ipc", "1", "--width", "4"]
    words += ["--set", "iterations=60", "--set", "batch_real=8", "--set", "patience=0"]
    whole, stopped = tmp_path / "whole.safetensors", tmp_path / "stopped.safetensors"
    assert typed(*words, "--out", whole)[0] == 0  # here, as it is never stopped

    pipe, alone = subprocess.PIPE, os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fedistill.cli", *words, "--out", str(stopped)]
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=alone)
    assert process.stdout is not None
    assert "/60" in process.stdout.readline()  # it is at work
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "resume" in said
    assert not stopped.exists() and len(list(tmp_path.rglob("checkpoint/*.safetensors"))) == 1

    code, text = typed(*words, "--out", stopped, width=200)
    assert code == 0
    step = int(re.search(r"(\d+)/60", text).group(1))
    assert step > 1  # not from the beginning
    assert stopped.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stopped.safetensors", "whole.safetensors"]


SMALL = ["--set", "federation.images=40", "--set", "width=4", "--set", "networks=1", "--set", "recipe.steps=4"]
SMALL += ["--set", "recipe.max_steps=4", "--set", "audit.steps=2", "--engine", "inline"]


def test_an_audit_of_a_data_set_in_a_narrow_terminal(typed, tmp_path):
    words = ["audit", "phantom:breast", "--method", "full", "--method", "random", "--ipc", "2", "--shadows", "6"]
    code, text = typed(*words, *SMALL)
    assert code == 0
    tables = text[text.index("\nfull\n") :]
    assert "random ipc 2" in tables and "nearest-pixels" in tables and "100.0 (100.0 to 100.0)" in tables
    assert all(len(line) <= 60 for line in tables.splitlines())
    assert (tmp_path / "runs" / "audit-phantom-breast" / "privacy.csv").exists()
    code, text = typed(*words, *SMALL)
    assert code == 0 and "0 distillations, networks and shadows computed" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody"], "nothing to audit called 'nobody'"),
        (["phantom:breast", "--shadows", "7"], "shadows come in pairs"),
        (["phantom:breast", "--method", "dcc"], "there is no scheme 'dcc'"),
        (["phantom:breast", "--site", "nowhere"], "there is no site 'nowhere'"),
        (["phantom:breast", "--method", "central-dc"], "is nothing that one"),
    ],
)
def test_an_audit_that_cannot_be_is_refused_before_any_work(typed, tmp_path, words, message):
    code, text = typed("audit", *words)
    assert code == 2 and message in " ".join(text.split())
    assert not (tmp_path / "runs").exists()
