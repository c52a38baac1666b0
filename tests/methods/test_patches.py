"""Crops that a network is surest of."""

import pytest
import torch
import torch.nn.functional as F

from fedistill.core.seeds import generator
from fedistill.errors import SettingError
from fedistill.methods import Task, in_memory
from fedistill.methods.engine.soft_labels import teacher
from fedistill.methods.patches import PatchSettings, crop, patches


def test_whole_images_are_taken_in_the_order_of_their_losses(blobs):
    x = blobs((30, 20))
    task = Task(x, 3, width=4, remember=in_memory())
    made = patches(task, PatchSettings(pack=1, smallest_area=1.0, crops=2, steps=20))
    losses = F.cross_entropy(task.network()(teacher(task, 20, 0), x.pixels()), x.targets(), reduction="none")
    for label in (0, 1):
        own = x.targets() == label
        surest = x.pixels()[own][losses[own].argsort()[:3]]
        assert torch.equal(made.images[made.labels == label], surest)


def test_of_an_image_s_crops_the_surest_is_taken(blobs):
    x = blobs((6, 6))
    task = Task(x, 6, width=4, remember=in_memory())
    few, many = (patches(task, PatchSettings(pack=1, crops=n, steps=20)) for n in (1, 8))

    def mean_loss(made):
        logits = task.network()(teacher(task, 20, 0), made.images)
        return float(F.cross_entropy(logits, made.labels))

    assert mean_loss(many) < mean_loss(few)


def test_they_are_packed_and_follow_from_the_seed(blobs):
    x = blobs((9, 20, 2))
    one, again, other = (patches(Task(x, 3, seed=seed, width=4), PatchSettings(steps=3)) for seed in (0, 0, 1))
    assert one.pack == 2 and one.labels.tolist() == [0, 0, 1, 1, 1, 2]  # as many whole ones as a class fills
    assert torch.equal(one.images, again.images) and not torch.equal(one.images, other.images)


def test_crops_stay_within_their_image():
    x = torch.rand(50, 1, 9, 9)
    made = crop(x, 0.3, generator(0, "crop"))
    assert made.shape == x.shape and (made.flatten(1).amax(1) <= x.flatten(1).amax(1) + 1e-6).all()
    assert torch.equal(crop(x, 1.0, generator(0, "crop")), x)


def test_several_labels_are_refused(blobs):
    with pytest.raises(SettingError, match="multi-label"):
        patches(Task(blobs(multilabel=True), 2), PatchSettings())
