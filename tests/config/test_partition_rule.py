"""``partition`` is a checked table: what it cannot say is one message, and what it says is written as it was."""

import pytest

from fedistill.config import Federation, load_plan
from fedistill.config.load import load_federation
from fedistill.config.partition_rule import ByDirichlet
from fedistill.errors import PlanError
from fedistill.study.folder.run_folder import described

SMALL = """
federation = { dataset = "phantom:breast", images = 40, sites = ["a", "b"] }
[scheme.dc]
"""


def with_rule(folder, rule):
    path = folder / "small.toml"
    path.write_text(SMALL)
    return load_plan(str(path), changes=[f"federation.partition={rule}"])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{by='dirichelt', alpha=1}", "'dirichelt'.\n  fix: did you mean 'dirichlet'"),
        ("{by=['iid']}", "there is no partition by \"['iid']\""),
        ("{by=7}", "there is no partition by '7'"),
        ("{seed=1}", "partition does not say by"),
        ("{}", "partition does not say by"),
        ("'iid'", "partition is invalid.\n  expected: a table\n  found: 'iid'"),
        ("{by='iid', seed='x'}", "partition.seed is invalid"),
        ("{by='iid', seed=1.5}", "partition.seed is invalid"),
        ("{by='iid', seed=-1}", "partition.seed is invalid"),
        ("{by='iid', seed=true}", "partition.seed is invalid"),
        ("{by='iid', alpha=1}", "there is no setting 'partition.alpha'"),
        ("{by='dirichlet', alfa=1}", "did you mean 'alpha'"),
        ("{by='dirichlet'}", "'partition.alpha' is missing"),
        ("{by='dirichlet', alpha='1'}", "partition.alpha: a number above 0"),
        ("{by='dirichlet', alpha=1e308}", "at most 1,000,000"),
        ("{by='dirichlet', alpha=[]}", "partition.alpha: a number above 0"),
        ("{by='dirichlet', alpha=[1, 2, 3]}", "partition.alpha has 3 values, and there are 2 sites"),
        ("{by='dirichlet', alpha=1, min_size=0}", "partition.min_size is invalid"),
        ("{by='pathological', classes=1.0}", "partition.classes is invalid"),
        ("{by='shards', shards='2'}", "partition.shards is invalid"),
        ("{by='sizes', sizes=0.5}", "partition.sizes: a list of fractions"),
        ("{by='sizes', sizes=[0.9, 0.2]}", "together at most 1"),
        ("{by='sizes', sizes=[1.0, -0.5]}", "partition.sizes: a list of fractions"),
        ("{by='sizes', sizes=[0.5]}", "partition.sizes has 1 values, and there are 2 sites"),
    ],
)
def test_a_rule_that_cannot_be_is_one_message(tmp_path, rule, message):
    with pytest.raises(PlanError) as raised:
        with_rule(tmp_path, rule)
    assert message in str(raised.value) and raised.value.exit_code == 2
    assert "dirichlet.alpha" not in str(raised.value)


def test_a_federation_s_own_file_is_checked_as_well(tmp_path):
    (tmp_path / "own.toml").write_text("dataset = 'phantom:breast'\nsites = 2\npartition = { by = 'idd' }\n")
    with pytest.raises(PlanError, match="there is no partition by 'idd'"):
        load_federation(str(tmp_path / "own.toml"))


@pytest.mark.parametrize(
    "written", ["{ by='dirichlet', alpha=1, seed=3 }", "{ by='sizes', sizes=[0.5, 0.25] }", "{ by='iid' }"]
)
def test_a_rule_is_written_as_its_file_has_it(tmp_path, written):
    plan = with_rule(tmp_path, written)
    text = described(plan)
    rule = text.partition("[federation.partition]\n")[2].partition("\n\n")[0].replace(" ", "").replace("\n", "")
    assert (
        rule.replace("[", "")
        .replace("]", "")
        .replace(",", "")
        .startswith(
            written.strip("{} ").replace("'", '"').replace(", ", "").replace("[", "").replace("]", "").replace(",", "")
        )
    ), text
    again = Federation.model_validate_json(plan.first.federation.model_dump_json(), strict=False)
    assert again == plan.first.federation and again.model_dump_json() == plan.first.federation.model_dump_json()


def test_a_rule_is_handed_on_as_numbers_and_lists():
    rule = ByDirichlet(by="dirichlet", alpha=[1, 2.5], seed=4)
    assert rule.described() == {"by": "dirichlet", "alpha": [1, 2.5]} and rule.seed == 4
    assert isinstance(rule.described()["alpha"][0], int)
