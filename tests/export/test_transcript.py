"""From a hospital's files to a report and to predictions on new files, by the commands that the READMEs name."""

import pandas as pd
import pytest
from export.study import hospital, write_study

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["dcm", "png"])
def test_from_files_and_a_table_to_predictions(typed, tmp_path, monkeypatch, kind):
    if kind == "dcm":
        pytest.importorskip("pydicom")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    hospital(tmp_path, kind=kind)
    words = ["--image-column", "file", "--label-column", "finding"]
    code, text = typed("import", "findings.csv", "--out", "thorax.npz", *words)
    assert code == 0 and "splits: as given" in text and "thorax.card.md" in text
    code, text = typed("check", "thorax.npz")
    assert code == 0 and "nothing is wrong with it" in text and "28 x 28 pixels, grey" in text
    write_study(tmp_path, "thorax.npz")
    code, text = typed("run", "mine.toml", "--engine", "inline")
    assert code == 0 and (tmp_path / "runs" / "mine" / "report.html").is_file()
    code, text = typed("train", "runs/mine", "--scheme", "dc", "--ipc", 2, "--out", "model.safetensors")
    assert code == 0
    code, text = typed("apply", "model.safetensors", "thorax.npz", "--out", "test.csv")
    rows = pd.read_csv("runs/mine/results.csv")
    rows = rows[(rows["scheme"] == "dc") & (rows["ipc"] == 2) & (rows["seed"] == 0)]
    assert code == 0 and f"auc {100 * rows['auc'].mean():.4f}" in text
    new = sorted((tmp_path / "files").glob("test*"))[:4]
    code, text = typed("apply", "model.safetensors", *new, "--out", "new.csv")
    by_file, by_set = pd.read_csv("new.csv"), pd.read_csv("test.csv")
    assert code == 0 and len(by_file) == 4
    assert (by_file.iloc[:, 1:4].to_numpy() == by_set.iloc[:4, 1:4].to_numpy()).all()
    code, _ = typed("export", "runs/mine", "--scheme", "dc", "--ipc", 2, "--to", "png", "--out", "pool")
    assert code == 0 and len(list((tmp_path / "pool" / "images").iterdir())) == 8
