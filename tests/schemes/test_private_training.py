"""Schemes whose sites train privately: through a simulation, and at a site that has noise of its own."""

import pandas as pd
import pytest
import torch

from fedistill.config import load_simulation
from fedistill.config.scheme import scheme_named
from fedistill.core.seeds import generator
from fedistill.core.store import Store
from fedistill.errors import PlanError
from fedistill.models import build
from fedistill.report.html.summary import beside
from fedistill.report.run_data import read_run
from fedistill.schemes.dp_fedavg import DPFedAvgSettings
from fedistill.schemes.site import training as site_training
from fedistill.schemes.site.private_training import Private
from fedistill.schemes.site.training import train_to_end
from fedistill.study import run
from fedistill.training.search import Grid
from fedistill.transport.protocol.training_messages import LocalTrainRequest, pack_alone, unpack_alone
from fedistill.transport.site.context import SiteContext

FILE = """
networks = 2
width = 4
ipc = [1]
[federation]
name = "two"
dataset = "phantom:breast"
images = 60
sites = ["a", "b"]
held_out = 0.25
policy = { allow_real_images = true, allow_weights = true }
[recipe]
steps = 4
max_steps = 8
lr = [0.01, 0.03]
pilots = 1
[scheme.random]
[scheme.local]
[scheme.dp-dm]
accountant = "rdp"
width = 4
iterations = 2
[scheme.dpsgd-local]
epsilon = 5
steps = 2
accountant = "rdp"
[scheme.dpsgd-ensemble]
epsilon = 5
steps = 2
accountant = "rdp"
[scheme.dp-fedavg]
epsilon = 4.0
delta = 1e-4
rounds = [1, 2]
local_steps = 2
lr = 0.25
accountant = "rdp"
"""


