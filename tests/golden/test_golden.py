"""Tables and store keys of small runs are those written down, without Ray and on it."""

import pytest

from golden.record import KEPT, machine, recorded
from golden.runs import RUNS

pytestmark = pytest.mark.slow

HERE = machine()
THERE = (KEPT / "machine.txt").read_text().strip()


@pytest.mark.skipif(HERE != THERE, reason=f"written down on {THERE}, and this is {HERE}")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_gives_what_it_gave(name, tmp_path):
    made = recorded(RUNS[name], tmp_path, name=name, engine="inline")
    for path in sorted((KEPT / name).iterdir()):
        assert made.pop(path.name) == path.read_text(), path.name
    assert not made


@pytest.mark.ray
@pytest.mark.skipif(HERE != THERE, reason=f"written down on {THERE}, and this is {HERE}")
def test_on_ray_it_gives_the_same(tmp_path):
    made = recorded(RUNS["sweep"], tmp_path, name="sweep", engine="local")
    for path in sorted((KEPT / "sweep").iterdir()):
        assert made[path.name] == path.read_text(), path.name
