"""Soft labels: how they are made, and that training takes them for what they are."""

from dataclasses import replace

import pytest
import torch

import fedistill as fd
from fedistill.core.seeds import spawn
from fedistill.errors import SettingError
from fedistill.methods import SyntheticSet, Task, distill, settings_for
from fedistill.methods.engine.soft_labels import LabelSettings, soft_labels
from fedistill.models import build, objective
from fedistill.training.fit import fit, predict
from fedistill.training.packing import shown
from fedistill.training.recipe import Recipe

SOFT = {"labels": "soft", "label_networks": 2, "label_steps": 5}


def test_they_are_the_mean_of_the_networks_probabilities_at_a_temperature(blobs):
    x = blobs()
    task, made = Task(x, 2, seed=3, width=4), SyntheticSet(x.pixels()[:5], x.targets()[:5], 2)
    found = soft_labels(task, made, LabelSettings(labels="soft", temperature=3.0, label_networks=2, label_steps=5))
    total = torch.zeros(5, 3)
    for i in range(2):
        recipe = Recipe("labels", lr=0.01, steps=5)
        params = fit(task.network(), x.pixels(), x.targets(), recipe, seed=spawn(3, "labels", i), mirror=True)
        total += (predict(task.network(), params, made.images) / 3).softmax(1) / 2
    torch.testing.assert_close(found, total)


@pytest.mark.parametrize("method", ["random", "dm"])
def test_any_method_s_images_may_have_them_and_stay_the_same(blobs, method):
    x = blobs()
    quick = {"iterations": 1, "early_networks": 2, "early_steps": 4} if method == "dm" else {}
    hard, soft = (distill(x, method=method, ipc=2, width=4, settings=quick | more) for more in ({}, SOFT))
    assert torch.equal(hard.images, soft.images) and torch.equal(hard.labels, soft.labels) and hard.soft is None
    assert soft.soft is not None and soft.soft.shape == (6, 3) and soft.soft.dtype == torch.float32
    torch.testing.assert_close(soft.soft.sum(1), torch.ones(6))


def test_each_image_in_a_packed_one_has_its_own(blobs):
    x = blobs((20, 20))
    made = distill(x, method="random", ipc=2, width=4, settings={"pack": 2, **SOFT})
    assert made.soft is not None and made.soft.shape == (16, 2)
    alone = SyntheticSet(shown(made.images, 2), made.shown().labels, 2)
    settings = LabelSettings(**SOFT)
    torch.testing.assert_close(made.soft, soft_labels(Task(x, 2, width=4), alone, settings))


def test_the_loss_is_cross_entropy_against_probabilities_never_several_labels():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 2, 1, 1])
    certain = torch.nn.functional.one_hot(classes, 3).float()
    torch.testing.assert_close(objective(logits, certain, soft=True), objective(logits, classes))
    assert (
        abs(float(objective(logits, certain) - objective(logits, classes))) > 0.01
    )  # float (N, L) alone: several labels
    p = torch.tensor([[0.2, 0.5, 0.3]]).expand(4, 3)
    torch.testing.assert_close(objective(logits, p, soft=True), -(p * logits.log_softmax(1)).sum(1).mean())


def test_networks_learn_what_they_are_told(blobs):
    x = blobs((12, 12), seed=1)
    told = torch.tensor([[0.7, 0.3]]).expand(24, 2).contiguous()  # whatever the image
    net = build("convnet", channels=1, classes=2, size=8, width=4)
    params = fit(net, x.pixels(), told, Recipe(lr=0.03, steps=150, batch=24), seed=0, mirror=True, soft=True)
    assert (predict(net, params, x.pixels()).softmax(1) - told).abs().max() < 0.15


def test_evaluation_trains_on_them(blobs):
    x = blobs((12, 12), seed=1)
    made = distill(x, method="random", ipc=4, width=4)
    swapped = replace(made, soft=torch.nn.functional.one_hot(1 - made.labels, 2).float())
    right, wrong = (
        fd.evaluate(each, x, width=8, seeds=1, recipe=Recipe(steps=60))["auc"].mean() for each in (made, swapped)
    )
    assert right > 0.75 and wrong < 0.25


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"labels": "fuzzy"}, "labels is invalid"),
        ({"labels": "soft", "temperature": 0.0}, "temperature is invalid"),
        ({"temperature": 2.0}, 'set labels = "soft" beside it'),
    ],
)
def test_mistakes_teach(values, words):
    with pytest.raises(SettingError, match=words):
        settings_for("dm", values, ipc=1)


def test_they_would_break_a_private_bound_and_need_one_label_an_image(blobs):
    with pytest.raises(SettingError, match="break the privacy bound"):
        settings_for("dp-dm", SOFT, ipc=1)
    with pytest.raises(SettingError, match="several labels"):
        distill(blobs(multilabel=True), method="random", ipc=1, width=4, settings=SOFT)
