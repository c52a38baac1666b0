"""AdamW and mixtures of images, held against torch.optim and plain loops; and what equal recipes are called by."""

import pytest
import torch
from oracles import fit as oracle

from fedistill.core.seeds import generator
from fedistill.core.settings import checked
from fedistill.errors import SettingError
from fedistill.models import build
from fedistill.training import graphs, mix
from fedistill.training.adamw import AdamW
from fedistill.training.ensemble import fit_ensemble
from fedistill.training.fit import fit
from fedistill.training.recipe import Recipe

NETWORK = build("convnet", channels=1, classes=3, size=8, width=4)


def data(n=10):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, 1, 8, 8, generator=g), torch.randint(3, (n,), generator=g)


def batches(images, batch, steps, seed):
    """The order that `fit` takes: whole epochs, one running into the next."""
    order, waiting = generator(seed, "order"), torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(waiting) < batch:
            waiting = torch.cat([waiting, torch.randperm(images, generator=order)])
        yield waiting[:batch]
        waiting = waiting[batch:]


def test_adamw_equals_torchs():
    """On an MLP: a ConvNet's biases before a norm have no gradient but rounding, which AdamW makes whole steps of."""
    x, y = data()
    mlp = build("mlp", channels=1, classes=3, size=8, width=4)
    recipe = Recipe(lr=0.01, steps=7, batch=4, augment=False, optimiser="adamw", weight_decay=0.1)
    made = fit(mlp, x, y, recipe, seed=3, mirror=True)
    given = {"params": mlp.init(generator(3, "init")), "orders": list(batches(10, 4, 7, 3))}
    wanted = oracle.adamw(mlp, x, y, **given, lr=0.01, weight_decay=0.1, steps=7)
    for a, b in zip(made, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    sgd = fit(mlp, x, y, Recipe(lr=0.01, steps=7, batch=4, augment=False), seed=3, mirror=True)
    assert not torch.allclose(made[0], sgd[0], atol=1e-3)


def test_adamw_leaves_what_has_no_gradient_but_for_its_decay():
    weight = torch.ones(3)
    AdamW([weight], weight_decay=0.5).step([torch.zeros(3)], lr=0.1)
    assert weight.tolist() == pytest.approx([0.95] * 3)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixtures_equal_plain_loops(kind):
    x, y = data(6)
    logits, drawing = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2)
    shares = []
    for _ in range(20):
        one = mix.draw(drawing, 6, kind=kind, size=8)
        shares.append(one.share)
        assert sorted(one.partner.tolist()) == list(range(6)) and 0 <= one.share <= 1
        torch.testing.assert_close(mix.apply(x, one), oracle.mixed(x, one.partner, one.share, one.box))
        wanted = oracle.mixed_loss(logits, y, one.partner, one.share, 3)
        torch.testing.assert_close(mix.mixed_objective(logits, y, one), wanted)
    assert max(shares) - min(shares) > 0.5


def test_a_cut_rectangle_is_as_large_as_its_share():
    drawing, seen = torch.Generator().manual_seed(0), set()
    for _ in range(200):
        one = mix.draw(drawing, 2, kind="cutmix", size=8)
        top, bottom, left, right = one.box
        assert 0 <= top <= bottom <= 8 and 0 <= left <= right <= 8
        other = mix.apply(torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]), mix.Mix(
            torch.tensor([1, 0]), one.share, one.box
        ))  # fmt: skip
        assert float(other[0].mean()) == pytest.approx(1 - one.share) and float(other[1].mean()) == one.share
        seen.add((top, left))
    assert len(seen) > 20


def test_several_labels_an_image_mix_as_well():
    y = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0]])
    one = mix.Mix(torch.tensor([1, 0]), 0.25, None)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits, 0.25 * y + 0.75 * y.flip(0))
    torch.testing.assert_close(mix.mixed_objective(logits, y, one), wanted)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_fitting_mixes_each_batch(kind):
    """The same as a loop that draws from the network's own seed, steps by torch.optim and knows nothing of `fit`."""
    x, y = data()
    recipe = Recipe(lr=0.05, steps=6, batch=4, augment=False, mix=kind)
    made = fit(NETWORK, x, y, recipe, seed=3, mirror=True)
    params = [p.clone().requires_grad_() for p in NETWORK.init(generator(3, "init"))]
    optimizer = torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=5e-4)
    drawing = generator(3, "mix")
    for step, at in enumerate(batches(10, 4, 6, 3)):
        one = mix.draw(drawing, 4, kind=kind, size=8)
        optimizer.param_groups[0]["lr"] = 0.05 if step < 3 else 0.005
        optimizer.zero_grad()
        logits = NETWORK(tuple(params), oracle.mixed(x[at], one.partner, one.share, one.box))
        oracle.mixed_loss(logits, y[at], one.partner, one.share, 3).backward()
        optimizer.step()
    for a, b in zip(made, params, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-4, atol=1e-6)


def test_a_mixture_changes_no_other_draw():
    """Order and augmentation come from generators of their own: what is compared differs in the mixture alone."""
    from fedistill.training.schedule import schedule

    given = {"seeds": [5], "size": 8, "mirror": True, "device": torch.device("cpu")}
    plain, mixed = (list(schedule(Recipe(steps=4, batch=3, mix=kind), 7, **given)) for kind in ("none", "cutmix"))
    for a, b in zip(plain, mixed, strict=True):
        assert torch.equal(a.at, b.at) and torch.equal(a.draws[0].values, b.draws[0].values)
        assert a.mixes is None and b.mixes[0].box is not None


def test_where_steps_are_graphs_a_strong_recipe_takes_plain_ones(monkeypatch):
    x, y = data()
    recipe = Recipe(steps=4, batch=4, optimiser="adamw", mix="mixup", lr=0.001)
    alone = [fit(NETWORK, x, y, recipe, seed=seed, mirror=True) for seed in (0, 1)]
    monkeypatch.setattr(graphs, "used_on", lambda device: True)
    together = fit_ensemble(NETWORK, x, y, recipe, seeds=[0, 1], mirror=True)
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_was_trained_before_keeps_its_name():
    before = "name lr steps epochs batch momentum weight_decay augment fall".split()
    assert list(Recipe().detail()) == before
    assert list(Recipe(optimiser="adamw").detail()) == [*before, "optimiser"]
    assert Recipe(mix="cutmix").detail() != Recipe(mix="mixup").detail()
    assert Recipe(**Recipe(mix="cutmix").detail()) == Recipe(mix="cutmix")


@pytest.mark.parametrize(("wrong", "message"), [({"optimiser": "adam"}, "adamw"), ({"mix": "cutmx"}, "cutmix")])
def test_what_there_is_not_is_refused(wrong, message):
    with pytest.raises(SettingError, match=message):
        checked(Recipe, wrong, "the recipe")
