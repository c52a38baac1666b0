"""TDM: distribution matching under trained networks."""

import numpy as np
import pytest
import torch
from oracles import tdm as oracle

from fedistill.core.seeds import generator
from fedistill.methods import Task, distill
from fedistill.methods.engine.adam import adam
from fedistill.methods.engine.loop import State
from fedistill.methods.engine.start import Start
from fedistill.methods.engine.trained import TrainedSettings, balanced, trained_networks
from fedistill.methods.tdm import Group, distance, merged, some_of_each, unpacked, view_of
from fedistill.models import build


def network(channels=1):
    net = build("convnet", channels=channels, classes=3, size=28, width=4)
    return net, net.init(generator(0, "init"), torch.float64)


@pytest.mark.parametrize("deviations", [0.0, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_distance_is_the_plain_one(deviations, channels):
    """Groups of one and of several images, against loops over images in float64."""
    net, params = network(channels)
    draw = generator(0, "pixels")
    real = torch.randn((12, channels, 28, 28), generator=draw, dtype=torch.float64)
    made = torch.randn((4, channels, 28, 28), generator=draw, dtype=torch.float64)
    drawn = [torch.arange(5), torch.tensor([7, 5, 11])]
    groups = [Group(drawn[0], slice(0, 3)), Group(drawn[1], slice(3, 4))]
    view = view_of(net, params, real, drawn, None)
    found = distance(net, view, made, groups, deviations)
    wanted = oracle.distance(net, params, [real[at] for at in drawn], [made[g.made] for g in groups], deviations)
    assert float(found) == pytest.approx(wanted, rel=1e-6)


def test_the_real_images_are_at_no_distance_from_themselves():
    net, params = network()
    real = torch.randn((8, 1, 28, 28), generator=generator(0, "pixels"), dtype=torch.float64)
    drawn = [torch.arange(4), torch.arange(4, 8)]
    groups = [Group(drawn[0], slice(0, 4)), Group(drawn[1], slice(4, 8))]
    view = view_of(net, params, real, drawn, None)
    assert float(distance(net, view, real, groups, 1.0)) == pytest.approx(0, abs=1e-9)
    assert float(distance(net, view, real.flip(0), groups, 1.0)) > 1e-3


def test_adam_is_torch_s():
    draw = generator(0, "gradients")
    gradients = [torch.randn(5, generator=draw, dtype=torch.float64) for _ in range(7)]
    state = State(torch.zeros(5, dtype=torch.float64), torch.zeros(2, 5, dtype=torch.float64))
    for gradient in gradients:
        state = adam(state, gradient, 0.1, betas=(0.9, 0.99))
    torch.testing.assert_close(state.images, oracle.adam(gradients, lr=0.1, eps=1e-12), rtol=1e-9, atol=1e-12)


def test_a_cluster_listed_twice_is_one_group_with_both_its_images():
    one, other = torch.arange(5), torch.arange(5, 9)
    first = Start(torch.zeros(6, 1, 8, 8), torch.zeros(6), [one, one, other], [slice(0, 2), slice(2, 4), slice(4, 6)])
    assert [(g.real is one, g.made) for g in merged(first)] == [(True, slice(0, 4)), (False, slice(4, 6))]


def test_a_step_draws_some_images_of_each_cluster_and_moves_no_others(blobs):
    """Of five images a class two are drawn anew at each step; packed ones are drawn whole."""
    real = torch.arange(3)
    groups = [Group(real, slice(0, 5)), Group(real, slice(5, 7))]
    draws = [some_of_each(groups, 2, generator(0, str(i))) for i in range(200)]
    assert {tuple(at[:2].tolist()) for at, _ in draws} == {(a, b) for a in range(5) for b in range(a + 1, 5)}
    assert all(at[2:].tolist() == [5, 6] for at, _ in draws)
    assert [g.made for g in draws[0][1]] == [slice(0, 2), slice(2, 4)]
    assert [g.made for g in unpacked(draws[0][1], 2)] == [slice(0, 8), slice(8, 16)]

    x = blobs((30, 30))
    settings = {"networks": 1, "network_steps": 2, "views": 1, "clusters": 1, "batch_syn": 2}
    begun, made = (distill(x, method="tdm", ipc=5, width=4, settings={**settings, "iterations": n}) for n in (1, 2))
    moved = (begun.images != made.images).flatten(1).any(1)
    assert 4 <= moved.sum() <= 8 and len(moved) == 10  # the first step's go on by their momentum


def test_networks_are_trained_and_remembered(blobs):
    """Every class is drawn equally often, and a second call finds the networks of the first."""
    x, kept = blobs((20, 3, 9)), {}

    def remember(kind, about, make):
        kept.setdefault((kind, about["network"]), make())
        return kept[kind, about["network"]]

    task = Task(x, 2, width=4, remember=remember)
    assert np.bincount(x.labels[balanced(task, 10_000, generator(0, "drawn"))]).tolist() == [20, 20, 20]
    one = trained_networks(task, TrainedSettings(networks=2, network_steps=3))
    two = trained_networks(task, TrainedSettings(networks=2, network_steps=3))
    assert len(kept) == 2 and all(torch.equal(a, b) for a, b in zip(one[1].last, two[1].last, strict=True))
    assert not torch.equal(one[0].last[0], one[1].last[0]) and not torch.equal(one[0].first[0], one[0].last[0])


def test_images_teach_what_noise_does_not(blobs):
    """From noise, the images of a class come to look like the class: its blob is where the real ones' is."""
    x = blobs((60, 60))
    settings = {"iterations": 60, "networks": 1, "network_steps": 30, "views": 4}
    made = distill(x, method="tdm", ipc=2, width=4, settings=settings)
    means = torch.stack([x.pixels()[x.targets() == c].mean(0) for c in (0, 1)])
    near = torch.stack([((image - means) ** 2).mean((1, 2, 3)) for image in made.images])
    assert near.argmin(1).tolist() == made.labels.tolist()
