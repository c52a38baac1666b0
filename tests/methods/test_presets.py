import pytest

from fedistill.errors import SettingError
from fedistill.methods import METHODS, presets, settings_for
from fedistill.methods.dc import DCSettings

TABLE = {
    "dc": {
        "iterations": 100,
        "lr_img": 1.0,
        "ipc": {"1": {"lr_img": 2.0}, "10": {"lr_img": 3.0, "outer": 1}},
    }
}


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(presets, "table", lambda: TABLE)


@pytest.mark.parametrize(
    ("ipc", "lr_img"),
    [
        (1, 2.0),
        (2, 2.0),
        (4, 3.0),  # nearer to 10 than to 1, in ratio
        (1000, 3.0),
    ],
)
def test_the_nearest_measured_numbers_are_taken(ipc, lr_img, table):
    found = settings_for("dc", ipc=ipc)
    assert (found.iterations, found.lr_img) == (100, lr_img)


def test_given_values_go_before_every_preset(table):
    found = settings_for("dc", {"lr_img": 7.0, "ipc": {"10": {"outer": 4}}}, ipc=10)
    assert (found.lr_img, found.outer, found.iterations) == (7.0, 4, 100)


def test_published_means_the_papers(table):
    assert settings_for("dc", {"preset": "published"}, ipc=10) == DCSettings()


def test_one_image_a_class_is_matched_on_fresh_networks():
    found = settings_for("dc", ipc=1)
    assert (found.early_networks, found.iterations, found.lr_img) == (0, 60, 2.0)


def test_no_other_preset():
    with pytest.raises(SettingError, match="measured or published"):
        settings_for("dc", {"preset": "fastest"}, ipc=1)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("ipc", [1, 5, 10, 50, 200])
def test_the_shipped_presets_are_settings(name, ipc):
    found = settings_for(name, ipc=ipc)
    if hasattr(found, "start") and name != "mtt":
        assert found.start == "noise"  # real images are given away by choice only


def test_no_preset_names_a_data_set():
    """Every sub-table is a budget's: a setting fitted to one set by name would be shown on the set it was chosen on."""
    for method, values in presets.table().items():
        assert {name for name, value in values.items() if isinstance(value, dict)} <= {"ipc"}, method
