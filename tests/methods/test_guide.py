"""What a network from elsewhere adds to a distillation: weights of real images, and one more network to match under."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedistill.data.imageset import ImageSet
from fedistill.methods import METHODS, Task, settings_for
from fedistill.methods import tdm as module
from fedistill.methods.engine.guide import FLOOR, Guide, drawn, guide_by, losses, weights_of

SETTINGS = {"iterations": 2, "networks": 1, "network_steps": 2, "views": 4, "batch_real": 4}


def images(n=20):
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    return ImageSet(pixels, np.arange(n) % 2, ("no", "yes"))


def plain_weights(logits, labels):
    """Every image's cross-entropy over the mean of its class, with a floor, number by number."""
    loss = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        shifted = [value - max(row) for value in row]
        loss.append(math.log(sum(map(math.exp, shifted))) - shifted[label])
    mean = {c: np.mean([one for one, label in zip(loss, labels.tolist(), strict=True) if label == c]) for c in (0, 1)}
    return [max(FLOOR, one / mean[label]) for one, label in zip(loss, labels.tolist(), strict=True)]


def test_weights_are_the_plain_ones_of_the_networks_loss():
    real, task = images(), Task(images(), 1, model="convnet", width=4)
    net = task.network()
    params = net.init(torch.Generator().manual_seed(1))
    guide = guide_by(net, params, real.pixels(), real.targets(), least=3)
    logits = net(params, real.pixels()).double()
    assert guide.weights.tolist() == pytest.approx(plain_weights(logits, real.targets()))
    assert guide.least == 3 and guide.params is params


def test_the_floor_holds_and_a_class_without_loss_is_drawn_evenly():
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    weights = weights_of(torch.tensor([4.0, 0.0, 0.0, 0.0, 0.0, 0.0]), labels)
    assert weights.tolist() == [4.0, FLOOR, FLOOR, FLOOR, 1.0, 1.0]


def test_the_loss_of_several_labels_is_their_mean():
    logits, labels = torch.tensor([[2.0, -1.0]]).double(), torch.tensor([[1.0, 0.0]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    assert losses(logits, labels).tolist() == pytest.approx([expected])
    assert weights_of(torch.tensor([3.0, 1.0]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])).tolist() == [1.5, 0.5]


def test_images_are_drawn_as_often_as_they_weigh():
    weights = torch.tensor([4.0, 2.0, 1.0, 1.0]).double()
    guide, generator = Guide((), weights), torch.Generator().manual_seed(0)
    times = torch.zeros(4)
    for _ in range(4000):
        times[drawn(torch.arange(4), 1, generator, guide)] += 1
    assert (times / 4000).tolist() == pytest.approx((weights / 8).tolist(), abs=0.03)


@pytest.mark.parametrize(("least", "most", "expected"), [(1, 64, 10), (16, 64, 16), (64, 64, 20), (1, 5, 5)])
def test_a_draw_has_its_least_and_no_image_twice(least, most, expected):
    weights = torch.full((20,), 1e-12, dtype=torch.float64)
    weights[3] = 1.0  # one image has all the loss there is
    at = drawn(torch.arange(20), most, torch.Generator().manual_seed(0), Guide((), weights, least))
    assert len(at) == len(at.unique()) == expected and 3 in at


def test_tdm_matches_under_the_guides_network_too_and_judges_by_its_own(monkeypatch):
    seen, judges = [], []
    look, judge = module.view_of, module._cross_entropy
    monkeypatch.setattr(module, "view_of", lambda net, params, *rest: seen.append(params) or look(net, params, *rest))
    monkeypatch.setattr(module, "_cross_entropy", lambda net, one, *rest: judges.append(one) or judge(net, one, *rest))
    task = Task(images(), 2, model="convnet", width=4)
    params = task.network().init(torch.Generator().manual_seed(1))
    guided = replace(task, guide=Guide(params, torch.ones(20, dtype=torch.float64)))
    settings = settings_for("tdm", {**SETTINGS, "iterations": 30}, ipc=2)
    METHODS["tdm"].run(guided, settings)
    theirs = [all(torch.equal(a, b) for a, b in zip(one, params, strict=True)) for one in seen]
    assert sum(theirs) == 2 and len(seen) == 4  # every second view
    assert judges and not any(torch.equal(one.last[0], params[0]) for one in judges)


def test_a_guide_changes_the_images_and_their_key():
    task = Task(images(), 2, model="convnet", width=4)
    params = task.network().init(torch.Generator().manual_seed(1))
    weights = torch.ones(20, dtype=torch.float64)
    tasks = [task, *[replace(task, guide=Guide(params, weights * scale, least)) for scale, least in ((1, 1), (2, 5))]]
    details = [each.detail() for each in tasks]
    assert "guide" not in details[0] and details[1] != details[2]
    settings = settings_for("tdm", SETTINGS, ipc=2)
    made = [METHODS["tdm"].run(each, settings).images for each in tasks[:2]]
    again = METHODS["tdm"].run(tasks[1], settings).images
    assert not torch.equal(*made) and torch.equal(made[1], again)


def test_only_methods_that_look_at_a_guide_say_so():
    assert [name for name, method in METHODS.items() if method.guided] == ["tdm"]
