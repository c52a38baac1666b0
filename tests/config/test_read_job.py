"""A job out of a request is read value by value: whatever somebody wrote there, it is a job or it is refused."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedistill.config.jobs import Job, read_job
from fedistill.errors import SettingError

GOOD = asdict(Job("north", "dm", 0, 0, (1, 10), {}, 1, "convnet", 32, "float32", random_seed=5))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_what_a_server_packs_is_read_as_it_was():
    assert read_job(json.loads(json.dumps(GOOD))) == Job(**GOOD)


@given(st.sampled_from(sorted(GOOD)), ANYTHING)
def test_any_value_anywhere_is_read_or_refused(name, value):
    try:
        job = read_job({**GOOD, name: value})
    except SettingError as error:
        assert "a job of the request" in str(error) and str(error).replace("\n", "").isprintable()
    else:
        assert getattr(job, name) == (tuple(value) if name == "ipcs" else value)


@pytest.mark.parametrize("values", [None, [], {}, {**GOOD, "path": "/etc"}, {k: GOOD[k] for k in list(GOOD)[1:]}])
def test_other_fields_than_a_jobs_are_refused(values):
    with pytest.raises(SettingError, match="other fields"):
        read_job(values)


@pytest.mark.parametrize(
    "change",
    [
        {"draws": 5},  # of a method that draws nothing
        {"scheme": "full"},  # with budgets
        {"ipcs": [1, 1]},
        {"ipcs": list(range(1, 2000))},
        {"settings": {"x": "y" * 100_000}},
    ],
)
def test_what_no_method_could_mean_is_refused(change):
    with pytest.raises(SettingError, match="a job of the request"):
        read_job({**GOOD, **change})
