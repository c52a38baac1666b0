"""What a run says is copied to other programs' files; the programs are stood in for where they are not installed."""

import sys
from types import ModuleType

import pandas as pd
import pytest
from importing.folders import picture, save
from tiny import same, write_tiny

from fedistill.cli.main import main
from fedistill.config import load_plan
from fedistill.config.track import PROGRAMS, track_words
from fedistill.consent.study import canonical, hash_of, load_study
from fedistill.core.events import Event
from fedistill.errors import DataError, PlanError, SettingError
from fedistill.study import run
from fedistill.study.tracking import TRACKERS, line_name, tracking

EVENTS = [
    Event("distilling", site="north", job="dc seed 0", step=3, loss=0.5),
    Event("distilling", site="north", job="dc seed 0", step=4, loss=float("nan"), validation_auc=0.75),
    Event("scored", job="dc ipc 1"),
]


@pytest.fixture
def finished(tmp_path):
    save(tmp_path / "run" / "grids" / "north.png", picture(0))
    columns = ["partition", "recipe", "model", "scheme", "ipc", "rounds", "left_out"]
    columns += ["auc", "accuracy", "balanced_accuracy"]
    rows = [
        (None, None, None, "majority", None, None, None, 0.5, None, None),
        (0, "common", "convnet", "dc", 1, None, "", 0.9, None, None),
    ]
    comparison = pd.DataFrame(rows, columns=columns).astype({"ipc": "Int64", "rounds": "Int64"})
    return tmp_path / "run", comparison


class Recorder(ModuleType):
    """A module each of whose functions writes down its calls."""

    def __init__(self, name, calls):
        super().__init__(name)
        self._calls = calls

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)

        def called(*args, **more):
            self._calls.append((name, args, more))
            return self

        return called


def test_curves_tables_and_pictures_reach_mlflow(tmp_path, monkeypatch, finished):
    calls = []
    monkeypatch.setitem(sys.modules, "mlflow", Recorder("mlflow", calls))
    with tracking({"mlflow": str(tmp_path / "logs")}, "mine") as [tracker]:
        for event in EVENTS:
            tracker(event)
        tracker.finish(*finished)
    metrics = [(args, more) for name, args, more in calls if name == "log_metric"]
    assert metrics == [
        (("north/dc seed 0/loss", 0.5), {"step": 3}),
        (("north/dc seed 0/validation_auc", 0.75), {"step": 4}),
        (("comparison/majority/auc", 0.5), {"step": 0}),
        (("comparison/dc ipc 1/auc", 0.9), {"step": 0}),
    ]
    assert [name for name, *_ in calls][:3] == ["set_tracking_uri", "set_experiment", "start_run"]
    assert calls[0][1][0].startswith("file:") and [name for name, *_ in calls][-2:] == ["log_artifact", "end_run"]


def test_weights_and_biases_stays_offline(tmp_path, monkeypatch, finished):
    calls = []
    monkeypatch.setitem(sys.modules, "wandb", Recorder("wandb", calls))
    with tracking({"wandb": str(tmp_path / "logs")}, "mine") as [tracker]:
        tracker(EVENTS[0])
        tracker.finish(*finished)
    assert calls[0][2]["mode"] == "offline" and calls[-1][0] == "finish"
    assert ("log", ({"north/dc seed 0/loss": 0.5, "north/dc seed 0/loss/step": 3},), {}) in calls


def test_files_of_tensorboard(tmp_path, finished):
    pytest.importorskip("tensorboard")
    with tracking({"tensorboard": str(tmp_path / "logs")}, "mine") as [tracker]:
        for event in EVENTS:
            tracker(event)
        tracker.finish(*finished)
    assert b"validation_auc" in next((tmp_path / "logs" / "mine").iterdir()).read_bytes()


def test_a_tracker_is_closed_when_a_run_fails(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "mlflow", Recorder("mlflow", calls))
    with pytest.raises(KeyError), tracking({"mlflow": str(tmp_path / "logs")}, "mine"):
        raise KeyError
    assert calls[-1][0] == "end_run"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tensorbord=x", "did you mean 'tensorboard'"),
        ("mlflow", "mlflow=DIR"),
        ("wandb=", "wandb=DIR"),
        ("mlflow=twice", "mlflow twice"),
    ],
)
def test_words_that_are_no_trackers(word, message):
    with pytest.raises(SettingError, match=message):
        track_words(["mlflow=x", word] if "twice" in word else [word])


def test_a_package_that_is_missing_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(DataError, match=r"fedistill\[mlflow\]"), tracking({"mlflow": str(tmp_path)}, "mine"):
        pass


