"""A site's rules: what each forbids, and that what all of them let pass breaks none."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedistill.core.accounting import Mechanism, PrivacyCost, sigma_for
from fedistill.errors import PolicyError
from fedistill.methods.engine.method import SyntheticSet
from fedistill.methods.engine.start import STARTS
from fedistill.privacy.accounting.budget import spent
from fedistill.privacy.policy.release_check import PROMISE, check_release, rules_kept
from fedistill.privacy.policy.rules import TELLS, Policy, PolicyRequest, check_request, objection
from fedistill.release.release import Packed, Release, pack

ALLOWED = Policy(allow_real_images=True, allow_weights=True, start="real")


def cost(epsilon):
    return PrivacyCost(Mechanism(sigma_for(epsilon=epsilon, delta=1e-5)), epsilon, 1e-5)


@pytest.mark.parametrize(
    ("policy", "asked", "rule"),
    [
        (Policy(), PolicyRequest("random", real=True, per_class=1), "allow_real_images"),
        (Policy(), PolicyRequest("fedavg", sends="networks"), "allow_weights"),
        (Policy(), PolicyRequest("mtt", starts=frozenset({"noise", "real"}), per_class=1), "start"),
        (Policy(), PolicyRequest("tdm", starts=frozenset({"mean"}), per_class=1), "start"),
        (Policy(), PolicyRequest("tdm", starts=frozenset({"gaussian"}), per_class=1), "start"),
        (Policy(start="mean"), PolicyRequest("tdm", starts=frozenset({"real"}), per_class=1), "start"),
        (Policy(max_ipc=5), PolicyRequest("dc", per_class=6), "max_ipc"),
        (Policy(allow_real_images=True, max_ipc=5), PolicyRequest("full", real=True, per_class=None), "max_ipc"),
        (
            Policy(allow_real_images=True, share_counts="none"),
            PolicyRequest("full", real=True, per_class=None),
            "share_counts",
        ),
        (Policy(epsilon_max=8.0), PolicyRequest("dc", per_class=1), "epsilon_max"),
        (Policy(epsilon_max=8.0, allow_weights=True), PolicyRequest("fedavg", sends="networks"), "epsilon_max"),
        (Policy(non_private="refuse"), PolicyRequest("dc", per_class=1), "non_private"),
        (
            Policy(epsilon_max=8.0),
            PolicyRequest("dp-dm", per_class=1, private=True, costs=(cost(9.0),)),
            "epsilon_max",
        ),
        (
            Policy(epsilon_max=8.0),
            PolicyRequest("dp-dm", per_class=1, private=True, costs=(cost(5.0),) * 3),
            "epsilon_max",
        ),
        (Policy(proximity="refuse"), PolicyRequest("dc", per_class=1, held_out=False), "proximity"),
        (Policy(proximity="warn"), PolicyRequest("dc", per_class=1, held_out=False), "proximity"),
    ],
)
def test_each_rule_forbids_by_its_name(policy, asked, rule):
    with pytest.raises(PolicyError, match=rf"forbids '{asked.scheme}': it .*\(rule {rule}\)"):
        check_request(policy, asked)


@pytest.mark.parametrize(
    ("policy", "asked"),
    [
        (Policy(), PolicyRequest("dc", starts=frozenset({"noise"}), per_class=50)),
        (ALLOWED, PolicyRequest("full", real=True, per_class=None)),
        (Policy(max_ipc=5), PolicyRequest("dc", per_class=5)),
        (Policy(start="mean"), PolicyRequest("tdm", starts=frozenset({"gaussian", "mean"}), per_class=1)),
        (Policy(epsilon_max=8.0), PolicyRequest("dp-dm", per_class=1, private=True, costs=(cost(8.0),))),
        (Policy(epsilon_max=8.0, non_private="allow"), PolicyRequest("dc", per_class=1)),
        (Policy(epsilon_max=8.0, allow_weights=True), PolicyRequest("dp-fedavg", sends="networks", private=True)),
        (Policy(proximity="refuse"), PolicyRequest("dp-dm", per_class=1, private=True, held_out=False)),
        (Policy(share_counts="none", allow_real_images=True), PolicyRequest("random", real=True, per_class=5)),
    ],
)
def test_what_no_rule_forbids_may_run(policy, asked):
    assert objection(policy, asked) is None


POLICIES = st.builds(
    Policy,
    allow_real_images=st.booleans(),
    allow_weights=st.booleans(),
    start=st.sampled_from(TELLS),
    max_ipc=st.none() | st.integers(1, 20),
    share_counts=st.sampled_from(["exact", "rounded", "none"]),
    epsilon_max=st.none() | st.floats(0.5, 20),
    non_private=st.sampled_from([None, "allow", "refuse"]),
    proximity=st.sampled_from(["off", "warn", "refuse"]),
)
REQUESTS = st.builds(
    PolicyRequest,
    st.just("any"),
    sends=st.sampled_from(["images", "networks"]),
    real=st.booleans(),
    starts=st.frozensets(st.sampled_from(STARTS)),
    per_class=st.none() | st.integers(1, 30),
    private=st.booleans(),
    costs=st.lists(st.sampled_from([1.0, 4.0, 9.0]).map(cost), max_size=3).map(tuple),
    held_out=st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(POLICIES, REQUESTS)
def test_what_is_let_pass_breaks_no_rule(policy, asked):
    if objection(policy, asked) is not None:
        return
    images = asked.sends == "images"
    assert policy.allow_real_images or not asked.real
    assert policy.allow_weights or images
    assert policy.start == "real" or "real" not in asked.starts
    assert policy.start != "noise" or asked.starts <= {"noise"}
    assert asked.private or (policy.non_private == "allow" or (policy.non_private is None and not policy.epsilon_max))
    if images and policy.max_ipc is not None:
        assert asked.per_class is not None and asked.per_class <= policy.max_ipc
    if images and policy.share_counts != "exact":
        assert asked.per_class is not None
    if policy.epsilon_max is not None:
        assert spent(asked.costs, delta=policy.delta) <= policy.epsilon_max * (1 + 1e-5)


@settings(max_examples=100, deadline=None)
@given(POLICIES, REQUESTS)
def test_a_stricter_policy_lets_no_more_pass(policy, asked):
    stricter = policy.model_copy(
        update={"allow_real_images": False, "start": "noise", "max_ipc": 1, "epsilon_max": 0.5}
    )
    assert objection(policy, asked) is None or objection(stricter, asked) is not None


def release(scheme="dc", *, ipc=2, labels=(0, 0, 1, 1), start="noise", draw=None, privacy="", **changes):
    n = len(labels)
    made = SyntheticSet(torch.linspace(-1, 1, n).view(n, 1, 1, 1).repeat(1, 1, 4, 4), torch.tensor(labels), ipc)
    packed = pack(made, real=False)
    packed = replace(packed, draw=None if draw is None else torch.tensor(draw))
    about = {"settings": {str(ipc): {"start": start}}}
    return replace(Release("a", scheme, 0, False, {ipc: packed}, provenance=about, privacy=privacy), **changes)


def refused(policy, made, rule, *, small=frozenset(), apart=False):
    with pytest.raises(PolicyError, match=rf"\(rule {rule}\)"):
        check_release(policy, made, small=small, apart=apart)


def test_a_release_is_looked_at_whatever_was_asked():
    check_release(Policy(), release(), small=frozenset())
    refused(Policy(), release(start="real"), "start")
    refused(Policy(max_ipc=2), release(ipc=3), "max_ipc")
    refused(Policy(max_ipc=2), release(labels=(0, 0, 0, 1)), "max_ipc")  # more than it says
    refused(Policy(min_class_size=5), release(), "min_class_size", small=frozenset({1}))
    check_release(Policy(min_class_size=5), release(), small=frozenset({2}))
    refused(Policy(non_private="refuse"), release(), "non_private")


def test_real_images_cannot_go_by_another_name():
    refused(ALLOWED, release("full", labels=(0, 1)), "allow_real_images")  # a method of real images says they are not
    refused(Policy(), release("dc", real=True), "allow_real_images")
    refused(Policy(), release("random", real=True), "allow_real_images")
    check_release(ALLOWED, release("random", real=True), small=frozenset())


def test_a_private_release_says_what_its_bound_is():
    check_release(Policy(epsilon_max=1.0), release("dp-dm", privacy=f"{PROMISE}1 at ..."), small=frozenset({0}))
    refused(Policy(), release("dp-dm", privacy="Nothing is known."), "non_private")


@pytest.mark.parametrize("part", ["scale", "offset", "lr"])
def test_no_number_that_is_none_leaves(part):
    made = release()
    broken = replace(made.sets[2], lr=torch.ones(1))
    getattr(broken, part).fill_(float("nan"))
    refused(ALLOWED, replace(made, sets={2: broken}), "finite numbers")


def test_draws_count_together_where_they_leave_together():
    drawn = release("random", real=True, ipc=1, labels=(0, 1, 0, 1), draw=(0, 0, 1, 1))
    check_release(ALLOWED.model_copy(update={"max_ipc": 1}), drawn, small=frozenset(), apart=True)
    refused(ALLOWED.model_copy(update={"max_ipc": 1}), drawn, "max_ipc")


def test_real_images_do_not_tell_how_many_there_are():
    quiet = ALLOWED.model_copy(update={"share_counts": "rounded"})
    check_release(quiet, release("random", real=True), small=frozenset())
    refused(quiet, release("random", real=True, labels=(0, 0, 1)), "share_counts")
    refused(quiet, release("random", real=True, labels=(0, 0, 1), draw=(0, 0, 1)), "share_counts")
    check_release(quiet, release("random", real=True, labels=(1, 1)), small=frozenset())  # a class it lacks is no count


def test_several_labels_an_image():
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    one = release("random", real=True)
    several = replace(one, sets={2: Packed(one.sets[2].images, one.sets[2].scale, one.sets[2].offset, labels)})
    strict = ALLOWED.model_copy(update={"max_ipc": 2, "share_counts": "none"})
    check_release(strict, several, small=frozenset())  # two a label, in all
    refused(strict, several, "min_class_size", small=frozenset({1}))


def test_the_statement_names_the_rules_and_the_unit():
    policy = Policy(min_class_size=5, proximity="refuse")
    assert rules_kept(Policy(), unit="image", private=False, real=False) == ""
    said = rules_kept(policy, unit="patient", private=False, real=False)
    assert "fewer than 5 patients" in said and "a screen, not a guarantee" in said
    private = rules_kept(policy, unit="image", private=True, real=False)
    assert "noisy count tells of at least 5 images" in private and "No screen for copies was applied" in private
