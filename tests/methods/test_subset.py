import dataclasses

import numpy as np
import pytest
import torch

from fedistill.errors import SettingError
from fedistill.methods import METHODS, Task, settings_for
from fedistill.methods.subset import (
    EmbeddingSettings,
    NoSettings,
    RandomSettings,
    full,
    herd,
    herding,
    kcenter,
    random,
    spread,
)
from fedistill.training.packing import edges, pack_images, shown


def test_full_is_every_image(blobs):
    x = blobs()
    made = full(Task(x, None), NoSettings())
    assert torch.equal(made.images, x.pixels()) and torch.equal(made.labels, x.targets()) and made.ipc is None


def test_random_draws_are_complete_and_independent(blobs):
    x = blobs((5, 0, 2))
    made = random(Task(x, 3, draws=4), RandomSettings())
    assert made.draw is not None and made.draw.bincount().tolist() == [5] * 4
    for i in range(4):
        assert made.labels[made.draw == i].bincount(minlength=3).tolist() == [3, 0, 2]
    again = random(Task(x, 3, draws=2), RandomSettings())
    assert torch.equal(again.images, made.images[made.draw < 2])  # a draw does not depend on how many there are
    assert not torch.equal(made.images[made.draw == 0], made.images[made.draw == 1])
    assert random(Task(x, 3), RandomSettings()).draw is None


def test_real_pixels_come_unchanged(blobs):
    x = blobs()
    known = {image.numpy().tobytes() for image in x.pixels()}
    for made in (random(Task(x, 2), RandomSettings()), herding(Task(x, 2, width=4), EmbeddingSettings(epochs=1))):
        assert {image.numpy().tobytes() for image in made.images} <= known


def test_herding_equals_its_definition():
    features = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    picked: list[int] = []
    for _ in range(6):
        away = {}
        for i in set(range(12)) - set(picked):
            away[i] = float((features[[*picked, i]].mean(0) - features.mean(0)).norm())
        picked.append(min(away, key=away.__getitem__))
    assert herd(features, 6).tolist() == picked


def test_herding_takes_what_there_is(blobs):
    made = herding(Task(blobs((5, 0, 2)), 3, width=4), EmbeddingSettings(epochs=1))
    assert made.labels.bincount(minlength=3).tolist() == [3, 0, 2]


def test_multilabel_budget_is_ipc_times_labels(blobs):
    x = blobs(multilabel=True)
    for made in (random(Task(x, 2), RandomSettings()), herding(Task(x, 2, width=4), EmbeddingSettings(epochs=1))):
        assert made.labels.shape == (6, 3) and made.labels.dtype == torch.float32
    assert len(random(Task(x, 1000), RandomSettings())) == len(x)
    assert np.array_equal(random(Task(x, 1000), RandomSettings()).labels.sum(0), x.labels.sum(0))


def test_kcenter_covers_what_there_is():
    generator = torch.Generator().manual_seed(0)
    centres = 20 * torch.eye(4)
    features = torch.cat([c + torch.randn(9, 4, generator=generator) for c in centres])
    picked = spread(features, 5)
    assert len(set(picked.tolist())) == 5
    assert set((picked // 9).tolist()) == {0, 1, 2, 3}  # every cluster has one, the nearest to the mean came first
    away = torch.cdist(features, features[picked[:4]]).amin(1)
    assert float(away.max()) < 10


def test_kcenter_never_picks_twice_though_images_are_equal(blobs):
    images = blobs((1, 5, 5))
    same = dataclasses.replace(images, images=np.full_like(images.images, 7))
    made = kcenter(Task(same, 3, width=4), EmbeddingSettings(epochs=0))
    assert made.labels.bincount().tolist() == [1, 3, 3]


@pytest.mark.parametrize("pack", [2, 3])
@pytest.mark.parametrize("method", ["random", "herding", "kcenter"])
def test_packed_images_hold_patients_images_of_one_class(blobs, method, pack):
    x = blobs((40, 25))
    settings = settings_for(method, {"pack": pack} | ({} if method == "random" else {"epochs": 1}))
    made = METHODS[method].run(Task(x, 2, width=4), settings)
    assert made.pack == pack and len(made) == 4 and made.labels.tolist() == [0, 0, 1, 1]
    for image, label in zip(made.images, made.labels, strict=True):
        own = x.pixels()[x.targets() == label]
        # In each cell stands one of the class's images, made smaller; packed whole, it stands there in every cell.
        whole = pack_images(own.repeat_interleave(pack**2, 0), pack)
        for i in range(pack):
            for j in range(pack):
                rows, columns = (slice(*edges(8, pack)[at : at + 2]) for at in (i, j))
                assert (whole[..., rows, columns] == image[..., rows, columns]).flatten(1).all(1).any()
    cells = made.shown()
    assert len(cells) == 4 * pack**2 and cells.pack == 1 and cells.labels.bincount().tolist() == [2 * pack**2] * 2


def test_a_class_too_small_for_whole_packed_images(blobs):
    x = blobs((9, 3))
    made = random(Task(x, 4, draws=2), RandomSettings(pack=2))
    assert made.draw is not None and made.draw.tolist() == [0, 0, 0, 1, 1, 1]
    assert made.labels.tolist() == [0, 0, 1] * 2  # nine fill two, three fill one that repeats the first
    first, *_, last = shown(made.images[2:3], 2)
    assert torch.equal(first, last)


def test_several_labels_are_not_packed(blobs):
    with pytest.raises(SettingError, match="several labels"):
        random(Task(blobs(multilabel=True), 2), RandomSettings(pack=2))
