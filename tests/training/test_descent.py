"""A network's steps in buffers: the same as plain ones, whatever they are asked for in turn."""

import pytest
import torch

from fedistill.models import build, objective
from fedistill.training import descent as subject
from fedistill.training.descent import ALIGNED, Descent, Layout, Rule, borrowed, lowered
from fedistill.training.fit import fit
from fedistill.training.recipe import Recipe

NETWORK = build("convnet", channels=1, classes=3, size=8, width=4)
F64 = torch.float64


def batch(n, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 8, 8, generator=g, dtype=F64), torch.randint(3, (n,), generator=g)


def take(descent, x, y, lr):
    descent.step(x[None], y[None], lr)


def begin(seed=0):
    return NETWORK.init(torch.Generator().manual_seed(seed), F64)


@pytest.mark.parametrize("rule", [Rule(), Rule(0.9, 0.1), Rule(momentum=0.5, proximal=0.3), Rule(proximal=0.3)])
def test_steps_are_torch_optim_s_with_a_pull_to_the_origin(rule):
    descent = Descent(NETWORK, [begin(1)], rule=rule)
    take(descent, *batch(3), 0.1)  # forgotten by the restart
    descent.restart([begin()])
    params = [p.clone().requires_grad_() for p in begin()]
    optimizer = torch.optim.SGD(params, momentum=rule.momentum, weight_decay=rule.weight_decay, lr=0.1)
    for number, (n, lr) in enumerate([(4, 0.1), (4, 0.1), (2, 0.1), (4, 0.02)]):  # shapes and step sizes change
        x, y = batch(n, number)
        loss = objective(NETWORK(tuple(params), x), y)
        pull = sum((p - p0).square().sum() for p, p0 in zip(params, begin(), strict=True))
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        (loss + rule.proximal / 2 * pull).backward()
        optimizer.step()
        take(descent, x, y, lr)
        assert float(descent.loss[0]) == pytest.approx(float(loss.detach()), rel=1e-10)
    for a, b in zip(descent.current()[0], params, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-9, atol=1e-12)


def test_fedprox_is_fit_in_both_forms(monkeypatch):
    x, y = batch(6)
    recipe = Recipe(lr=0.1, steps=9, batch=4)
    plain = fit(NETWORK, x, y, recipe, seed=1, mirror=True, start=begin(), proximal=0.5)
    monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device: True)
    for a, b in zip(fit(NETWORK, x, y, recipe, seed=1, mirror=True, start=begin(), proximal=0.5), plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_an_idle_network_s_buffers_are_taken_again_by_its_kind_alone(monkeypatch):
    monkeypatch.setattr(subject, "_idle", type(subject._idle)())
    kind = {"rule": Rule(), "precision": "float32"}
    with borrowed(NETWORK, [begin()], **kind) as one, borrowed(NETWORK, [begin()], **kind) as beside:
        assert beside is not one
    with borrowed(NETWORK, [begin(3)], rule=Rule(), precision="float32") as again:
        assert again is one and all(torch.equal(a, b) for a, b in zip(again.current()[0], begin(3), strict=True))
    with borrowed(NETWORK, [begin()], rule=Rule(0.9), precision="float32") as other:
        assert other is not one
    for momentum in range(1, 30):
        with borrowed(NETWORK, [begin()], rule=Rule(momentum / 30), precision="float32"):
            pass
    assert len(subject._idle) == subject.IDLE


def test_bfloat16_rounds_on_the_way_in_and_keeps_the_weights_type():
    params = tuple(p.float().requires_grad_() for p in begin())
    x, y = batch(4)
    low = lowered(NETWORK, "bfloat16")
    logits = low(params, x.float())
    assert logits.dtype == torch.float32 and torch.equal(logits, logits.bfloat16().float())
    grads = torch.autograd.grad(objective(logits, y), params)
    full = torch.autograd.grad(objective(NETWORK(params, x.float()), y), params)
    one, other = (torch.cat([g.flatten() for g in each]) for each in (grads, full))
    assert grads[0].dtype == torch.float32 and 0.99 < float(torch.cosine_similarity(one, other, 0)) < 0.9999999
    assert lowered(NETWORK, "tf32") is NETWORK


def test_a_few_shapes_are_kept():
    descent = Descent(NETWORK, [begin()])
    for n in range(1, 12):
        take(descent, *batch(n), 0.1)
        assert len(descent._steps) <= subject.SHAPES


def test_networks_side_by_side_take_their_own_steps():
    rule = Rule(0.9, 0.01)
    three = Descent(NETWORK, [begin(k) for k in range(3)], rule=rule)
    alone = [Descent(NETWORK, [begin(k)], rule=rule) for k in range(3)]
    for number in range(3):
        batches = [batch(4, 10 * number + k) for k in range(3)]
        three.step(*(torch.stack(parts) for parts in zip(*batches, strict=True)), 0.1)
        for descent, (x, y) in zip(alone, batches, strict=True):
            take(descent, x, y, 0.1)
    for k, descent in enumerate(alone):
        for a, b in zip(three.current()[k], descent.current()[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
        assert float(three.loss[k]) == pytest.approx(float(descent.loss[0]), rel=1e-10)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_vector_holds_the_parameters(channels_last):
    params = build("convnet", channels=3, classes=2, size=8, width=4).init(torch.Generator().manual_seed(0))
    layout = Layout(params, channels_last=channels_last)
    vector = layout.vector(params)
    views = layout.views(vector)
    assert vector.shape == (layout.size,) and layout.size % ALIGNED == 0
    assert all(v.storage_offset() % ALIGNED == 0 for v in views)
    assert vector.abs().sum() == pytest.approx(float(sum(p.abs().sum() for p in params)), rel=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(views, params, strict=True))
    vector.zero_()
    assert not any(v.any() for v in views)
    assert views[0].is_contiguous(memory_format=torch.channels_last) == channels_last
