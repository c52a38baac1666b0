"""Several networks: each as `fit` trains it alone, and nothing that would make a processor wait for a GPU."""

from collections import OrderedDict

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fedistill.errors import SettingError
from fedistill.models import build
from fedistill.training.ensemble import at_once, fit_ensemble
from fedistill.training.fit import fit
from fedistill.training.recipe import Recipe

SEEDS = (3, 1, 4)
NETWORK = build("convnet", channels=3, classes=4, size=8, width=3)


def data(n=10, *, pools=None, multilabel=False, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    shape = (n,) if pools is None else (pools, n)
    x = torch.randn(*shape, 3, 8, 8, generator=g, dtype=dtype)
    y = (torch.rand(*shape, 4, generator=g) > 0.5).float() if multilabel else torch.randint(4, shape, generator=g)
    return x, y


def alone(x, y, recipe, seeds=SEEDS):
    own = x.ndim == 5
    return [
        fit(NETWORK, x[k] if own else x, y[k] if own else y, recipe, seed=seed, mirror=True)
        for k, seed in enumerate(seeds)
    ]


def furthest(ones, others):
    pairs = [(a, b) for one, other in zip(ones, others, strict=True) for a, b in zip(one, other, strict=True)]
    return max((a - b).abs().max().item() for a, b in pairs)


@pytest.fixture(params=[False, True], ids=["plain", "in buffers"])
def buffers(request, monkeypatch):
    """Both forms of training, on this processor."""
    if request.param:
        monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device: True)
    return request.param


@pytest.mark.parametrize("pools", [None, 3])
@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize(("n", "batch"), [(10, 4), (5, 64), (1, 4)])
def test_equals_one_network_after_another(pools, multilabel, augment, n, batch, monkeypatch):
    x, y = data(n, pools=pools, multilabel=multilabel)
    recipe = Recipe(lr=0.05, steps=13, batch=batch, augment=augment)
    wanted = alone(x, y, recipe)
    monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device: True)
    together = fit_ensemble(NETWORK, x, y, recipe, seeds=SEEDS, mirror=True)
    assert furthest(together, wanted) < 1e-9
    assert furthest(together[:1], together[1:2]) > 1e-3


def test_steps_are_counted_over_all_networks(buffers):
    x, y = data(6)
    told = []
    fit_ensemble(
        NETWORK,
        x,
        y,
        Recipe(steps=3),
        seeds=(0, 1),
        mirror=True,
        on_step=lambda step, steps: told.append((step, steps)),
    )
    assert told == [(step, 6) for step in ((2, 4, 6) if buffers else range(1, 7))]


def test_more_networks_than_a_gpu_takes_at_once_take_turns(monkeypatch):
    x, y = data(6, pools=5)
    recipe, seeds, told = Recipe(steps=3, batch=4), (0, 1, 2, 3, 4), []
    wanted = alone(x, y, recipe, seeds)
    monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device: True)
    made = fit_ensemble(
        NETWORK, x, y, recipe, seeds=seeds, mirror=True, on_step=lambda step, steps: told.append((step, steps))
    )
    assert furthest(made, wanted) < 1e-9
    assert told == [(step, 15) for step in (4, 8, 12, 13, 14, 15)]  # four networks, then one
    assert all(p.untyped_storage().nbytes() == p.nbytes for params in made for p in params)  # none drags others along
    assert at_once(NETWORK, batch=10**9) == 1


def test_no_networks_and_wrong_numbers_of_pools():
    x, y = data(6, pools=2)
    assert fit_ensemble(NETWORK, x[0], y[0], Recipe(steps=1), seeds=[], mirror=True) == []
    with pytest.raises(SettingError, match="3 pools"):
        fit_ensemble(NETWORK, x, y, Recipe(steps=1), seeds=SEEDS, mirror=True)


class Handovers(TorchDispatchMode):
    """Counts the operations that meet tensors of two devices."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        made = function(*arguments, **(named or {}))
        met = [t.device for t in tree_leaves((arguments, named, made)) if isinstance(t, torch.Tensor)]
        self.count += len(set(met)) > 1
        return made


@pytest.mark.parametrize("seeds", [SEEDS, SEEDS[:1]])
@pytest.mark.parametrize("n", [10, 1])
def test_on_another_device_nothing_is_waited_for(monkeypatch, buffers, seeds, n):
    monkeypatch.setattr("fedistill.training.schedule.AHEAD", 4)
    monkeypatch.setattr("fedistill.training.descent._idle", OrderedDict())  # of these buffers, none for other tests
    # The meta device knows shapes and no numbers: reading one raises, as does a tensor left behind on the processor.
    x, y = (each.to("meta") for each in data(n))
    counts = []
    for steps in (4, 8):
        with Handovers() as watched:
            made = fit_ensemble(NETWORK, x, y, Recipe(steps=steps, batch=4), seeds=seeds, mirror=True)
        counts.append(watched.count)
        assert {p.device.type for params in made for p in params} == {"meta"}
    # Of each network the fresh parameters; then positions and augmentation, once for as many steps as are drawn ahead,
    # and once for all networks where they train side by side.
    fresh, trainings = len(seeds) * len(NETWORK.names), 1 if buffers else len(seeds)
    assert counts == [fresh + trainings * handed for handed in (2, 4)]
