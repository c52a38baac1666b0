"""Fitting: the same as plain torch.optim, and it repeats."""

import torch
from oracles import fit as oracle

from fedistill.core.seeds import generator
from fedistill.models import build
from fedistill.training.fit import fit, predict, stack, unstack
from fedistill.training.recipe import Recipe

NETWORK = build("convnet", channels=1, classes=3, size=8, width=4)


def data(n=10):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 1, 8, 8, generator=g), torch.randint(3, (n,), generator=g)


def test_equals_plain_training():
    x, y = data()
    recipe = Recipe(lr=0.05, steps=7, batch=4, augment=False)
    made = fit(NETWORK, x, y, recipe, seed=3, mirror=True)
    order = generator(3, "order")
    waiting, batches = torch.empty(0, dtype=torch.int64), []
    for _ in range(7):
        if len(waiting) < 4:
            waiting = torch.cat([waiting, torch.randperm(10, generator=order)])
        batches.append(waiting[:4])
        waiting = waiting[4:]
    wanted = oracle.fit(
        NETWORK,
        x,
        y,
        params=NETWORK.init(generator(3, "init")),
        orders=batches,
        lr=0.05,
        momentum=0.9,
        weight_decay=5e-4,
        steps=7,
    )
    for a, b in zip(made, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_every_image_is_seen_once_an_epoch():
    seen = []

    class Spy:
        def init(self, g):
            return (torch.zeros(1, 3),)

        def __call__(self, params, x):
            seen.extend(x[:, 0, 0, 0].tolist())
            return x[:, 0, 0, :1] @ params[0]

    x = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 8, 8).clone()
    fit(Spy(), x, torch.zeros(6, dtype=torch.int64), Recipe(steps=6, batch=4, augment=False), seed=0, mirror=True)
    for epoch in range(4):
        assert sorted(seen[6 * epoch : 6 * epoch + 6]) == [0, 1, 2, 3, 4, 5]


def test_repeats_bit_for_bit_and_differs_by_seed():
    x, y = data()
    recipe = Recipe(steps=5, batch=4)
    one, again, other = (fit(NETWORK, x, y, recipe, seed=s, mirror=True) for s in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])


def test_learns():
    x, y = data(30)
    params = fit(NETWORK, x, y, Recipe(lr=0.05, steps=150, batch=10, augment=False), seed=0, mirror=True)
    assert (predict(NETWORK, params, x).argmax(1) == y).float().mean() > 0.9


def test_a_pool_smaller_than_a_batch():
    x, y = data(2)
    fit(NETWORK, x, y, Recipe(steps=3, batch=64), seed=0, mirror=False)
    assert Recipe(steps=None, epochs=5, batch=64).steps_for(2) == 5


def test_stack_and_unstack():
    made = [NETWORK.init(torch.Generator().manual_seed(s)) for s in (0, 1)]
    back = unstack(stack(made))
    assert all(torch.equal(a, b) for one, two in zip(made, back, strict=True) for a, b in zip(one, two, strict=True))
