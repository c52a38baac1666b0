import pytest

from fedistill.errors import SettingError
from fedistill.methods import METHODS, presets, settings_for
from fedistill.methods.dc import DCSettings

TABLE = {
    "dc": {
        "iterations": 100,
        "lr_img": 1.0,
        "ipc": {"1": {"lr_img": 2.0}, "10": {"lr_img": 3.0, "outer": 1}},
        "dataset": {"breastmnist": {"iterations": 50, "ipc": {"50": {"lr_img": 9.0}}}},
    }
}


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(presets, "table", lambda: TABLE)


@pytest.mark.parametrize(
    ("ipc", "dataset", "iterations", "lr_img"),
    [
        (1, "", 100, 2.0),
        (2, "pathmnist", 100, 2.0),
        (4, "", 100, 3.0),  # nearer to 10 than to 1, in ratio
        (1000, "", 100, 3.0),
        (50, "breastmnist", 50, 9.0),  # the data set's own go first,
        (1, "breastmnist", 50, 2.0),  # but for a budget that only the general table lists
    ],
)
def test_the_nearest_measured_numbers_are_taken(ipc, dataset, iterations, lr_img, table):
    found = settings_for("dc", ipc=ipc, dataset=dataset)
    assert (found.iterations, found.lr_img) == (iterations, lr_img)


def test_given_values_go_before_every_preset(table):
    found = settings_for("dc", {"lr_img": 7.0, "ipc": {"10": {"outer": 4}}}, ipc=10)
    assert (found.lr_img, found.outer, found.iterations) == (7.0, 4, 100)


def test_published_means_the_papers(table):
    assert settings_for("dc", {"preset": "published"}, ipc=10) == DCSettings()


@pytest.mark.parametrize(("dataset", "early"), [("", 0), ("breastmnist", 0), ("pneumoniamnist", 0)])
def test_one_image_a_class_is_matched_on_fresh_networks(dataset, early):
    found = settings_for("dc", ipc=1, dataset=dataset)
    assert (found.early_networks, found.iterations, found.lr_img) == (early, 60, 2.0)


def test_no_other_preset():
    with pytest.raises(SettingError, match="measured or published"):
        settings_for("dc", {"preset": "fastest"}, ipc=1)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("ipc", [1, 5, 10, 50, 200])
@pytest.mark.parametrize("dataset", ["", *presets.table().get("dc", {}).get("dataset", {})])
def test_the_shipped_presets_are_settings(name, ipc, dataset):
    found = settings_for(name, ipc=ipc, dataset=dataset)
    if hasattr(found, "start") and name != "mtt":
        assert found.start == "noise"  # real images are given away by choice only
