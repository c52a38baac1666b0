"""Shadows of federated averaging: what the scheme itself does, who is found out by it, and who is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedistill.config import Plan, holdings, load_simulation
from fedistill.config.scheme import scheme_named
from fedistill.core.seeds import spawn
from fedistill.data import load_dataset
from fedistill.methods.engine.method import Task
from fedistill.models import build
from fedistill.privacy.attacks.registry import Evidence, verdicts
from fedistill.privacy.attacks.shadow_design import halves
from fedistill.schemes.dp_fedavg import DPFedAvgSettings
from fedistill.schemes.rounds_shadow import RoundsShadow, Turns
from fedistill.study.audit.shadow_task import shadow
from fedistill.training.dpsgd import begin
from fedistill.transport.protocol.round_messages import RoundSettings
from fedistill.transport.server.launch import launch
from fedistill.transport.server.rounds import ServerStrategy, train_round

THREE = """
networks = 1
width = 4
ipc = [1]
[federation]
name = "three"
dataset = "phantom:breast"
images = 70
sites = ["a", "b", "c"]
partition = { by = "sizes", sizes = [0.5, 0.3, 0.2] }
policy = { allow_weights = true, share_counts = "COUNTS" }
[scheme.fedavg]
"""
SEED = 11
PRIVATE = DPFedAvgSettings(rounds=(2,), local_steps=2, epsilon=5.0, rate=0.5, accountant="rdp")


def request(**changes):
    return RoundSettings("fedavg", "convnet", 4, 0, local_epochs=2, batch=8, lr=0.05, augment=True, seed=0, **changes)


def strategy_of(asked):
    """The server's strategy of the scheme; fedadam's keeps moments from round to round."""
    if asked.scheme == "fedadam":
        return scheme_named("fedadam").strategy(scheme_named("fedadam").read({}))
    return ServerStrategy("FedProx", {"proximal_mu": asked.mu}) if asked.mu else ServerStrategy("FedAvg")


def as_the_scheme_does(simulation, folder, asked, drawn, start):
    """The global network and the strategy's state after every round of the real scheme, with the shadow's seeds."""
    network = build("convnet", channels=1, classes=2, size=28, width=4)

    async def rounds(coordinator):
        strategy = strategy_of(asked)
        now, found = start, []
        states = []
        for number, sites in enumerate(drawn, 1):
            of_round = replace(asked, seed=spawn(SEED, "network", 0, "round", number))
            result = await train_round(coordinator, strategy, number, network, now, of_round, sites=sites, name="it")
            assert result.sites == sites
            now = result.params
            found.append(now)
            states.append(strategy.state())
        return found, states

    def conduct(coordinators):
        return coordinators[0].conduct(rounds(coordinators[0]))

    return launch(Plan.of(simulation), conduct, engine="inline", store=folder, data_root=None).result


@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        (request(), "exact"),
        (request(mu=0.5), "none"),
        (replace(request(), local_epochs=0, augment=False, private=PRIVATE.private, steps=2), "rounded"),
        (replace(request(), scheme="fedadam"), "exact"),
    ],
    ids=["fedavg", "fedprox", "dp-fedavg", "fedadam"],
)
def test_a_shadow_is_what_the_scheme_does(tmp_path, asked, counts):
    """The last round is of the site alone: what the shadow sent in it, folded by the server, is the global network."""
    path = tmp_path / "three.toml"
    path.write_text(THREE.replace("COUNTS", counts))
    simulation = load_simulation(str(path))
    held = {
        name: share.train for name, share in zip("abc", holdings(simulation.federation, 0, None).shares, strict=True)
    }
    assert [len(images) for images in held.values()] == [35, 21, 14]
    network, drawn = build("convnet", channels=1, classes=2, size=28, width=4), (("a", "b", "c"), ("b", "c"), ("a",))
    others = {name: held[name] for name in "bc"}
    turns = Turns("a", (drawn,), dict.fromkeys("abc", counts), asked.mu)
    maker = RoundsShadow(network, asked, (3,), turns, strategy_of(asked))
    sent = maker.make(Task(held["a"], None, seed=SEED), others)
    mine = sent.networks
    assert len(sent.received) == 2 and sent.release is None
    for own, theirs in zip(sent.received[0], begin(network, 3), strict=True):
        assert torch.equal(own, theirs)
    wanted, states = as_the_scheme_does(simulation, tmp_path / "store", asked, drawn, begin(network, 3))
    assert len(mine) == 2
    server = strategy_of(asked).fresh()
    server.resume(states[1])
    folded = server.fold(3, network, wanted[1], [(35, mine[-1])])
    for a, b in zip(folded, wanted[-1], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert max((a - b).abs().max() for a, b in zip(mine[0], wanted[0], strict=True)) > 1e-4  # its own, not the mean


SHADOWS = 8
NETWORK = build("convnet", channels=3, classes=9, size=12, width=8)


def images(first, end):
    return load_dataset("phantom:path", images=240, size=12).take(np.arange(first, end))


def attacked(asked, *, rounds):
    """What attacks find on 60 images of a site that takes turns with another, which holds 30."""
    drawn = ((("a", "b"),) * rounds,)
    maker = RoundsShadow(NETWORK, asked, (0,), Turns("a", drawn, {"a": "exact", "b": "exact"}))
    others = {"b": images(60, 90)}
    mine, population, design = images(0, 60), images(90, 240), halves(60, SHADOWS, seed=0)
    told = []
    found = []
    for number, row in enumerate(design.membership):
        task = Task(mine.take(np.flatnonzero(row)), None, seed=number, on_event=told.append)
        found.append(shadow(task, maker, others, mine, population))
    assert found[0].confidence.shape == (rounds, 60) and not found[0].distance and found[0].absent.all()
    assert [event.step for event in told[:rounds]] == list(range(1, rounds + 1))
    return verdicts(Evidence(found, design), seed=0, replicates=100)


def test_a_site_that_learns_by_heart_is_found_out():
    heart = RoundSettings("fedavg", "convnet", 8, 0, local_epochs=10, batch=15, lr=0.1, augment=False, seed=0)
    found = attacked(heart, rounds=3)
    kinds = {"lira", "lira-offline", "lira-own", "lira-queries", "lira-rounds", "rmia", "rmia-offline", "learned"}
    assert set(found) == kinds
    for attack in ("lira", "lira-rounds", "rmia", "learned"):
        assert found[attack].auc.low > 0.6, attack


def test_a_private_site_is_not():
    settings = DPFedAvgSettings(rounds=(3,), local_steps=2, epsilon=0.5, accountant="rdp")
    found = attacked(replace(request(), local_epochs=0, augment=False, private=settings.private, steps=2), rounds=3)
    for leak in found.values():
        assert leak.auc.low < 0.5 < leak.auc.high < 0.65


def test_rounds_without_the_site_or_without_images_tell_nothing():
    mine, none = images(0, 20), images(0, 0)
    turns = Turns("a", ((("b",), ("a", "c"), ("b", "c")), (("b",),) * 3), dict.fromkeys("abc", "exact"))
    told = []
    task = Task(mine, None, seed=1, on_event=told.append)
    maker = RoundsShadow(NETWORK, replace(request(), local_epochs=1, augment=False), (0, 1), turns)
    made = maker.make(task, {"b": images(20, 40), "c": none}).networks
    assert len(made) == 1 and len(told) == 2  # the first network's second round, and nothing after it
