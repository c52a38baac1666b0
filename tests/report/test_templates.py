"""Templates, style and script are files of the package: a wheel has them, and what has not says so."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hatchling.builders.wheel import WheelBuilder
from tiny import write_tiny

from fedistill import app
from fedistill.report.html import render

ROOT = Path(__file__).parents[2]
FILES = {"frame.html", "pieces.html", "run.html", "runs.html", "page.css", "page.js"}


def test_a_wheel_holds_the_templates(tmp_path):
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as packed:
        names = {Path(name).name for name in packed.namelist() if "/html/templates/" in name}
    assert names == FILES == {path.name for path in (ROOT / "fedistill/report/html/templates").iterdir()}
    assert render.has_templates()


def test_a_run_where_the_templates_are_not_ends_well_and_says_how_to_get_its_report(tmp_path, monkeypatch, caplog):
    """As under `flwr run`, whose bundle of this code takes Python and TOML alone."""
    monkeypatch.setattr(app, "has_templates", lambda: False)
    monkeypatch.setattr(app, "run_on", lambda *args, **more: SimpleNamespace(root=tmp_path / "out"))
    monkeypatch.setattr(app, "write_report", lambda finished: pytest.fail("there is nothing to write it with"))
    _, conduct = app._prepare({"simulation": write_tiny(tmp_path), "out": str(tmp_path / "out")})
    conduct(None)
    assert f"fedistill report {tmp_path / 'out'}" in caplog.text
