"""The page on several runs: all of them named, phantoms and real images apart, the indicator where there are enough."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import write_tiny

from fedistill.config import load_plan
from fedistill.errors import RunFolderError, SettingError
from fedistill.report.html.compare import compare, names_of, page, pieces_of
from fedistill.report.run_data import read_run
from fedistill.study import run

pytestmark = pytest.mark.slow

FEW = ["ipc=[1]", "networks=2", "recipe.lr=0.01", "scheme={full={}, random={}, dm={iterations=2, early_steps=4}}"]
SETS = ("phantom:breast", "phantom:pneumonia", "phantom:oct")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> list[Path]:
    """Runs on three phantoms, alike but for the data."""
    root = tmp_path_factory.mktemp("drawn")
    path = write_tiny(root)
    return [
        run(
            load_plan(path, changes=[*FEW, f"federation.dataset='{name}'"]),
            out=root / name.removeprefix("phantom:"),
            engine="inline",
        ).root
        for name in SETS
    ]


def parts(html):
    """What stands in each section, by its name."""
    return dict(re.findall(r'<section id="([\w-]+)">(.*?)</section>', html, re.DOTALL))


def test_phantoms_and_real_images_never_share_a_figure_or_a_table(drawn, hostile):
    found = parts(page([hostile, *drawn]))
    assert list(found) == ["runs", "real", "phantom"]
    assert "phantom" not in found["real"].lower()
    assert "out</td>" not in found["phantom"] and "banner" in found["phantom"] and "banner" not in found["real"]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", found["phantom"], re.DOTALL)
    assert captions and all(caption.startswith("<strong>Phantoms.</strong>") for caption in captions)
    assert {name: found["runs"].count(f">{name}</td>") for name in SETS} == dict.fromkeys(SETS, 1)


def test_a_sweep_over_both_is_parted_by_its_points(hostile):
    recorded = read_run(hostile)
    other = load_plan(write_tiny(hostile.parent, name="half")).first.model_copy(update={"name": "hostile"})
    first = recorded.plan.points[0]
    points = (replace(first, values={"width": 4}), replace(first, values={"width": 8}, simulation=other))
    frames = [recorded.compared.assign(width=width) for width in ("4", "8")]
    several_points = frames[0][frames[0]["scheme"] == "majority"], *[f[f["scheme"] != "majority"] for f in frames]
    import pandas as pd

    compared = pd.concat(several_points, ignore_index=True)
    compared.insert(0, "width", compared.pop("width"))
    plan = replace(recorded.plan, points=points, sweep={"width": [4, 8]})
    pieces = pieces_of("both", replace(recorded, plan=plan, compared=compared))
    assert [(piece.point, piece.phantom) for piece in pieces] == [("width=4", False), ("width=8", True)]
    assert all(len(piece.lines) == len(pieces[0].lines) > 0 for piece in pieces)


def test_the_indicator_stands_where_three_sets_are_alike(drawn):
    assert "foretell" not in page(drawn[:2])
    html = page(drawn)
    assert "Does a random subset foretell" in html and re.search(r"<h4>dm, AUC: r = -?\d\.\d\d \(", html)
    assert "breast " in html and "3 sets" in html


def test_an_unfinished_run_is_named_as_one(drawn, tmp_path):
    (tmp_path / "begun").mkdir()
    shutil.copy(drawn[0] / "simulation.toml", tmp_path / "begun" / "simulation.toml")
    html = page([drawn[0], tmp_path / "begun"])
    assert "not finished</td>" in html and "begun is not finished" in html and str(tmp_path) not in html
    with pytest.raises(RunFolderError, match="no run of FeDistill"):
        page([drawn[0], tmp_path])


def test_names_tell_runs_apart():
    assert names_of([Path("/a/x"), Path("/b/x"), Path("/b/y")]) == ["a/x", "b/x", "y"]


def test_nobodys_file_is_overwritten(drawn, tmp_path):
    ours, theirs = tmp_path / "page.html", tmp_path / "letter.html"
    assert compare(drawn[:2], ours) == ours and compare(drawn, ours) == ours
    theirs.write_text("Dear Sir")
    with pytest.raises(RunFolderError, match="there already"):
        compare(drawn, theirs)
    assert theirs.read_text() == "Dear Sir"
    with pytest.raises(SettingError, match="named twice"):
        compare([drawn[0], drawn[0]], ours)
