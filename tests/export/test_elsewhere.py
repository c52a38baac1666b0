"""An exported pool teaches a network outside FeDistill what it taught inside."""

import pytest
from benchmarks.elsewhere import FORMATS, Elsewhere, compare

from fedistill.config import load_plan
from fedistill.study import run as run_study

STUDY = """
ipc = [5]
networks = 5
width = 8
federation = { name = "one", dataset = "phantom:breast", images = 200, sites = ["a", "b"] }
[recipe]
steps = 40
lr = [0.01]
augment = false
[scheme.dc]
iterations = 30
outer = 2
inner = 1
batch_real = 16
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "study.toml").write_text(STUDY)
    return run_study(load_plan(str(folder / "study.toml")), out=folder / "run", engine="inline").root


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_a_plain_loop_reaches_the_table_s_auc_within_its_spread(run, to):
    of = compare(run, scheme="dc", ipc=5, to=to, networks=5)
    assert len(of.table) == len(of.plain) == 5 and min(of.table) > 0.6, "networks that have learned something"
    assert abs(of.difference) <= 2 * of.spread, of


def test_difference_and_spread_are_those_of_the_networks():
    of = Elsewhere((0.5, 0.75), (0.75, 1.0))
    assert of.difference == 0.25 and of.spread == pytest.approx(0.25 / 2**0.5)
