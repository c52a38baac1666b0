"""Files in a folder that the environment names: in files and after --set, and nowhere else."""

import pytest

from fedistill.config import Federation, load_federation, load_plan, load_simulation
from fedistill.config.find import names, read_toml
from fedistill.config.site_file import load_site
from fedistill.errors import PlanError

FEDERATION = 'federation = { name = "x", dataset = "%s", sites = 2 }\n[scheme.dc]\n'


@pytest.fixture
def simulation(tmp_path, monkeypatch):
    """Write a simulation of this data set, with REAL_SETS set to a folder; its path."""
    monkeypatch.setenv("REAL_SETS", str(tmp_path / "real"))

    def write(dataset):
        path = tmp_path / "mine.toml"
        path.write_text(FEDERATION % dataset)
        return str(path)

    return write


@pytest.mark.parametrize("word", ["$REAL_SETS/a.npz", "${REAL_SETS}/a.npz", "$REAL_SETS/../real/a.npz"])
def test_a_path_may_begin_with_a_variable(simulation, tmp_path, word):
    assert load_simulation(simulation(word)).federation.dataset == str(tmp_path / "real" / "a.npz")


def test_set_and_sweep_and_federation_files_may_too(simulation, tmp_path):
    real = str(tmp_path / "real" / "a.npz")
    path = simulation("phantom:blood")
    assert load_simulation(path, changes=["federation.dataset='$REAL_SETS/a.npz'"]).federation.dataset == real
    swept = load_plan(path, changes=["sweep.federation.dataset=['$REAL_SETS/a.npz', 'breastmnist']"])
    assert [point.simulation.federation.dataset for point in swept.points] == [real, "breastmnist"]
    assert [point.label for point in swept.points] == ["dataset=a", "dataset=breastmnist"]
    file = tmp_path / "two.toml"
    file.write_text('sites = ["a", "b"]\nsite = { a = { dataset = "$REAL_SETS/a.npz" }, b = { dataset = "octmnist" } }')
    assert load_federation(str(file)).site["a"].dataset == real
    file.write_text('sites = 2\n[combine]\nclasses = ["$REAL_SETS/a.npz:left", "octmnist"]')
    assert load_federation(str(file)).combine.classes == (f"{real}:left", "octmnist")


def test_a_hospitals_own_file_may_too(simulation, tmp_path):
    file = tmp_path / "north.toml"
    file.write_text('name = "north"\ndata = "$REAL_SETS/a.npz"\n')
    assert load_site(str(file)).federation.site["north"].dataset == str(tmp_path / "real" / "a.npz")


def test_a_relative_folder_starts_where_the_command_was_typed(simulation, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("REAL_SETS", "here")
    assert load_simulation(simulation("$REAL_SETS/a.npz")).federation.dataset == str(
        tmp_path / "elsewhere" / "here" / "a.npz"
    )


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_named(simulation, monkeypatch, value):
    path = simulation("$REAL_SETS/a.npz")
    monkeypatch.delenv("REAL_SETS")
    if value is not None:
        monkeypatch.setenv("REAL_SETS", value)
    with pytest.raises(PlanError, match=r"(?s)REAL_SETS set to the folder that holds a\.npz.*export REAL_SETS=FOLDER"):
        load_simulation(path)


@pytest.mark.parametrize("word", ["data/$REAL_SETS/a.npz", "$REAL-SETS/a.npz", "$REAL_SETS.npz"])
def test_a_dollar_elsewhere_is_a_letter_like_others(simulation, tmp_path, word):
    assert load_simulation(simulation(word)).federation.dataset == str(tmp_path / word)


def test_what_comes_in_a_message_asks_the_environment_nothing(simulation):
    """A federation that is read from JSON, as nodes and workers read it, keeps its words."""
    said = {"name": "x", "dataset": "$REAL_SETS/a.npz", "sites": ["a"]}
    assert Federation.model_validate(said).dataset == "$REAL_SETS/a.npz"


def test_a_submitted_change_is_refused(simulation):
    from fedistill.app import _prepare

    given = {"simulation": simulation("phantom:blood"), "changes": "[\"federation.dataset='$REAL_SETS/a.npz'\"]"}
    with pytest.raises(PlanError, match=r"(?s)may not ask.*write the path itself"):
        _prepare(given)


def test_worth_names_thirteen_sets_and_rehearses_without_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("FEDISTILL_REAL", str(tmp_path))
    plan = load_plan("worth")
    sets = read_toml(names("simulations")["worth"])["sweep"]["federation.dataset"]
    assert len(sets) == len(set(sets)) == 13 and len(plan.points) == 39
    own = [point.simulation.federation for point in plan.points if len(point.simulation.federation.sites) == 1]
    assert [str(each.dataset) for each in own[:2]] == [str(tmp_path / "blood_pbc.npz"), str(tmp_path / "brain_mri.npz")]
    federations = [point.simulation.federation for point in plan.points]
    assert {(each.name, each.partition.by, each.held_out) for each in federations} == {
        ("alone", "iid", 0.0), ("four-alike", "iid", 0.2), ("four-unlike", "dirichlet", 0.2),
    }  # fmt: skip
    monkeypatch.delenv("FEDISTILL_REAL")
    with pytest.raises(PlanError, match="no FEDISTILL_REAL in the environment"):
        load_plan("worth")
    assert len(load_plan("worth", phantom=True).points) == 12
