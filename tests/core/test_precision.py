import pytest

from fedistill.config import Simulation
from fedistill.core import precision
from fedistill.core.precision import resolve
from fedistill.errors import SettingError


@pytest.mark.parametrize(("has", "width", "found"), [
    (True, 128, "bfloat16"), (True, 64, "bfloat16"), (True, 32, "float32"), (False, 128, "float32"),
])  # fmt: skip
def test_auto_takes_bfloat16_where_it_pays(has, width, found, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: has)
    assert resolve("auto", width=width) == found


def test_what_is_asked_for_by_name_is_taken(monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    assert resolve("bfloat16", width=4) == "bfloat16"
    assert resolve("float32", width=512) == "float32"


def test_no_other_precision():
    with pytest.raises(SettingError, match="float16"):
        resolve("float16", width=4)


def test_a_gpu_takes_tf32_unless_another_is_named():
    assert resolve("auto", width=128, device="cuda") == resolve("auto", width=4, device="cuda") == "tf32"
    for name in ("float32", "tf32", "bfloat16"):
        assert resolve(name, width=128, device="cuda") == name
    assert precision.of_training("cuda") == "tf32" and precision.of_training("cpu") == "float32"


@pytest.mark.parametrize(("named", "gpus", "found"), [
    ("auto", (0.5, 1), "tf32"), ("auto", (1, 0), "float32"), ("auto", (0, 0), "float32"), ("tf32", (0, 0), "tf32"),
    ("bfloat16", (1, 1), "bfloat16"), ("float32", (1, 1), "float32"),
])  # fmt: skip
def test_a_simulation_is_resolved_by_its_sites(named, gpus, found):
    sites = {f"site-{i + 1}": {"gpus": share} for i, share in enumerate(gpus)}
    federation = {"name": "two", "dataset": "phantom:breast", "sites": 2, "site": sites}
    simulation = Simulation(name="x", federation=federation, width=4, scheme={"dc": {}}, precision=named)
    assert simulation.precision == found
    assert precision.on("cpu", found) in ("float32", "bfloat16")  # what a site without a GPU takes it for