def simulation(folder, *changes):
    path = folder / "private.toml"
    path.write_text(FILE)
    return load_simulation(str(path), changes=changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    return run(simulation(folder), out=folder / "out", engine="inline")


def read(finished, name):
    return pd.read_csv(finished.root / f"{name}.csv", keep_default_na=False, na_values=[""])


def test_tables_say_what_each_line_may_spend(finished):
    line = finished.comparison.set_index(["scheme", "rounds"])
    assert line.loc[("dp-fedavg", 2), "epsilon"] == 4 and line.loc[("dp-fedavg", 2), "delta"] == 1e-4
    assert 0.5 < line.loc[("dp-fedavg", 1), "epsilon"] < 4
    rows = finished.rows.groupby("scheme")["epsilon"].first()
    assert rows["dpsgd-local"] == rows["dpsgd-ensemble"] == 5 and rows["dp-dm"] == 10
    assert rows[["random", "local"]].isna().all()
    promised = read(finished, "guarantees").set_index(["scheme", "rounds"])
    assert len(promised) == 5 and promised.loc[("dp-fedavg", 1), "sums"] == 2
    assert promised.loc[("dp-fedavg", 2), "sums"] == 4
    for each in promised.itertuples():
        assert f"epsilon {each.epsilon:.4g} at delta {each.delta:g} for every single image" in each.statement
        assert "add up" in each.statement and "protects nobody" in each.statement


def test_nothing_is_chosen_by_validation_images(finished):
    private = finished.rows[finished.rows["scheme"].isin(["dpsgd-local", "dpsgd-ensemble", "dp-fedavg"])]
    assert set(private["lr"]) == {0.5, 0.25}
    rounds = read(finished, "rounds")
    assert len(rounds) == 2 * 2 and rounds["validation_auc"].isna().all() and rounds["auc"].notna().all()
    events = (finished.root / "events.jsonl").read_text()
    assert "validation dp-fedavg" not in events and "simulated: the noise follows from the seed" in events


def test_sites_train_for_themselves_or_send_their_networks_once(finished):
    rows = finished.rows
    alone = rows[rows["scheme"] == "dpsgd-local"]
    assert set(alone["site"]) == {"a", "b"} and (alone["bytes_up"] == 0).all()
    assert alone.groupby("site")["auc"].first().nunique() == 2  # own images, own noise
    ensemble = rows[rows["scheme"] == "dpsgd-ensemble"]
    assert len(ensemble) == 2 and (ensemble["n_sites"] == 2).all() and (ensemble["bytes_up"] > 4000).all()


def test_private_training_is_held_against_the_site_s_own_without(finished):
    at = read(finished, "sites").set_index(["scheme", "site"])
    for site in ("a", "b"):
        own, private = at.loc[("local", site)], at.loc[("dpsgd-local", site)]
        assert pd.isna(own["gain_auc"])
        assert private["gain_auc"] == pytest.approx(private["test_auc"] - own["test_auc"], abs=1e-5)
    said = " ".join(beside(read_run(finished.root)))
    assert "sharing nothing, trained under differential privacy (epsilon 5)" in said
    assert "Federated training (dp-fedavg, 2 rounds), trained under differential privacy (epsilon 4)" in said


def test_run_again_it_spends_nothing(finished, monkeypatch):
    def never(*arguments, **keywords):
        raise AssertionError("trained again")

    monkeypatch.setattr("fedistill.schemes.site.private_training.fit_privately", never)
    monkeypatch.setattr(site_training, "fit", never)
    again = run(finished.simulation, out=finished.root, engine="inline")
    columns = [c for c in again.rows.columns if not c.endswith("_seconds")]
    pd.testing.assert_frame_equal(again.rows[columns], finished.rows[columns], check_exact=True)


def test_one_epsilon_for_all_private_schemes(tmp_path):
    plan = simulation(tmp_path, "epsilon=3.0", "scheme.random={}")
    assert plan.settings("dp-dm")["epsilon"] == 3 and plan.settings("dpsgd-local")["epsilon"] == 5  # its own
    assert "epsilon" not in plan.settings("random") and "epsilon" not in plan.settings("local")
    assert scheme_named("central-dp-dm").private and not scheme_named("fedavg").private
    with pytest.raises(PlanError, match="epsilon"):
        simulation(tmp_path, "epsilon=0.0")


def site(folder, *, entropy):
    plan, told, charged = simulation(folder), [], []
    here = SiteContext(plan.federation, 0, None, Store(folder / "store"), entropy)
    private = Private(here, told.append, lambda about, cost: charged.append((about, cost)))
    return here, private, told, charged


def a_round(folder, *, entropy="system"):
    here, private, told, charged = site(folder, entropy=entropy)
    chosen = DPFedAvgSettings(rounds=(3,), local_steps=2, epsilon=4.0, accountant="rdp")
    start = build("convnet", channels=1, classes=2, size=28, width=4).init(generator(0, "start"))
    network = build("convnet", channels=1, classes=2, size=28, width=4)
    return private.round(chosen.private, network, start, here.share(0).train, seed=7, steps=2), told, charged


def test_asked_again_a_site_answers_with_the_same_noise(tmp_path):
    """Another draw would spend again: the mean of both has less noise than was paid for."""
    one, told, charged = a_round(tmp_path)
    assert any("operating system's entropy" in event.message for event in told)
    [(about, cost)] = charged
    assert about["entropy"] == "system" and cost.mechanism.steps == 2 and cost.epsilon < 4
    same, _, again = a_round(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True)) and not again
    other, _, _ = a_round(tmp_path / "elsewhere") if not (tmp_path / "elsewhere").mkdir() else None
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_refused_charge_draws_no_noise(tmp_path, monkeypatch):
    here, _, told, _ = site(tmp_path, entropy="system")

    class Refused(Exception):
        pass

    def refuse(about, cost):
        raise Refused

    monkeypatch.setattr(
        "fedistill.schemes.site.private_training.fit_privately", lambda *a, **k: pytest.fail("noise drawn")
    )
    chosen = DPFedAvgSettings(rounds=(1,), accountant="rdp").private
    grid = Grid(chosen.recipe(), (chosen.lr,))
    asked = LocalTrainRequest("a it", "a", "dpsgd-local", "convnet", 4, 0, grid, 1, seeds=(1,), private=chosen)
    assert unpack_alone(pack_alone(asked)) == asked
    with pytest.raises(Refused):
        train_to_end(asked, here.share(0), here.store, Private(here, told.append, refuse), gpus=0, on_event=told.append)
    assert not told


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("scheme.dp-fedavg.epsilon=0.0", "epsilon"),
        ("scheme.dp-fedavg.delta=1.0", "delta"),
        ("scheme.dp-fedavg.local_epochs=1", "there is no setting 'local_epochs'"),
        ("scheme.dp-fedavg.rounds=[]", "rounds"),
        ("scheme.dpsgd-local.rate=1.5", "rate"),
        ("scheme.dpsgd-local.accountant='prv'", "accountant"),
        ("scheme.dpsgd-ensemble.steps=0", "steps"),
        ("federation.policy.allow_weights=false", "allow_weights = true"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(tmp_path, change, why):
    with pytest.raises(PlanError, match=why) as raised:
        simulation(tmp_path, change)
    assert raised.value.exit_code == 2
