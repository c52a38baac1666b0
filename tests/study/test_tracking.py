"""What a run says is copied to other programs' files; the programs are stood in for where they are not installed."""

import sys
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from importing.folders import picture, save

from fedistill.core.events import Event
from fedistill.errors import DataError, SettingError
from fedistill.study.tracking import track_words, tracking

EVENTS = [
    Event("distilling", site="north", job="dc seed 0", step=3, loss=0.5),
    Event("distilling", site="north", job="dc seed 0", step=4, loss=float("nan"), validation_auc=0.75),
    Event("scored", job="dc ipc 1"),
]


@pytest.fixture
def finished(tmp_path):
    save(tmp_path / "run" / "grids" / "north.png", picture(0))
    rows = [{"scheme": "majority", "auc": 0.5}, {"scheme": "dc", "ipc": 1, "auc": 0.9, "accuracy": float("nan")}]
    return SimpleNamespace(root=tmp_path / "run", comparison=pd.DataFrame(rows).astype({"ipc": "Int64"}))


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
    with tracking([f"mlflow={tmp_path / 'logs'}"], "mine") as [tracker]:
        for event in EVENTS:
            tracker(event)
        tracker.finish(finished)
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
    with tracking([f"wandb={tmp_path / 'logs'}"], "mine") as [tracker]:
        tracker(EVENTS[0])
        tracker.finish(finished)
    assert calls[0][2]["mode"] == "offline" and calls[-1][0] == "finish"
    assert ("log", ({"north/dc seed 0/loss": 0.5, "north/dc seed 0/loss/step": 3},), {}) in calls


def test_files_of_tensorboard(tmp_path, finished):
    pytest.importorskip("tensorboard")
    with tracking([f"tensorboard={tmp_path / 'logs'}"], "mine") as [tracker]:
        for event in EVENTS:
            tracker(event)
        tracker.finish(finished)
    assert b"validation_auc" in next((tmp_path / "logs" / "mine").iterdir()).read_bytes()


def test_a_tracker_is_closed_when_a_run_fails(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "mlflow", Recorder("mlflow", calls))
    with pytest.raises(KeyError), tracking([f"mlflow={tmp_path / 'logs'}"], "mine"):
        raise KeyError
    assert calls[-1][0] == "end_run"


@pytest.mark.parametrize(
    ("word", "message"),
    [("tensorbord=x", "did you mean 'tensorboard'"), ("mlflow", "mlflow=DIR"), ("wandb=", "wandb=DIR")],
)
def test_words_that_are_no_trackers(word, message):
    with pytest.raises(SettingError, match=message):
        track_words([word])


def test_a_package_that_is_missing_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(DataError, match=r"fedistill\[mlflow\]"), tracking([f"mlflow={tmp_path}"], "mine"):
        pass
