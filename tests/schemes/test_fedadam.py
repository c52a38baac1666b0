"""A server strategy with a state: Flower's FedAdam against an oracle, resumed, and audited like the others."""

import pandas as pd
import pytest
import torch
from oracles.fedadam import fedadam

from fedistill.config import load_simulation
from fedistill.config.scheme import scheme_named
from fedistill.core.seeds import generator
from fedistill.models import build
from fedistill.schemes import rounds as rounds_scheme
from fedistill.study.run import run

ADAM = """
networks = 1
width = 4
ipc = [1]
[federation]
name = "two"
dataset = "phantom:breast"
images = 80
sites = ["a", "b"]
policy = { allow_weights = true }
[recipe]
steps = 4
lr = 0.01
[scheme.fedadam]
rounds = [1, 3]
eta = 0.05
beta_2 = 0.9
"""
METRICS = ["rounds", "network", "lr", "auc", "accuracy", "bytes_up", "bytes_down"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / "adam.toml"
    path.write_text(ADAM)
    return str(path)


@pytest.fixture(scope="module")
def finished(path, tmp_path_factory):
    return run(load_simulation(path), out=tmp_path_factory.mktemp("out") / "out", engine="inline")


def test_rounds_equal_the_oracle_also_when_the_state_is_taken_up_again():
    network = build("convnet", channels=1, classes=2, size=28, width=4)
    start, a, b, c, d = (network.init(generator(seed, "init")) for seed in range(5))
    replies = [[(30, a), (10, b)], [(10, c), (10, d)]]
    options = {"eta": 0.05, "beta_1": 0.9, "beta_2": 0.9, "tau": 0.001}
    scheme = scheme_named("fedadam")
    settings = scheme.read(options)
    strategy, again = scheme.strategy(settings), scheme.strategy(settings)
    first = strategy.fold(1, network, start, replies[0])
    again.resume(strategy.state())  # as after an interruption
    second = again.fold(2, network, first, replies[1])
    by_hand = fedadam(start, replies, **options)
    for ours, theirs in ((first, by_hand[0]), (second, by_hand[1])):
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one.double(), torch.from_numpy(other), rtol=1e-5, atol=1e-6)


def test_stopped_between_rounds_it_goes_on_with_its_moments(path, finished, tmp_path, monkeypatch):
    true, calls = rounds_scheme.answer_round, []

    def stops(request, site):
        calls.append(site.name)
        if len(calls) > 5:  # in the third round
            raise KeyboardInterrupt
        return true(request, site)

    with monkeypatch.context() as patch:
        patch.setattr(rounds_scheme, "answer_round", stops)
        with pytest.raises(KeyboardInterrupt):
            run(load_simulation(path), out=tmp_path / "out", engine="inline")
    calls.clear()
    monkeypatch.setattr(rounds_scheme, "answer_round", lambda *a: calls.append(a) or true(*a))
    done = run(load_simulation(path), out=tmp_path / "out", engine="inline")
    pd.testing.assert_frame_equal(done.rows[METRICS], finished.rows[METRICS], check_exact=True)
    assert len(calls) == 2  # the third round alone


def test_another_step_of_the_server_is_another_network(path, finished, tmp_path):
    other = load_simulation(path, changes=["scheme.fedadam.eta=0.5"])
    rows = run(other, out=tmp_path / "out", engine="inline", cache=finished.root / "work").rows
    assert (rows["auc"].to_numpy() != finished.rows["auc"].to_numpy()).any()


def test_it_is_audited(path, finished, tmp_path):
    changes = ["audit={shadows=6, networks=1}", "scheme.fedadam.rounds=[2]"]
    done = run(load_simulation(path, changes=changes), out=tmp_path / "out", engine="inline")
    privacy = pd.read_csv(done.root / "privacy.csv")
    assert set(privacy["scheme"]) == {"fedadam"} and set(privacy["attack"]) >= {"lira", "rmia"}
    assert privacy["auc"].between(0, 1).all() and (privacy["rounds"] == 2).all()
