import numpy as np
import pytest
import torch
from oracles import dc as oracle

from fedistill.core import seeds
from fedistill.errors import RunError
from fedistill.methods import Task
from fedistill.methods.dc import DCSettings, dc, dsa, schedule
from fedistill.methods.engine import sgd
from fedistill.methods.engine.matching import distance, match, real_gradient
from fedistill.methods.engine.start import start
from fedistill.models import ConvNet
from fedistill.training import augment


def problem(*, channels=1, size=8):
    """A tiny network in float64, with real and synthetic images of three classes."""
    generator = torch.Generator().manual_seed(0)
    net = ConvNet(channels=channels, classes=3, size=size, width=4, depth=2)
    params = sgd.fresh(net.init(generator, torch.float64))

    def images(n, label):
        x = torch.randn(n, channels, size, size, dtype=torch.float64, generator=generator)
        return x, torch.full((n,), label)

    return net, params, [images(n, c) for c, n in enumerate((7, 1, 10))], [images(2, c) for c in range(3)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 16])
def test_image_gradient_equals_the_oracle(channels, size):
    net, params, reals, synthetic = problem(channels=channels, size=size)
    loss, by_oracle = oracle.image_gradient(net, params, reals, synthetic)
    total = 0.0
    for (real_x, real_y), (x, y), expected in zip(reals, synthetic, by_oracle, strict=True):
        wanted = real_gradient(net, params, real_x, real_y, micro_batch=3)
        away, gradient = match(net, params, x, y, wanted)
        total += away
        assert (gradient - expected).norm() / expected.norm() < 1e-8
    assert total == pytest.approx(float(loss), rel=1e-10)


def test_micro_batches_give_the_gradient_of_the_whole_batch():
    net, params, reals, _ = problem()
    x, y = reals[2]
    whole = real_gradient(net, params, x, y, micro_batch=100)
    for micro_batch in (1, 3, 10):
        for a, b in zip(whole, real_gradient(net, params, x, y, micro_batch=micro_batch), strict=True):
            assert (a - b).norm() / a.norm() < 1e-12


def test_a_row_without_gradient_does_not_make_nan():
    zero = torch.zeros(2, 3, requires_grad=True)
    away = distance([torch.ones(2, 3)], [zero * 1.0])
    assert away == 2 and torch.isfinite(torch.autograd.grad(away, zero)[0]).all()


def augmented(net, params, reals, synthetic, draw):
    """The oracle's image gradients with both sides seen through one draw."""

    def seen(x):
        return augment.apply(x, draw)

    class Seen:
        names = net.names

        def __call__(self, params, x):
            return net(params, seen(x))

    return oracle.image_gradient(Seen(), params, reals, synthetic)


@pytest.mark.parametrize("seed", range(8))
def test_siamese_image_gradient_equals_the_oracle(seed):
    net, params, reals, synthetic = problem(channels=3, size=16)
    draw = augment.draw(torch.Generator().manual_seed(seed), 1, size=16, mirror=True, shared=True)
    _, by_oracle = augmented(net, params, reals, synthetic, draw)
    for (real_x, real_y), (x, y), expected in zip(reals, synthetic, by_oracle, strict=True):
        wanted = real_gradient(net, params, augment.apply(real_x, draw), real_y, micro_batch=3)
        _, gradient = match(net, params, x, y, wanted, draw=draw)
        assert (gradient - expected).norm() / expected.norm() < 1e-8


@pytest.mark.parametrize("method", [dc, dsa])
@pytest.mark.parametrize("multilabel", [False, True])
def test_matching_in_buffers_makes_the_same_images(method, multilabel, blobs, monkeypatch):
    """The form that GPUs take, on this processor; the real batches are whole, as smaller groups are filled up there."""
    images = blobs((9, 7, 8), channels=3, multilabel=multilabel)
    batch = 24 if multilabel else 7
    settings = DCSettings(iterations=3, outer=3, inner=2, batch_real=batch, batch_train=4, lr_img=0.5, looks=0)
    one = method(Task(images, 2, width=4), settings)
    monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device: True)
    two = method(Task(images, 2, width=4), settings)
    torch.testing.assert_close(two.images, one.images, rtol=1e-4, atol=1e-4)
    assert torch.equal(two.labels, one.labels)


