"""Images are read out of Releases of small settings, and not out of those that the floors allow (privacy/README.md)."""

import pytest
import torch
from attacks.copying import Question, Repeated, in_gradient, near, released
from attacks.small_settings import attacked, drawn, question, world

from fedistill.models import build
from fedistill.privacy.policy.rules import SitePolicy

FLOORS = SitePolicy()
BATCH, CLASS, ITERATIONS = FLOORS.smallest_batch, FLOORS.min_class_size, FLOORS.fewest_iterations
"""The floors: real images in a mean, images of a class or cluster, steps."""


@pytest.fixture(scope="module")
def known():
    """What the attacker knows of such pictures, and pictures at no site."""
    return world()


def found(known, n, *asked, seed=0, **more):
    """How near he comes to the n images of a class from the answers to what he asks."""
    prior, others = known
    return attacked(drawn(n, seed), prior, others, asked, **more)


REPEATED = [
    Question("dm", {"iterations": 3, "batch_real": 4, "augment": True, "momentum_img": 0.5}, "convnet", 4),
    Question("dm", {"iterations": 2, "batch_real": 1, "clusters": 2, "smallest_cluster": 2}, ipc=2),
    Question("dc", {"iterations": 2, "batch_real": 3}, width=16),
    Question("dsa", {"iterations": 2, "batch_real": 3}, "convnet", 4, ipc=2),
    Question("mtt", {"iterations": 2, "batch_expert": 3, "experts": 2, "augment": True, "syn_steps": 2}, width=8),
]


@pytest.mark.parametrize("asked", REPEATED, ids=lambda q: q.method)
def test_the_attacker_repeats_what_the_package_does(asked):
    site = drawn(8, seed=3)
    repeated, (made, _) = Repeated(asked, site), released(asked, site)
    assert (made - repeated.first.images).abs().max() > 1e-3
    assert torch.allclose(repeated(site.pixels().double()), made, atol=1e-5)


ONE = [
    question("dm", 1, width=128),
    question("dm", 1, width=128, encoding="uint8"),
    question("dm", 1, width=64, ipc=2, iterations=2),
    question("dc", 1, width=32),
    question("dsa", 1, width=32, ipc=2),
    question("mtt", 1, width=16),
]


@pytest.mark.parametrize("asked", ONE, ids=lambda q: f"{q.method}-{q.width}-{q.ipc}-{q.encoding}")
def test_one_image_in_a_batch_is_copied(known, asked):
    assert found(known, 1, asked, finest=1e-3).copied


def test_who_does_not_know_the_seed_copies_nothing(known):
    asked = question("dm", 1, width=128)
    assert found(known, 1, asked, finest=1e-3).copied
    assert not found(known, 1, asked, finest=1e-3, supposed=1).near


def test_images_in_batches_of_two_are_copied(known):
    assert found(known, 2, question("dm", 2, width=128, ipc=4), finest=1e-3).copied
    assert found(known, 4, question("dm", 2, width=64, ipc=4, iterations=4, seed=2), finest=1e-3).copies == 3


def test_a_cluster_of_two_is_a_batch_of_two(known):
    asked = question("dm", 16, width=64, ipc=4, iterations=4, seed=2)
    clustered = Question(**vars(asked) | {"settings": dict(asked.settings) | {"clusters": 2, "smallest_cluster": 2}})
    assert found(known, 4, clustered, finest=1e-3).copied


def test_at_the_floors_nothing_is_copied(known):
    """Nor much beyond what chance comes near."""
    asked = question("dm", BATCH, width=32, ipc=4, iterations=ITERATIONS, encoding="uint8")
    result = found(known, CLASS, asked)
    assert result.copies == 0
    assert result.near <= 0.1 * CLASS


def test_an_mlps_whole_gradient_holds_images_whatever_the_batch(known):
    """Why no MLP is on the list of models: only the few pixels of a Release stand before its gradients."""
    _, others = known
    x = drawn(32, 0).pixels().double()
    net = build("mlp", channels=1, classes=2, size=x.shape[-1], width=128)
    params = net.init(torch.Generator().manual_seed(0), torch.float64)
    rows = in_gradient(net, params, x, torch.zeros(32).long())
    assert near(rows.view(-1, *x.shape[1:]), x, others).share < 1e-6


VARIANTS = [
    {"method": "dm", "width": 32, "ipc": 10},
    {"method": "dm", "width": 128, "ipc": 4},
    {"method": "dm", "width": 32, "ipc": 4, "iterations": 40},
    {"method": "dm", "width": 32, "ipc": 4, "lr": 0.3},
    {"method": "dm", "width": 4, "ipc": 1, "model": "convnet"},
    {"method": "dc", "width": 32, "ipc": 4},
    {"method": "dc", "width": 16, "ipc": 1},
    {"method": "dsa", "width": 32, "ipc": 4},
    {"method": "mtt", "width": 32, "ipc": 4},
    {"method": "mtt", "width": 16, "ipc": 1},
]


@pytest.mark.slow
@pytest.mark.parametrize("asked", VARIANTS, ids=lambda asked: "-".join(map(str, asked.values())))
def test_at_the_floors_no_method_lets_any_be_copied(known, asked):
    result = found(known, CLASS, question(batch=BATCH, **{"iterations": ITERATIONS, "encoding": "uint8", **asked}))
    assert result.copies == 0
    assert result.near <= 0.1 * CLASS
