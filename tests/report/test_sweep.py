"""The report on a sweep: every point in the table, a figure over the points."""

from io import StringIO

import pandas as pd
import pytest
from rich.console import Console
from tiny import write_tiny

from fedistill.config import load_plan
from fedistill.report.frames import differing, first_point, sweep_means, swept
from fedistill.report.html.page import write_report
from fedistill.report.run_data import read_run
from fedistill.report.terminal.table import print_comparison
from fedistill.study import run

FEW = ["ipc=[1]", "networks=2", "recipe.lr=0.01", "scheme={full={}, random={}, dc={iterations=1, outer=1, inner=0}}"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    swept = ["sweep.federation.partition=[{by='dirichlet', alpha=0.5}, {by='iid'}]", "sweep.width=[2]"]
    plan = load_plan(write_tiny(folder), changes=[*FEW, "partitions=2", *swept])
    return run(plan, out=folder / "out", engine="inline")


def test_swept_settings_are_what_tells_lines_apart(finished):
    compared = finished.comparison
    assert swept(compared) == ["federation.partition", "width"]
    assert differing(compared) == ["federation.partition", "partition"]
    first = first_point(compared)
    assert list(first["scheme"]) == ["majority", *["full", "random", "dc"] * 2]
    assert set(first["width"].dropna()) == {2}


@pytest.mark.parametrize("width", [60, 120])
def test_the_table_names_every_point(finished, width):
    console = Console(width=width, record=True, file=StringIO())
    print_comparison(read_run(finished.root), console)
    text = console.export_text()
    first, second = (" ".join(part.split()) for part in text.split("federation.partition = ")[1:])
    assert first.startswith("dirichlet alpha=0.5, width = 2 ") and second.startswith("iid, width = 2 ")
    assert first.count(" dc ") == second.count(" dc ") == 2  # one a partition
    assert all(len(line) <= width for line in text.splitlines())


def test_the_page_shows_all_points_and_draws_them(finished):
    page = write_report(finished).read_text()
    assert page.count(">dirichlet alpha=0.5</td>") == 12 and page.count(">iid</td>") == 12  # of quality and of costs
    assert "federation.partition dirichlet alpha=0.5, width 2" in page
    assert (finished.root / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_means_are_over_partitions(finished):
    compared = pd.read_csv(finished.root / "comparison.csv")
    lines = sweep_means(compared)
    assert len(lines) == 2 * 3
    line = lines[(lines["federation.partition"] == "iid") & (lines["scheme"] == "dc")].iloc[0]
    of_it = (compared["federation.partition"] == "iid") & (compared["scheme"] == "dc")
    assert line["auc"] == pytest.approx(compared.loc[of_it, "auc"].mean())
    assert line["auc_spread"] == pytest.approx(compared.loc[of_it, "auc"].std(ddof=1))
