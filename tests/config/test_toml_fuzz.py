"""Whatever a TOML file or ``--set`` says, it is a plan or a user's error, and a few words of it take little memory."""

import copy
import tomllib

import pytest
import tomli_w
from fuzz import fuzzed, letters, memory_within, spoilt, values
from hypothesis import given
from hypothesis import strategies as st

from fedistill.config import load_federation, load_plan
from fedistill.config.find import LARGEST_FILE, find
from fedistill.core.limits import DEEPEST
from fedistill.errors import FedistillError, PlanError
from fedistill.study.folder.run_folder import described

WHOLE = b"""
networks = 2
width = 4
ipc = [1, 2]
seeds = 1
min_sites = 1
models = ["convnet"]
[federation]
name = "two"
dataset = "phantom:breast"
images = 60
sites = ["a", "b"]
held_out = 0.1
partition = { by = "dirichlet", alpha = 0.5, seed = 0 }
policy = { allow_real_images = true, start = "real" }
[federation.site.a]
cpus = 1.0
scanner = { gain = 1.1 }
[recipe]
steps = 4
lr = [0.01, 0.03]
[scheme.full]
[scheme.dc]
iterations = 2
[scheme.dc.ipc.1]
lr_img = 1.0
[sweep]
width = [4, 8]
"""
TABLE = tomllib.loads(WHOLE.decode())


def paths(table, before=()):
    """Every key in it, as the keys that lead there."""
    for name, value in table.items():
        yield (*before, name)
        if isinstance(value, dict):
            yield from paths(value, (*before, name))


PATHS = [*paths(TABLE), ("audit",), ("leave_out",), ("seed",), ("rehearsal",), ("recipe", "max_steps"), ("recipes",)]


def writable(value):
    try:
        tomli_w.dumps({"x": value}).encode()
    except (TypeError, ValueError):
        return False
    return True


@pytest.fixture
def taken(tmp_path):
    def taken(content, *changes):
        """Whether it was taken; then it is written as a run folder has it."""
        path = tmp_path / "x.toml"
        path.write_bytes(content)
        try:
            described(load_plan(str(path), changes=changes)).encode()
        except FedistillError as error:
            assert error.exit_code == 2
            str(error).encode()
            return False
        return True

    return taken


def test_the_whole_one_is_taken(taken):
    assert taken(WHOLE) and taken(tomli_w.dumps(TABLE).encode())


@fuzzed
@given(spoilt(WHOLE))
def test_spoilt_bytes(taken, content):
    taken(content)


@fuzzed
@given(st.sampled_from(PATHS), values.filter(writable), st.booleans())
def test_any_value_anywhere(taken, path, value, beside):
    table = copy.deepcopy(TABLE)
    within = table
    for part in path[:-1]:
        within = within.setdefault(part, {})
    within[path[-1] + "x" * beside] = value
    with memory_within(64 << 20):
        taken(tomli_w.dumps(table).encode())


@fuzzed
@given(st.one_of(letters, st.sampled_from([".".join(p) for p in PATHS])), st.one_of(letters, values.map(repr)))
def test_any_change(taken, key, literal):
    taken(WHOLE, f"{key}={literal}")


@pytest.mark.parametrize("depth", [DEEPEST + 1, 5_000])
@pytest.mark.parametrize(
    "deep",
    [
        lambda n: f"x = {'[' * n}{']' * n}",
        lambda n: f"x = {'{a=' * n}1{'}' * n}",
        lambda n: f"{'.'.join('a' * n)} = 1",
        lambda n: f"[{'.'.join('a' * n)}]",
    ],
)
def test_depth_without_end(taken, depth, deep):
    assert not taken(deep(depth).encode() + b"\n" + WHOLE)
    assert not taken(WHOLE + b"\n" + deep(depth).encode())
    assert not taken(WHOLE, f"scheme.dc.{'.'.join('a' * depth)}=1", f"seed={'[' * depth}{']' * depth}")


@pytest.mark.parametrize(
    "change",
    [
        "seeds=1000000000",
        "partitions=1000000000",
        "networks=1000000000",
        "ipc=[1000000000000]",
        "recipe.steps=9000000000000000000",
        "threads=1000000",
        "federation.sites=1000000000",
        "federation.images=1000000000000",
        "federation.partition.by=inf",
        "deadline_s=nan",
        "seed=0x1_0000_0000_0000_0000",
        "seed=" + "9" * 5000,
        "sweep.seed=[" + "9" * 5000 + "]",
    ],
)
def test_enormous_numbers(taken, change):
    with memory_within(32 << 20):
        assert not taken(WHOLE, change)
        assert not taken(WHOLE, "sweep={}", change)


def test_many_of_everything_together(taken):
    assert not taken(WHOLE, "sweep={}", "seeds=1000", "partitions=1000", "networks=1000")


def test_a_file_without_end_is_not_read(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"#" * (LARGEST_FILE + 1))
    with memory_within(1 << 20), pytest.raises(PlanError, match="too large"):
        load_plan(str(path))
    with pytest.raises(PlanError, match="too large"):
        load_federation(str(path))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "", "..", "/", "\x1b[31m"])
def test_names_that_are_no_files(name):
    with pytest.raises(PlanError, match="There is no simulation"):
        find("simulations", name)
