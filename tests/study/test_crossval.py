"""A recipe is chosen within the pool of Releases: what is set aside is never trained on, and no patient is asked."""

import numpy as np
import pytest
import torch

from fedistill.models import build
from fedistill.seeds import generator
from fedistill.study.crossval import ENOUGH, FOLDS, Pilot, fold_sizes, folds, qualities
from fedistill.study.stages import cross_validate
from fedistill.training.fit import fit, predict
from fedistill.training.recipe import Recipe

RECIPE = Recipe(steps=3, batch=8, lr=0.05, augment=False)


@pytest.mark.parametrize("counts", [(3, 3), (2, 7), (30, 30, 12), (1, 5, 5)])
def test_every_image_that_can_be_is_set_aside_once_and_never_beside_itself(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    split = folds(labels, seed=1)
    aside = torch.cat([fold.aside for fold in split])
    assert len(split) == min(FOLDS, min(n for n in counts if n > 1))
    assert sorted(aside.tolist()) == [i for i in range(len(labels)) if counts[labels[i]] > 1]
    for fold in split:
        assert sorted(fold.train.tolist() + fold.aside.tolist()) == list(range(len(labels)))
        assert set(labels[fold.train].tolist()) == set(range(len(counts))), "every class is still learned"


def test_a_large_pool_takes_no_more_folds_than_hold_enough():
    split = folds(torch.arange(4000) % 2, seed=0)
    assert [len(fold.aside) for fold in split] == [800] and len(fold_sizes(4000)) == 1
    assert sum(len(fold.aside) for fold in folds(torch.arange(300) % 2, seed=0)) >= ENOUGH


@pytest.mark.parametrize("labels", [torch.tensor([0, 1]), torch.tensor([0, 0, 0, 1]), torch.zeros((1, 3))])
def test_a_pool_too_small_says_so(labels):
    assert not folds(labels, seed=0)


def test_several_labels_an_image_are_dealt_as_they_come():
    split = folds((torch.rand((20, 3), generator=generator(0, "x")) < 0.3).float(), seed=0)
    assert sorted(torch.cat([fold.aside for fold in split]).tolist()) == list(range(20))


def test_the_losses_are_those_of_a_plain_loop():
    x = torch.randn((12, 1, 8, 8), generator=generator(0, "x"))
    y = torch.arange(12) % 2
    network = build("convnet", channels=1, classes=2, size=8, width=4)
    pilots = [Pilot(x, y, folds(y, seed=seed), seed) for seed in (3, 4)]
    losses, _ = cross_validate("it", network, pilots, RECIPE, False, 0.0)
    plain = []
    for pilot in pilots:
        for fold in pilot.folds:
            params = fit(network, x[fold.train], y[fold.train], RECIPE, seed=pilot.seed, mirror=False)
            p = torch.softmax(predict(network, params, x[fold.aside]).double(), 1)
            plain += [-float(p[i, label].log()) for i, label in enumerate(y[fold.aside])]
    assert losses.tolist() == pytest.approx(plain, rel=1e-5)


def test_of_candidates_that_cannot_be_told_apart_the_first_is_taken():
    noise = torch.rand(40, generator=generator(1, "x"), dtype=torch.float64)
    near = noise + 0.1 * (torch.rand(40, generator=generator(2, "x"), dtype=torch.float64) - 0.45)
    far, broken = noise + 0.5, torch.full((40,), float("nan"), dtype=torch.float64)
    values = qualities([broken, near, noise, far])
    assert np.isnan(values[0]) and values[1] == values[2] > values[3]
    assert np.isnan(qualities([broken])).all()
