"""DP-SGD against loops and plain SGD: what one image or patient can change, the noise, and what is spent."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedistill.core.accounting import epsilon_of
from fedistill.data.imageset import ImageSet
from fedistill.errors import SettingError
from fedistill.models import MODELS, build, objective
from fedistill.training.clipping import gradients_of_each
from fedistill.training.dpsgd import DPSGD, begin, fit_privately
from fedistill.training.noise import Seeded, System

PRIVATE = DPSGD(8.0, 1e-5, clip=0.3, rate=1.0, steps=3, lr=0.2, momentum=0.9, accountant="rdp")
QUIET = 1e-12  # as good as no noise


def some(n=12, *, size=8, groups=None, multilabel=False, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, size, size, 1), np.uint8)
    labels = rng.integers(0, 2, (n, 3) if multilabel else n).astype(np.int64)
    names, task = (
        ("0", "1", "2")[: 3 if multilabel else 2],
        "multi-label, binary-class" if multilabel else "binary-class",
    )
    return ImageSet(pixels, labels, names, groups=groups, task=task)


def tiny(classes=2, *, size=8):
    return build("convnet", channels=1, classes=classes, size=size, width=3)


def trained(images, private=PRIVATE, *, sigma=QUIET, source=None, net=None, steps=None):
    net = net or tiny(images.n_classes)
    noise = Seeded(0, "test") if source is None else source
    return fit_privately(net, images, private, sigma=sigma, source=noise, start=begin(net, 0), steps=steps)


def flat(params):
    return torch.cat([p.flatten() for p in params]).double()


def each_by_a_loop(net, params, x, y):
    found = []
    for image, label in zip(x, y, strict=True):
        weights = [p.clone().requires_grad_() for p in params]
        loss = objective(net(tuple(weights), image[None]), label[None])
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)]))
    return torch.stack(found)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_each_image_are_a_loop_s(name):
    net, x = build(name, channels=1, classes=2, size=28, width=4), some(3, size=28)
    params = net.init(torch.Generator().manual_seed(0), torch.float64)
    pixels, targets = x.pixels().double(), x.targets()
    found = gradients_of_each(net, params)(pixels, targets)
    torch.testing.assert_close(found, each_by_a_loop(net, params, pixels, targets), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("multilabel", [False, True])
def test_without_noise_and_clipping_it_is_plain_sgd(multilabel):
    x = some(multilabel=multilabel)
    net = tiny(x.n_classes)
    found = trained(x, replace(PRIVATE, clip=1e6))
    weights = [p.clone().requires_grad_() for p in begin(net, 0)]
    optimizer = torch.optim.SGD(weights, lr=0.2, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        objective(net(tuple(weights), x.pixels()), x.targets()).backward()
        optimizer.step()
    torch.testing.assert_close(found, tuple(w.detach() for w in weights), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(flat(found), flat(begin(net, 0)), atol=1e-2)


def summed(images, *, clip):
    """The sum that one step adds noise to: no norm is lost by another number of images."""
    one = replace(PRIVATE, clip=clip, lr=1.0, momentum=0.0, steps=1)
    units = len(images) if images.groups is None else len(np.unique(images.groups))
    return (flat(begin(tiny(), 0)) - flat(trained(images, one))) * units


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-2, 1e2), st.booleans())
def test_one_image_or_patient_moves_the_sum_by_the_clip_at_most(seed, clip, patients):
    rng = np.random.default_rng(seed)
    x = some(8, seed=seed, groups=rng.integers(0, 4, 8) if patients else None)
    gone = x.groups == x.groups[0] if patients else np.arange(8) == 0
    if gone.all():
        return
    moved = float((summed(x, clip=clip) - summed(x.take(np.flatnonzero(~gone)), clip=clip)).norm())
    own = float(each_by_a_loop(tiny(), begin(tiny(), 0), x.pixels()[gone], x.targets()[gone]).sum(0).norm())
    assert moved <= clip * (1 + 1e-3)
    assert moved == pytest.approx(min(clip, own), rel=1e-2)  # and by no less than it has to say


@pytest.mark.parametrize("source", [Seeded(0, "noise"), System()], ids=["seeded", "system"])
def test_the_noise_has_the_scale_it_is_said_to_have(source):
    x = some()
    private = replace(PRIVATE, lr=1.0, momentum=0.0, steps=1)
    net = build("convnet", channels=1, classes=2, size=8, width=24)
    clean, noisy = (flat(trained(x, private, net=net, sigma=s, source=source)) for s in (QUIET, 5.0))
    noise = (noisy - clean) * len(x) / (5.0 * private.clip)
    n = len(noise)
    assert float(noise.std()) == pytest.approx(1, abs=5 / math.sqrt(2 * n)) and abs(float(noise.mean())) < 5 / n**0.5


def test_samples_divide_by_how_many_are_expected_not_by_how_many_came():
    """Whether one image came would show in the divisor, by more than the clip."""
    x, private = some(40), replace(PRIVATE, rate=0.3, lr=1.0, momentum=0.0, steps=1, clip=1e6)
    net, noise = tiny(), Seeded(0, "s")
    moved = flat(begin(net, 0)) - flat(trained(x, private, source=noise))
    taken = noise.uniform(40, "sample", 0) < 0.3
    each = each_by_a_loop(net, begin(net, 0), x.pixels(), x.targets()).double()
    assert int(taken.sum()) not in (0, 12)
    torch.testing.assert_close(moved, each[taken].sum(0) / 12, rtol=1e-3, atol=1e-5)


def test_same_seed_same_network():
    x, sigma = some(), PRIVATE.mechanism().sigma
    one, same, other = (flat(trained(x, sigma=sigma, source=Seeded(seed, "a"))) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)
    system = [flat(trained(x, sigma=sigma, source=System())) for _ in range(2)]
    assert not torch.equal(*system)


def test_rounds_spend_together_what_was_asked_for():
    private = replace(PRIVATE, rate=0.3, steps=12)
    assert private.spent(12) <= 8.0 < private.spent(13)
    costs = [private.cost(4)] * 3
    assert epsilon_of([c.mechanism for c in costs], delta=1e-5, accountant="rdp") == pytest.approx(private.spent(12))
    assert costs[0].epsilon == private.spent(4) < private.spent(12)


def test_an_image_without_a_gradient_says_nothing():
    """Clipping a vector that is not finite would leave NaN, and show that such an image is there."""
    net, x = tiny(), some()
    start = tuple(p * 1e30 for p in begin(net, 0))
    assert not torch.isfinite(gradients_of_each(net, start)(x.pixels(), x.targets())).all(1).any()
    moved = fit_privately(net, x, PRIVATE, sigma=QUIET, source=Seeded(0, "a"), start=start)
    assert torch.allclose(flat(moved), flat(start), atol=1e-6)


def test_settings_that_cannot_be():
    for wrong in ({"epsilon": 0.0}, {"delta": 1.0}, {"rate": 0.0}, {"steps": 0}):
        with pytest.raises(SettingError, match=f"{next(iter(wrong))} cannot be"):
            replace(PRIVATE, **wrong).mechanism()
