"""The best of a stronger grid beside the common recipe: chosen without patients, and nothing else changes."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import same, write_tiny

from fedistill.config import holdings, load_plan, load_simulation
from fedistill.errors import PlanError
from fedistill.schemes.server.choice import choose_strong, strong_candidates
from fedistill.schemes.server.condition import Condition
from fedistill.schemes.server.cross_validation import ClassAUC
from fedistill.schemes.server.work import Forecast
from fedistill.study import run
from fedistill.study.feasibility.comparability import kind_of
from fedistill.study.folder.run_folder import described
from fedistill.training.recipe import Recipe

STRONG = ["recipes=['common', 'strong']", "recipe.strong={ steps = [2, 3], adamw = 0.001, mix = ['cutmix', 'none'] }"]
SMALL = ["ipc=[2]", "networks=2", "recipe.lr=[0.01, 0.03]"]
CONDITION = Condition(0, "random", 2, 0, "convnet", "strong")


@pytest.fixture
def path(tmp_path):
    return write_tiny(tmp_path)


def test_the_grid_in_its_order(path):
    simulation = load_simulation(path, changes=STRONG)
    made = [(r.steps, r.optimiser, r.lr, r.mix) for r in strong_candidates(simulation)]
    one = [("sgd", 0.01, "cutmix"), ("sgd", 0.01, "none"), ("adamw", 0.001, "cutmix"), ("adamw", 0.001, "none")]
    assert made == [(steps, *rest) for steps in (2, 3) for rest in one]
    assert [r.steps for r in strong_candidates(simulation, at_least=8)] == [8] * 4  # each once
    assert {r.weight_decay for r in strong_candidates(simulation) if r.optimiser == "sgd"} == {Recipe().weight_decay}
    usual = load_simulation(path, changes=["recipes=['common', 'strong']"])
    assert len(strong_candidates(usual)) == 6 and {r.steps for r in strong_candidates(usual)} == {1000}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (STRONG[1:], r"has no effect: recipes does not name it. Write recipes = \['common', 'strong'\]"),
        (["recipes=['common', 'stronk']"], "strong"),
        ([STRONG[0], "recipe.strong={ sgd = [], adamw = [] }"], "both empty"),
        ([STRONG[0], "recipe.strong={ mix = 'cutmx' }"], "cutmix"),
        ([STRONG[0], "recipe.strong={ steps = [] }"], "one value or more"),
        ([STRONG[0], "recipe.strong={ stpes = 3 }"], "did you mean 'steps'"),
    ],
)
def test_a_mistake_says_what_it_is(path, changes, message):
    with pytest.raises(PlanError, match=message):
        load_simulation(path, changes=changes)


def test_a_file_without_it_reads_and_writes_as_before(path):
    assert "strong" not in described(load_plan(path))
    plan = load_plan(path, changes=STRONG)
    kept = Path(path).with_name("kept.toml")
    kept.write_text(described(plan))
    assert load_plan(str(kept)).first.strong == plan.first.strong
    plain = load_simulation(path)
    assert kind_of(plan.first, "convnet") == kind_of(plain, "convnet")  # common rows stay comparable


def chosen(simulation, aucs, *, grows=False, common=8):
    """The recipe that is chosen where cross-validation gives these AUCs to the candidates in turn."""
    asked = []

    async def cross_validate(condition, pool, recipe, pilots):
        value = aucs[len(asked)]
        asked.append(recipe)
        return [] if value is None else [ClassAUC(torch.tensor([value, value]), torch.tensor([value, value]))] * 2

    ctx = SimpleNamespace(simulation=simulation, trainer=SimpleNamespace(cross_validate=cross_validate))
    made = asyncio.run(choose_strong(ctx, CONDITION, SimpleNamespace(), Recipe(steps=common), grows=grows))
    return made.recipe, asked


def test_the_best_is_taken_though_not_surely_better(path):
    simulation = load_simulation(path, changes=STRONG)
    aucs = [0.7, 0.7001, 0.6, 0.7002, 0.7002, 0.5, None, 0.1]
    recipe, asked = chosen(simulation, aucs)
    assert asked == strong_candidates(simulation) and recipe == asked[3]  # of equals the first
    nothing, asked = chosen(simulation, [None] * 8)
    assert nothing == asked[0]
    longer, asked = chosen(simulation, [0.5, 0.5, 0.6, 0.5], grows=True)
    assert longer == asked[2] and longer.steps == 8  # as long as the common recipe has grown


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A run with strong rows, and the same run without them."""
    folder = tmp_path_factory.mktemp("strong")
    path = write_tiny(folder)
    simulations = (load_simulation(path, changes=[*SMALL, *more]) for more in (STRONG, []))
    return [run(each, out=folder / str(i), engine="inline") for i, each in enumerate(simulations)]


def test_every_pooled_scheme_has_strong_rows_and_the_common_ones_stay(both):
    strong, plain = both
    rows = strong.rows
    assert set(rows.loc[rows["recipe"] == "strong", "scheme"]) == {"full", "random", "dc", "mtt"}
    common = rows[rows["recipe"] == "common"]
    assert set(common["optimiser"]) == {"sgd"} and set(common["mix"]) == {"none"}
    same(common.drop(columns=["optimiser", "mix"]).reset_index(drop=True), plain.rows)
    grid = {(r.steps, r.optimiser, r.lr, r.mix) for r in strong_candidates(strong.simulation)}
    own = rows[(rows["recipe"] == "strong") & rows["ipc"].notna()]
    assert set(own[["steps", "optimiser", "lr", "mix"]].itertuples(index=False, name=None)) <= grid
    assert (own.groupby(["scheme", "seed"])["lr"].nunique() == 1).all()  # all networks by one recipe
    full = rows[rows["scheme"] == "full"].groupby("recipe")["steps"].first()
    assert full["strong"] == max(full["common"], 2) or full["strong"] == max(full["common"], 3)


def test_strong_is_held_against_random_as_strongly_trained(both):
    table = both[0].comparison
    own = table[(table["recipe"] == "strong") & table["ipc"].notna()].set_index("scheme")
    assert np.isnan(own.loc["random", "auc_vs_random_low"])
    assert np.isfinite(own.loc[["dc", "mtt"], "auc_vs_random_low"].to_numpy(float)).all()


def test_no_site_is_asked_anything_more(both):
    strong, plain = both
    sent = [set(map(tuple, each)) for each in (traffic(strong), traffic(plain))]
    assert sent[0] == sent[1]


def traffic(finished):
    return pd.read_csv(finished.root / "traffic.csv").astype(str).to_numpy().tolist()


def test_the_forecast_counts_the_choice_and_the_networks(path):
    simulation = load_simulation(path, changes=[*SMALL, *STRONG])
    forecast = Forecast(simulation, holdings(simulation.federation, 0, None), 100)
    # Eight images in the pool: five folds of one pilot for each of eight candidates, of 2.5 steps in the mean.
    work = forecast.of_strong(CONDITION)
    assert work.images == 8 and work.steps == 8 * 5 * 2.5 + 2 * 2.5 and work.scored == 200
    again = forecast.of_strong(Condition(0, "random", 2, 1, "convnet", "strong"))
    assert again.steps == 2 * 2.5  # chosen once, for the first repeat
