"""A file's rehearsal, which holds under --phantom alone; the studies' data sets; what a worker keeps of a sweep's."""

from importlib import import_module

import pytest
from tiny import write_tiny

from fedistill.config import holdings_here, load_plan, load_simulation
from fedistill.config.find import names, read_toml
from fedistill.errors import PlanError

plan_holdings = import_module("fedistill.config.holdings")  # the package has a function of this name

REHEARSAL = "[rehearsal]\nwidth = 2\n[rehearsal.scheme.dc]\nouter = 1\n[rehearsal.federation]\nimages = 30\n"


def test_a_rehearsal_changes_what_it_names(tmp_path):
    path = write_tiny(tmp_path)
    plain = load_simulation(path)
    with (tmp_path / "tiny.toml").open("a") as file:
        file.write(REHEARSAL)
    assert load_simulation(path) == plain
    drawn = load_simulation(path, phantom=True)
    assert (drawn.width, drawn.federation.images) == (2, 30) and drawn.ipc == plain.ipc
    assert drawn.scheme["dc"] == {**plain.scheme["dc"], "outer": 1} and drawn.scheme["mtt"] == plain.scheme["mtt"]
    assert load_simulation(path, phantom=True, changes=["width=3"]).width == 3  # the command line has the last word


@pytest.mark.parametrize(
    ("text", "message"),
    [("[rehearsal]\nwidht = 3\n", "did you mean 'width'"), ("[rehearsal]\nscheme.dc.x = 3\n", "no setting 'x'")],
)
def test_a_mistake_in_a_rehearsal_says_so(tmp_path, text, message):
    path = write_tiny(tmp_path)
    with (tmp_path / "tiny.toml").open("a") as file:
        file.write(text)
    with pytest.raises(PlanError) as raised:
        load_simulation(path, phantom=True)
    assert message in str(raised.value)


def test_a_rehearsal_is_a_table(tmp_path):
    with pytest.raises(PlanError, match="rehearsal is no table"):
        load_simulation(write_tiny(tmp_path, more="rehearsal = 3"))


def test_the_studies_data_sets():
    eight = ["path", "derma", "oct", "blood", "tissue", "organa", "organc", "organs"]
    for name, width, sites in (("per-dataset", 32, 2), ("as-published", 128, 1)):
        plan = load_plan(name)
        assert [p.simulation.federation.dataset for p in plan.points] == [f"{each}mnist" for each in eight]
        assert (plan.first.width, len(plan.first.federation.sites), plan.first.ipc) == (width, sites, (1, 10, 50))
    drawn = load_plan("per-dataset", phantom=True)
    assert [p.simulation.federation.dataset for p in drawn.points] == [f"phantom:{each}" for each in eight]
    assert drawn.first.width == 16 and drawn.first.ipc == (1, 10) and len(drawn.first.federation.sites) == 2


def test_all_datasets_is_per_dataset_with_more_of_them():
    few, more = (read_toml(names("simulations")[name]) for name in ("per-dataset", "all-datasets"))
    sets, all_sets = (each.pop("sweep")["federation.dataset"] for each in (few, more))
    assert few == more and set(sets) < set(all_sets) and len(all_sets) == 12


def test_a_worker_keeps_small_data_and_lets_large_ones_go(monkeypatch):
    points = load_plan("per-dataset", phantom=True, changes=["federation.images=40"]).points
    federations = [point.simulation.federation for point in points[:4]]
    asked = []
    divide = plan_holdings.holdings

    def divided(federation, *rest):
        asked.append(federation.dataset)
        return divide(federation, *rest)

    monkeypatch.setattr(plan_holdings, "holdings", divided)
    monkeypatch.setattr(plan_holdings, "_kept", {})

    def ask(*numbers):
        asked.clear()
        held = [holdings_here(federations[i], 0, None, plan_holdings._forget) for i in numbers]
        return held, [federations[i].dataset for i in numbers]

    held, wanted = ask(0, 1, 0, 1)
    assert asked == wanted[:2] and held[0] is held[2] and held[1] is held[3]
    colour = plan_holdings._pixels(held[0])  # of path and derma each; one of oct or blood is less
    monkeypatch.setattr(plan_holdings, "KEPT_BYTES", 2 * colour - 1)
    ask(2)  # derma was used last: path goes
    _, wanted = ask(1, 2, 0)
    assert asked == wanted[2:]
    monkeypatch.setattr(plan_holdings, "KEPT_BYTES", 0)
    _, wanted = ask(3, 3, 2)
    assert asked == [wanted[0], wanted[2]]  # what was asked for last is there whatever its size