def test_every_line_of_a_table_has_a_curve_of_its_own():
    rows = [
        {"scheme": "fedavg", "ipc": None, "rounds": 1, "left_out": "", "recipe": "common", "width": 8},
        {"scheme": "fedavg", "ipc": None, "rounds": 5, "left_out": "", "recipe": "common", "width": 8},
        {"scheme": "dc", "ipc": 1, "rounds": None, "left_out": "", "recipe": "common", "width": 8},
        {"scheme": "dc", "ipc": 1, "rounds": None, "left_out": "a", "recipe": "common", "width": 8},
        {"scheme": "dc", "ipc": 1, "rounds": None, "left_out": "", "recipe": "native", "width": 8},
        {"scheme": "dc", "ipc": 1, "rounds": None, "left_out": "", "recipe": "native", "width": 16},
    ]
    names = [line_name(row, ["width", "recipe"]) for row in rows]
    assert len(set(names)) == len(rows) and names[1] == "fedavg rounds 5, width 8, recipe common"


def test_the_file_and_the_trackers_know_the_same_programs():
    assert tuple(TRACKERS) == PROGRAMS


def test_a_files_folder_starts_from_the_file_and_a_typed_one_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    more = "track = { tensorboard = 'logs', mlflow = '/srv/mlflow', wandb = '$TEAM/wandb' }"
    path = write_tiny(tmp_path / "studies", more=more)
    folders = {"tensorboard": str(tmp_path / "studies" / "logs"), "mlflow": "/srv/mlflow", "wandb": "$TEAM/wandb"}
    assert load_plan(path).track == folders
    typed = load_plan(path, changes=["track.tensorboard=logs"]).track
    assert typed == folders | {"tensorboard": str(tmp_path / "logs")}
    assert load_plan(path, changes=["track={}"]).track == {}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("track = { tensorbord = 'x' }", "did you mean 'tensorboard'"),
        ("track = { mlflow = '' }", "mlflow is invalid.\n  expected: a text that is not empty"),
        ("track = { mlflow = 3 }", "mlflow is invalid.\n  expected: a text"),
        ("track = 'mlflow'", "track is invalid.\n  expected: a table"),
        ("sweep = { 'track.mlflow' = ['a', 'b'] }", "'track'"),
    ],
)
def test_tables_that_track_nothing(tmp_path, more, message):
    with pytest.raises(PlanError, match=message):
        load_plan(write_tiny(tmp_path, more=more))


def test_a_variable_is_looked_up_where_the_run_is(tmp_path, monkeypatch):
    """The hospitals that read the study's file need not have it."""
    monkeypatch.delenv("TEAM", raising=False)
    with pytest.raises(PlanError, match="export TEAM=FOLDER"), tracking({"mlflow": "$TEAM/logs"}, "mine"):
        pass
    monkeypatch.setenv("TEAM", str(tmp_path))
    calls = []
    monkeypatch.setitem(sys.modules, "mlflow", Recorder("mlflow", calls))
    with tracking({"mlflow": "$TEAM/logs"}, "mine"):
        pass
    assert calls[0][1] == ((tmp_path / "logs").as_uri(),)


def test_tracking_is_no_part_of_what_is_computed_or_agreed_to(tmp_path):
    """Jobs, keys of the store and rows come from the simulation alone, and a study's HASH from its canonical text."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "tracked").mkdir()
    plain = write_tiny(tmp_path / "plain")
    tracked = write_tiny(tmp_path / "tracked", more="track = { wandb = '$NOT_SET/x' }")
    assert load_plan(tracked).track and load_plan(plain).points == load_plan(tracked).points
    changes = ["scheme={dc={iterations=2}}"]
    one, other = (canonical(load_study(path, changes=changes)) for path in (plain, tracked))
    assert one == other and hash_of(one) == hash_of(other) and "track" not in other


def test_a_run_is_copied_and_the_store_has_all_that_it_needs(tmp_path, monkeypatch):
    """The keys of the store are those of the run that was not tracked, and so are the rows."""
    calls = []
    monkeypatch.setitem(sys.modules, "mlflow", Recorder("mlflow", calls))
    path, changes = write_tiny(tmp_path), ["scheme={random={}}", "ipc=1", "networks=1"]
    where = {"engine": "inline", "cache": tmp_path / "cache"}
    plain = run(load_plan(path, changes=changes), out=tmp_path / "plain", **where)
    assert plain.computed and not calls
    typed = [*changes, f"track.mlflow={tmp_path / 'logs'}"]
    tracked = run(load_plan(path, changes=typed), out=tmp_path / "tracked", **where)
    assert tracked.computed == 0 and tracked.found == plain.computed
    same(plain.rows, tracked.rows)
    assert (tmp_path / "plain/simulation.toml").read_text() == (tmp_path / "tracked/simulation.toml").read_text()
    assert "comparison/random ipc 1/auc" in {args[0] for name, args, _ in calls if name == "log_metric"}
    assert [name for name, *_ in calls][-2:] == ["log_artifact", "end_run"]


@pytest.mark.parametrize("words", [["--track", "mlflow=logs"], ["--set", "track.mlflow=logs"]])
def test_what_is_missing_ends_with_2_before_any_work(tmp_path, monkeypatch, capsys, words):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.chdir(tmp_path)
    path = write_tiny(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fedistill", "run", path, "--out", "run", "--engine", "inline", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "fedistill[mlflow]" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
