"""Weights instead of images: federated averaging against an average by hand, and everything else sites could do."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from oracles.fedavg import fedavg
from tiny import same

from fedistill.config import Plan, holdings, load_simulation
from fedistill.core.seeds import generator, spawn
from fedistill.errors import PlanError, RunError
from fedistill.models import build
from fedistill.schemes import rounds as rounds_scheme
from fedistill.schemes.site import training as site_training
from fedistill.study import run
from fedistill.transport.protocol.round_messages import RoundSettings
from fedistill.transport.server.launch import launch
from fedistill.transport.server.rounds import ServerStrategy, train_round
from fedistill.transport.site import app as site_app

OTHERS = """
networks = 2
width = 4
ipc = [1, 2]
leave_out = ["dc"]
[federation]
name = "three"
dataset = "phantom:breast"
images = 90
sites = ["a", "b", "c"]
held_out = 0.2
partition = { by = "sizes", sizes = [0.5, 0.3, 0.2] }
policy = { allow_real_images = true, allow_weights = true, start = "real" }
[recipe]
steps = 4
max_steps = 8
lr = [0.01, 0.03]
pilots = 1
[scheme.random]
[scheme.dc]
iterations = 2
[scheme.central-dc]
[scheme.fedavg]
rounds = [1, 3]
[scheme.fedprox]
rounds = 2
fraction = 0.5
[scheme.local]
[scheme.ensemble]
[scheme.join]
"""


@pytest.fixture(scope="module")
def simulation(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "others.toml"
    path.write_text(OTHERS)
    return load_simulation(str(path))


@pytest.fixture(scope="module")
def finished(simulation, tmp_path_factory):
    return run(simulation, out=tmp_path_factory.mktemp("run") / "out", engine="inline")


def asked(**changes):
    settings = {"local_epochs": 2, "batch": 8, "lr": 0.05, "augment": False, "seed": 7, **changes}
    return RoundSettings("fedavg", "convnet", 4, 0, **settings)


def one_round(simulation, tmp_path, request, sites=("a", "b", "c")):
    network = build("convnet", channels=1, classes=2, size=28, width=4)
    start = network.init(generator(0, "start"))

    def conduct(coordinators):
        [coordinator] = coordinators
        strategy = ServerStrategy("FedProx", {"proximal_mu": request.mu}) if request.mu else ServerStrategy("FedAvg")
        return coordinator.conduct(
            train_round(coordinator, strategy, 1, network, start, request, sites=sites, name="it")
        )

    done = launch(Plan.of(simulation), conduct, engine="inline", store=tmp_path / "store", data_root=None)
    return network, start, done.result


@pytest.mark.parametrize("mu", [0.0, 0.5])
def test_the_first_round_is_the_average_by_hand(simulation, tmp_path, mu):
    request = asked(mu=mu)
    network, start, result = one_round(simulation, tmp_path, request)
    sites, batches = [], []
    for name, share in zip("abc", holdings(simulation.federation, 0, None).shares, strict=True):
        x, y = share.train.pixels(), share.train.targets()
        sites.append((x, y))
        order, waiting, mine = generator(spawn(7, name), "order"), torch.empty(0, dtype=torch.int64), []
        for _ in range(2 * -(-len(y) // 8)):
            if len(waiting) < 8:
                waiting = torch.cat([waiting, torch.randperm(len(y), generator=order)])
            mine.append(waiting[:8])
            waiting = waiting[8:]
        batches.append(mine)
    wanted = fedavg(network, start, sites, batches=batches, lr=0.05, momentum=0.9, weight_decay=5e-4, mu=mu)
    assert len({len(y) for _, y in sites}) == 3  # so a mean without weights would be another
    assert result.sites == ("a", "b", "c") and result.up > 0 and result.down > 0
    for made, by_hand in zip(result.params, wanted, strict=True):
        torch.testing.assert_close(made, by_hand, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(result.params[-2], start[-2], atol=1e-3)


def test_rounds_cost_what_they_send(finished, simulation):
    table = finished.comparison.set_index(["scheme", "rounds"])
    one, three = table.loc[("fedavg", 1)], table.loc[("fedavg", 3)]
    parameters = 4 * sum(
        p.numel() for p in build("convnet", channels=1, classes=2, size=28, width=4).init(generator(0))
    )
    for column in ("bytes_up", "bytes_down"):
        assert three[column] == pytest.approx(3 * one[column], rel=0.001)
        assert 3 * parameters < one[column] < 3 * parameters + 12_000  # three sites, and what goes around the numbers
    half = table.loc[("fedprox", 2)]
    assert half["bytes_up"] == pytest.approx(2 * 2 * one["bytes_up"] / 3, rel=0.02)  # two of three sites a round
    curve = pd.read_csv(finished.root / "rounds.csv")
    assert set(curve.loc[curve["scheme"] == "fedavg", "round"]) == {1, 2, 3}
    assert (curve.loc[curve["scheme"] == "fedprox", "sites"] == 2).all()
    last = curve[(curve["scheme"] == "fedavg") & (curve["round"] == 3)]
    rows = finished.rows[(finished.rows["scheme"] == "fedavg") & (finished.rows["rounds"] == 3)]
    chosen = last[last["lr"] == rows["lr"].iloc[0]].sort_values("network")
    assert chosen["auc"].tolist() == rows["auc"].tolist()


def test_images_cross_once(finished):
    table = finished.comparison[finished.comparison["left_out"].fillna("") == ""].set_index(["scheme", "ipc"])
    for ipc in (1, 2):
        line = table.loc[("dc", ipc)]
        assert line["bytes_shared"] < line["bytes_up"] < line["bytes_shared"] + 3 * 500
        assert table.loc[("central-dc", ipc), "bytes_up"] == 0
        # All data in one place, as many images in all.
        assert table.loc[("central-dc", ipc), "images_shared"] == line["images_shared"]
        assert table.loc[("join", ipc), "bytes_down"] > 2 / 3 * line["bytes_shared"]
    assert finished.comparison.set_index("scheme").loc["local", "bytes_up"] == 0


def test_an_ensemble_is_the_mean_of_the_local_networks(finished, simulation):
    probabilities = {}
    for each in finished.rows.itertuples():
        probabilities.setdefault(each.scheme, []).append(each.auc)
    assert len(probabilities["local"]) == 3 * 2 and len(probabilities["ensemble"]) == 2
    local = finished.rows[finished.rows["scheme"] == "local"]
    assert set(local["site"]) == {"a", "b", "c"} and (local["n_sites"] == 1).all()
    line = finished.comparison.set_index("scheme").loc["local"]
    assert line["auc"] == pytest.approx(local["auc"].mean())
    assert line["auc_worst_site"] == pytest.approx(local.groupby("site")["auc"].mean().min())
    ensemble = finished.comparison.set_index("scheme").loc["ensemble"]
    assert ensemble["bytes_up"] > 3 * 4000 and ensemble["n_sites"] == 3


def test_would_each_hospital_have_joined(finished, simulation):
    at = pd.read_csv(finished.root / "sites.csv", keep_default_na=False, na_values=[""])
    held = {n: len(s.held_out) for n, s in zip("abc", holdings(simulation.federation, 0, None).shares, strict=True)}
    scored = at[at["test_auc"].notna()]
    assert all(row.test_images == held[row.site] for row in scored.itertuples())
    own = scored[scored["scheme"] == "local"].set_index("site")["test_auc"]
    assert len(own) == 3 and scored.loc[scored["scheme"] == "local", "gain_auc"].isna().all()
    others = scored[scored["scheme"] != "local"]
    for row in others.itertuples():
        assert row.gain_auc == pytest.approx(row.test_auc - own[row.site], abs=1e-5)
    line = finished.comparison.set_index(["scheme", "rounds"]).loc[("fedavg", 3)]
    mine = others[(others["scheme"] == "fedavg") & (others["rounds"] == 3)]
    assert line["site_auc"] == pytest.approx(mine["test_auc"].mean())
    assert line["site_auc_worst"] == pytest.approx(mine["test_auc"].min())
    assert line["sites_gaining"] == (mine["gain_auc"] > 0).sum()


def test_what_one_site_adds(finished):
    tried = finished.rows[finished.rows["left_out"] != ""]
    assert set(tried["scheme"]) == {"dc"} and set(tried["left_out"]) == {"a", "b", "c"}
    assert (tried["n_sites"] == 2).all()


def test_run_again_asks_nothing_of_what_is_done(finished, monkeypatch):
    def never(*arguments, **keywords):
        raise AssertionError("trained again")

    monkeypatch.setattr(rounds_scheme, "answer_round", never)
    monkeypatch.setattr(site_training, "fit", never)
    again = run(finished.simulation, out=finished.root, engine="inline")
    same(again.rows, finished.rows)
    traffic = pd.read_csv(finished.root / "traffic.csv")
    assert not set(traffic["purpose"]) & {"fedavg", "fedprox"}


def test_stopped_between_rounds_it_goes_on_from_there(simulation, finished, tmp_path, monkeypatch):
    few = simulation.model_copy(update={"scheme": {"fedavg": {"rounds": [1, 3]}}})
    true, calls = rounds_scheme.answer_round, []

    def stops(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) > 7:  # in the third round of the first network
            raise KeyboardInterrupt
        return true(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(rounds_scheme, "answer_round", stops)
        with pytest.raises(KeyboardInterrupt):
            run(few, out=tmp_path / "out", engine="inline")
    calls.clear()
    monkeypatch.setattr(rounds_scheme, "answer_round", lambda *a, **k: calls.append(a) or true(*a, **k))
    done = run(few, out=tmp_path / "out", engine="inline")
    whole = finished.rows[finished.rows["scheme"] == "fedavg"].reset_index(drop=True)
    metrics = ["rounds", "network", "lr", "auc", "accuracy", "bytes_up", "bytes_down"]
    pd.testing.assert_frame_equal(done.rows[metrics], whole[metrics], check_exact=True)
    trajectories = len(pd.read_csv(tmp_path / "out" / "rounds.csv")) // 3
    assert len(calls) < 3 * 3 * max(trajectories, 3)


class Spoilt:
    """Puts something in the place of one site's reply in a round."""

    def __init__(self, monkeypatch, site, change):
        true = site_app.pack_round_reply

        def pack(params, **said):
            return true(**change(params, said)) if said["site"] == site else true(params, **said)

        monkeypatch.setattr(site_app, "pack_round_reply", pack)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda p, s: {"params": {k: v * np.nan for k, v in p.items()}, **s}, "NaN or infinity"),
        (lambda p, s: {"params": {k: v[:1] for k, v in p.items()}, **s}, "Invalid"),
        (lambda p, s: {"params": {k: v.double() for k, v in p.items()}, **s}, "Invalid"),
        (lambda p, s: {"params": p, **s, "site": "a"}, "another site's"),
        (lambda p, s: {"params": p, **s, "examples": 0}, "examples is invalid"),
        (lambda p, s: {"params": {**p, "more": p["linear.bias"]}, **s}, "not the network's parameters"),
    ],
)
def test_a_false_reply_is_left_out_of_the_average(simulation, tmp_path, monkeypatch, change, why):
    with monkeypatch.context() as patch:
        Spoilt(patch, "b", change)
        _, _, spoilt = one_round(simulation, tmp_path, asked())
    _, _, without = one_round(simulation, tmp_path, asked(), sites=("a", "c"))
    assert spoilt.sites == ("a", "c") and why in spoilt.missing["b"]
    for one, other in zip(spoilt.params, without.params, strict=True):
        assert torch.equal(one, other)


