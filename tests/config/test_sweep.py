"""Sweeps in TOML files: their points, and every mistake as one clear message before any work."""

from pathlib import Path

import pytest
from tiny import write_tiny

from fedistill.config import load_plan, load_simulation
from fedistill.config.sweep import MOST
from fedistill.core.precision import NARROWEST
from fedistill.errors import DataError, UserError

SWEEP = """
[sweep]
"federation.partition" = [{ by = "dirichlet", alpha = 0.5 }, { by = "iid" }]
width = [4, 8]
"""


@pytest.fixture
def swept(tmp_path):
    """Write a simulation with this at its end; its path."""

    def write(text, name="tiny"):
        path = Path(write_tiny(tmp_path, name=name))
        path.write_text(path.read_text() + text)
        return str(path)

    return write


def test_a_file_without_a_sweep_is_one_point(swept):
    plan = load_plan(swept(""))
    assert len(plan.points) == 1 and not plan.sweep and plan.columns() == [{}] and plan.folder_of(0) == ""
    assert plan.first == load_simulation(swept(""))


def test_points_are_the_product_in_the_order_written(swept):
    plan = load_plan(swept(SWEEP))
    assert [(p.simulation.federation.partition.by, p.simulation.width) for p in plan.points] == [
        ("dirichlet", 4), ("dirichlet", 8), ("iid", 4), ("iid", 8),
    ]  # fmt: skip
    assert [p.label for p in plan.points] == [
        "dirichlet alpha=0.5, width=4", "dirichlet alpha=0.5, width=8", "iid, width=4", "iid, width=8",
    ]  # fmt: skip
    assert plan.columns()[1] == {"federation.partition": "dirichlet alpha=0.5", "width": 8}
    assert [plan.folder_of(i) for i in (0, 3)] == ["1-dirichlet-alpha=0.5-width=4", "4-iid-width=8"]
    for point in plan.points:  # and in nothing else
        rest = {"width": 4, "federation": plan.first.federation}
        assert point.simulation.model_copy(update=rest) == plan.first


def test_set_changes_the_base_and_the_sweep(swept):
    changes = ["networks=1", "sweep.width=[2, 3, 5]", "sweep.scheme.dc.lr_img=[1.0, 2.5]"]
    plan = load_plan(swept(SWEEP), changes=changes)
    assert list(plan.sweep) == ["federation.partition", "width", "scheme.dc.lr_img"]
    assert len(plan.points) == 12 and {p.simulation.networks for p in plan.points} == {1}
    assert [p.simulation.scheme["dc"]["lr_img"] for p in plan.points[:2]] == [1.0, 2.5]
    quoted = load_plan(swept(SWEEP), changes=[*changes[:2], "sweep.'scheme.dc.lr_img'=[1.0, 2.5]"])
    assert quoted == plan
    assert not load_plan(swept(SWEEP), changes=["sweep={}"]).sweep


def test_keys_need_no_quotes(swept):
    plan = load_plan(swept("[sweep]\nscheme.dc.iterations = [1, 2]\n"))
    assert [p.simulation.scheme["dc"]["iterations"] for p in plan.points] == [1, 2]
    assert plan.first.scheme["dc"]["outer"] == 2


def test_a_single_simulation_is_not_a_sweep(swept):
    with pytest.raises(UserError, match=r"sweeps over federation\.partition, width: 4 simulations"):
        load_simulation(swept(SWEEP))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("widht = [4, 8]", "at widht=4: there is no setting 'widht'"),
        ("width = []", "the sweep over 'width' has no values"),
        ("width = 4", "a list of one or more"),
        ("width = [4, 4]", "names a value twice"),
        ("width = [4, 4.0]", "names a value twice"),
        ("width = [4, 0]", "at width=0: width is invalid"),
        ("width = [4, 'wide']", "at width=wide: width is invalid"),
        ("'scheme.dc.lr_imgg' = [1.0]", "did you mean 'lr_img'"),
        ("'scheme.dsa.lr_img' = [1.0]", "finds no [scheme.dsa]"),
        ("'scheme.dc.iterations' = [3, -1]", "at iterations=-1: dc: iterations is invalid"),
        ("'width.x' = [3]", "'width' is a value, not a table"),
        ("'federation.partitoin' = [{ by = 'iid' }]", "did you mean 'partition'"),
        ("'federation.site.c.cpus' = [1.0]", "none of the sites"),
        ("'federation.policy.allow_real_images' = [true, false]", "sends real images, which the policy"),
        ("name = ['a', 'b']", "'name' cannot be swept"),
        ("silence_s = [1.0, 2.0]", "'silence_s' cannot be swept"),
        ("'scheme.dc.lr_img' = [1.0]\n'scheme.dc' = [{}, { outer = 1 }]", "would undo the one over 'scheme.dc.lr_img'"),
        ("federation = ['fuor']", "did you mean 'four'"),
        (f"seed = {list(range(MOST + 1))}", f"found: {MOST + 1}"),
        (f"seed = {list(range(20))}\nwidth = {list(range(1, 12))}", "20 x 11 = 220"),
    ],
)
def test_a_mistake_says_what_it_is(swept, lines, message):
    with pytest.raises(UserError) as raised:
        load_plan(swept(f"[sweep]\n{lines}\n"))
    assert message in str(raised.value)
    assert raised.value.exit_code == 2


def test_sweep_is_a_table(swept, tmp_path):
    path = swept("")
    with pytest.raises(UserError, match="sweep is no table"):
        load_plan(path, changes=["sweep=3"])


def test_federations_can_be_swept(swept, tmp_path):
    (tmp_path / "own.toml").write_text(
        "dataset = 'mine.npz'\nsites = ['a']\npolicy = {allow_real_images = true, start = 'real'}\n"
    )
    path = swept("[sweep]\nfederation = ['four', 'own.toml']\n")
    plan = load_plan(path)
    assert [p.simulation.federation.name for p in plan.points] == ["four", "own"]
    assert plan.points[1].simulation.federation.dataset == str(tmp_path / "mine.npz")  # beside the file that names it
    assert plan.columns() == [{"sweep.federation": "four"}, {"sweep.federation": "own"}]
    with pytest.raises(DataError, match="your own file"):
        load_plan(path, phantom=True)
    text = "federation = 'four'\n[scheme.random]\n[sweep]\n'federation.dataset' = ['breastmnist', 'bloodmnist']\n"
    (tmp_path / "sets.toml").write_text(text)
    plan = load_plan(str(tmp_path / "sets.toml"), phantom=True)
    assert plan.sweep == {"federation.dataset": ["phantom:breast", "phantom:blood"]}
    assert [p.simulation.federation.dataset for p in plan.points] == ["phantom:breast", "phantom:blood"]
    (tmp_path / "alone.toml").write_text("[scheme.random]\n[sweep]\nfederation = ['four', 'own.toml']\n")
    assert [len(p.simulation.federation.sites) for p in load_plan(str(tmp_path / "alone.toml")).points] == [4, 1]


def test_points_compute_in_the_same_precision(swept, monkeypatch):
    monkeypatch.setattr("fedistill.core.precision.has_bfloat16", lambda: True)
    wide = NARROWEST
    plan = load_plan(swept(f"[sweep]\nwidth = [{wide}, 4]\n"))
    assert {p.simulation.precision for p in plan.points} == {"bfloat16"}
    both = load_plan(swept("[sweep]\nprecision = ['bfloat16', 'float32']\n"))
    assert [p.simulation.precision for p in both.points] == ["bfloat16", "float32"]
