"""An exported pool teaches a network outside FeDistill what it taught inside."""

import pytest
from benchmarks.elsewhere import FORMATS, Elsewhere, compare

import fedistill as fd

STUDY = """
ipc = [5]
networks = 5
width = 8
federation = { name = "one", dataset = "phantom:breast", sites = ["a", "b"] }
[recipe]
steps = 60
lr = [0.01]
augment = false
[scheme.dm]
iterations = 100
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "study.toml").write_text(STUDY)
    fd.run_simulation(str(folder / "study.toml"), out=folder / "run", engine="inline")
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
def test_a_plain_loop_reaches_the_table_s_auc_within_its_spread(run, to):
    of = compare(run, scheme="dm", ipc=5, to=to, networks=5)
    assert len(of.table) == len(of.plain) == 5 and min(of.table) > 0.6, "networks that have learned something"
    assert abs(of.difference) <= 2 * of.spread, of


def test_difference_and_spread_are_those_of_the_networks():
    of = Elsewhere((0.5, 0.75), (0.75, 1.0))
    assert of.difference == 0.25 and of.spread == pytest.approx(0.25 / 2**0.5)
