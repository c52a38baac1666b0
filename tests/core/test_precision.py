import pytest

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