def test_bfloat16_points_where_float32_does():
    generator = torch.Generator().manual_seed(0)
    net = ConvNet(channels=1, classes=2, size=28, width=16)
    params = sgd.fresh(net.init(generator))
    x, y = torch.randn(32, 1, 28, 28, generator=generator), torch.zeros(32, dtype=torch.int64)
    full = real_gradient(net, params, x, y, micro_batch=8)
    low = real_gradient(net, params, x, y, micro_batch=8, precision=torch.bfloat16)
    assert all(a.dtype == torch.float32 for a in low)
    assert float(distance(full, low)) / sum(len(a) for a in full) < 0.01
    by_full, by_low = (
        match(net, params, x[:4] + 1, y[:4], full, precision=p)[1] for p in (torch.float32, torch.bfloat16)
    )
    assert float(torch.cosine_similarity(by_full.flatten(), by_low.flatten(), dim=0)) > 0.95


def test_published_schedule():
    assert [schedule(i) for i in (1, 10, 20, 30, 40, 50)] == [(1, 1), (10, 50), (20, 25), (30, 20), (40, 15), (50, 10)]
    assert schedule(5) == (5, 23) and schedule(1000) == (50, 10)


def test_the_matching_loss_falls(blobs):
    events = []
    task = Task(blobs((20, 20, 20)), 2, width=8, on_event=events.append)
    dc(task, DCSettings(iterations=40, outer=1, inner=1, lr_img=1.0))
    events = [e for e in events if e.step is not None]
    losses = [float(e.message.split()[2]) for e in events]
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])
    last = events[-1]
    assert (last.kind, last.method, last.ipc) == ("distilling", "dc", 2) and last.step == last.steps == 40


def test_one_iteration_is_the_paper_s(blobs):
    """Two outer steps of one iteration, written out: momentum on the images, training in between, none at the end."""
    images = blobs((4, 4, 4))
    settings = DCSettings(iterations=1, outer=2, inner=3, lr_img=0.5)
    made = dc(Task(images, 1, width=4), settings).images

    task = Task(images, 1, width=4)
    net, generator = task.network(), seeds.generator(0, "dc", 1, "step", 0, 0)
    first = start(task, "noise", seeds.generator(0, "dc", 1, "start"))
    x, y = first.images, first.labels
    params = sgd.fresh(net.init(generator))
    velocity = torch.zeros_like(x)
    groups = [np.flatnonzero(images.labels == c) for c in range(3)]
    for j in range(2):
        reals = [(images.pixels()[at], images.targets()[at]) for at in groups]
        _, gradients = oracle.image_gradient(net, params, reals, [(x[c : c + 1], y[c : c + 1]) for c in range(3)])
        velocity = 0.5 * velocity + torch.cat(gradients)
        x = x - 0.5 * velocity
        for _ in range(3 if j == 0 else 0):
            grads = torch.autograd.grad(torch.nn.functional.cross_entropy(net(params, x), y), params)
            params = sgd.fresh([p - 0.01 * g for p, g in zip(params, grads, strict=True)])
    torch.testing.assert_close(made, x, rtol=1e-4, atol=1e-4)


def test_infinite_images_are_an_error_that_teaches(blobs):
    with pytest.raises(RunError, match="smaller lr_img"):
        dc(Task(blobs(), 1, width=4), DCSettings(iterations=5, outer=2, inner=2, lr_img=1e30, lr_net=1e30))


def test_dsa_flips_nothing_where_side_has_meaning(blobs, monkeypatch):
    drawn = []
    original = augment.draw

    def draw(*args, **kwargs):
        drawn.append(original(*args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(augment, "draw", draw)
    dsa(Task(blobs(mirror=False), 2, width=4), DCSettings(iterations=20, outer=2, inner=1, looks=0))
    assert len(drawn) == 20 * (2 * 3 + 1)  # one a class and matching step, one an epoch of training in between
    assert {d.op for d in drawn} == set(augment.OPERATIONS) - {"flip"}
