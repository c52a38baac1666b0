"""An audit asked for by a few words: what is left of a simulation, and what a data set becomes."""

import pytest
from tiny import write_tiny

from fedistill.config import audited_plan
from fedistill.errors import PlanError

SWEPT = """
[audit]
shadows = 12
steps = 7
[sweep]
"scheme.dc.start" = ["noise", "real"]
"scheme.mtt.lr_img" = [1.0, 10.0]
width = [4, 8]
[rehearsal.audit]
shadows = 6
[rehearsal.scheme.mtt]
syn_steps = 3
"""


@pytest.fixture
def path(tmp_path):
    path = write_tiny(tmp_path)
    with open(path, "a") as file:  # noqa: PTH123
        file.write(SWEPT)
    return path


def test_only_what_is_named_runs(path):
    plan = audited_plan(path, methods=["dc", "dm"], ipc=[2], networks=3)
    assert plan.name == "audit-tiny"
    assert list(plan.sweep) == ["scheme.dc.start", "width"] and len(plan.points) == 4
    first = plan.first
    assert set(first.scheme) == {"dc", "dm"} and first.scheme["dc"]["iterations"] == 2
    assert first.ipc == (2,) and first.audit.ipc == (2,) and set(first.audit.schemes) == {"dc", "dm"}
    assert (first.audit.shadows, first.audit.steps, first.audit.networks) == (12, 7, 3)


def test_what_is_typed_goes_before_what_a_rehearsal_changes(path):
    assert audited_plan(path, methods=["dc"], phantom=True).first.audit.shadows == 6
    plan = audited_plan(path, methods=["dc"], shadows=8, site="b", canaries=True, phantom=True)
    assert (plan.first.audit.shadows, plan.first.audit.site, plan.first.audit.canaries) == (8, "b", ("mislabelled",))
    assert set(plan.first.scheme) == {"dc"}


def test_a_simulation_without_an_audit_gets_one(tmp_path):
    plan = audited_plan(write_tiny(tmp_path))
    assert plan.first.audit.shadows == 32 and set(plan.first.scheme) == {"full", "random", "dc", "mtt"}


def test_a_data_set_is_halved_by_two_hospitals():
    plan = audited_plan("breastmnist", changes=["width=16"], phantom=True)
    first = plan.first
    assert first.name == "audit-breastmnist" and first.federation.dataset == "phantom:breast"
    assert len(first.federation.sites) == 2 and list(first.scheme) == ["dc"] and first.width == 16


@pytest.mark.parametrize("method", ["dp-fedavg", "fedavg", "dpsgd-local"])
def test_of_a_data_set_networks_are_attacked_as_well(method):
    first = audited_plan("phantom:breast", methods=[method]).first
    assert first.audit.schemes_of(first.scheme) == (method,) and list(first.scheme) == [method]


def test_what_is_neither_is_refused():
    with pytest.raises(PlanError, match=r"nothing to audit called 'brestmnist'[\s\S]*did you mean 'breastmnist'"):
        audited_plan("brestmnist")
