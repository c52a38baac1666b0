"""A policy's floors: what a method may be told before it looks at patients' images."""

import pytest
from pydantic import ValidationError

from fedistill.methods import settings_for
from fedistill.methods.registry import METHODS
from fedistill.privacy.policy.floors import MethodSettings, below_floor, method_settings
from fedistill.privacy.policy.rules import Policy, PolicyRequest, SitePolicy, objection

MADE = sorted(name for name, method in METHODS.items() if not method.real and not name.startswith("dp-"))


def rule(policy, scheme, *, ipc=10, model="convnet", width=32, encoding="uint8", **settings):
    chosen = settings_for(scheme, {"start": "noise", **settings}, ipc=ipc)
    about = method_settings([chosen], model=model, width=width, encoding=encoding)
    objected = objection(policy, PolicyRequest(scheme, per_class=ipc, settings=about, starts=frozenset({"noise"})))
    return None if objected is None else objected.rule


@pytest.mark.parametrize("scheme", MADE)
@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_every_preset_keeps_to_the_defaults_of_a_deployed_site(scheme, ipc):
    """What ships must be allowed where it is meant to run."""
    chosen = settings_for(scheme, {"start": "noise"}, ipc=ipc)
    about = method_settings([chosen], model="convnet", width=32, encoding="uint8")
    assert below_floor(SitePolicy(), about, bounded=False) is None


@pytest.mark.parametrize(
    ("scheme", "change", "expected"),
    [
        *((scheme, {"batch_real": 31}, "smallest_batch") for scheme in ("dc", "dsa", "dm")),
        ("mtt", {"batch_expert": 31}, "smallest_batch"),
        *((scheme, {"clusters": 2, "smallest_cluster": 47}, "smallest_cluster") for scheme in ("dc", "dsa", "dm")),
        *((scheme, {"iterations": 19}, "fewest_iterations") for scheme in MADE),
        *((scheme, {"model": "mlp"}, "models") for scheme in MADE),
        *((scheme, {"width": 256}, "widths") for scheme in MADE),
        *((scheme, {"encoding": "float16"}, "encoding") for scheme in MADE),
        ("dm", {"clusters": 1, "smallest_cluster": 2}, None),  # classes stay whole
        ("mtt", {}, None),  # experts fit their batches to the site, 32 images at least
    ],
)
def test_each_floor_is_named(scheme, change, expected):
    assert rule(SitePolicy(), scheme, **change) == expected


def test_the_least_of_all_budgets_counts():
    chosen = [settings_for("dm", {"ipc": {"1": {"iterations": 3}}}, ipc=ipc) for ipc in (1, 10)]
    assert method_settings(chosen, model="convnet", width=32, encoding="uint8").iterations == 3


def test_a_simulation_has_none_unless_its_file_says():
    assert rule(Policy(), "dm", model="mlp", width=8, encoding="float32", batch_real=1, iterations=1) is None
    assert rule(Policy(smallest_batch=2), "dm", batch_real=1) == "smallest_batch"


def test_under_a_privacy_budget_only_the_networks_shape_is_looked_at():
    low = MethodSettings(batch=1, iterations=1, model="convnet", width=32, encoding="float32")
    assert below_floor(SitePolicy(), low, bounded=True) is None
    assert below_floor(SitePolicy(), MethodSettings(model="mlp", width=32), bounded=True)[0] == "models"


def test_a_class_smaller_than_a_batch_takes_no_part():
    assert Policy(smallest_batch=32, min_class_size=5).least_in_class == 32
    assert Policy(smallest_batch=2, min_class_size=5).least_in_class == 5


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"non_private": "refuse"}, "needs an epsilon_max"),
        ({"epsilon_max": 8.0, "allow_real_images": True}, "take one of them away"),
        ({"models": ["convnets"]}, "did you mean 'convnet'"),
    ],
)
def test_a_policy_that_contradicts_itself_is_no_policy(rules, words):
    with pytest.raises(ValidationError, match=words):
        SitePolicy(**rules)