def test_a_site_that_fails_is_named_and_min_sites_decides(simulation, tmp_path, monkeypatch):
    true = rounds_scheme.answer_round

    def fails(request, site):
        if site.name == "b":
            raise ValueError("the scanner is on fire")
        return true(request, site)

    monkeypatch.setattr(rounds_scheme, "answer_round", fails)
    few = simulation.model_copy(update={"scheme": {"fedavg": {"rounds": [1]}}, "leave_out": ()})
    with pytest.raises(RunError, match=r"Too few sites answered for fedavg[\s\S]*on fire"):
        run(few, out=tmp_path / "strict", engine="inline")
    done = run(few.model_copy(update={"min_sites": 2}), out=tmp_path / "out", engine="inline")
    assert (done.rows["n_sites"] == 2).all()
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert any(e["kind"] == "failed" and e["site"] == "b" and "on fire" in e["message"] for e in events)


def test_the_site_itself_refuses_to_send_networks(simulation, tmp_path):
    policy = simulation.federation.policy.model_copy(update={"allow_weights": False})
    strict = simulation.federation.model_copy(update={"policy": policy})
    for scheme in ("fedavg", "ensemble"):
        # The server's own check is passed by: the site's policy is what must hold.
        of_one = simulation.model_copy(update={"federation": strict, "scheme": {scheme: {}}, "leave_out": ()})
        with pytest.raises(RunError, match="rule allow_weights"):
            run(of_one, out=tmp_path / scheme, engine="inline")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("scheme.fedavg.rounds=0", "rounds"),
        ("scheme.fedavg.rounds=[]", "rounds"),
        ("scheme.fedavg.fraction=0.0", "fraction"),
        ("scheme.fedavg.fraction=1.5", "fraction"),
        ("scheme.fedavg.momentum=1", "there is no setting 'momentum'"),
        ("scheme.fedprox.mu=-1.0", "mu"),
        ("scheme.fedsgd={}", "there is no scheme 'fedsgd'"),
        ("scheme.local.rounds=1", "nothing to set"),
        ("scheme.join.of='full'", "cannot join Releases of 'full'"),
        ("leave_out=['fedavg']", "leave_out"),
        ("pooling='voting'", "pooling"),
        ("federation.policy.allow_weights=false", "allow_weights = true"),
        ("models=['resnet']", "there is no model 'resnet'"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(simulation, tmp_path, change, why):
    path = tmp_path / "others.toml"
    path.write_text(OTHERS)
    with pytest.raises(PlanError, match=why) as raised:
        load_simulation(str(path), changes=[change])
    assert raised.value.exit_code == 2


def test_central_takes_the_settings_of_its_method(simulation):
    assert simulation.settings("central-dc")["iterations"] == 2
    own = simulation.model_copy(update={"scheme": {**simulation.scheme, "central-dc": {"iterations": 3}}})
    assert own.settings("central-dc")["iterations"] == 3
