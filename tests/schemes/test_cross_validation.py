"""A recipe is chosen within the pool of Releases: what is set aside is never trained on, and no patient is asked."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tiny import write_tiny

from fedistill.app import run_simulation
from fedistill.core.seeds import generator
from fedistill.models import build
from fedistill.schemes.server.cross_validation import (
    ENOUGH,
    FOLDS,
    Pilot,
    class_aucs,
    fold_sizes,
    rate_candidates,
    split_folds,
)
from fedistill.schemes.server.tasks import cross_validate
from fedistill.training.fit import fit, predict
from fedistill.training.recipe import Recipe

RECIPE = Recipe(steps=3, batch=8, lr=0.05, augment=False)


@pytest.mark.parametrize("counts", [(3, 3), (2, 7), (30, 30, 12), (1, 5, 5)])
def test_every_image_that_can_be_is_set_aside_once_and_never_beside_itself(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    split = split_folds(labels, seed=1)
    aside = torch.cat([fold.aside for fold in split])
    assert len(split) == min(FOLDS, min(n for n in counts if n > 1))
    assert sorted(aside.tolist()) == [i for i in range(len(labels)) if counts[labels[i]] > 1]
    for fold in split:
        assert sorted(fold.train.tolist() + fold.aside.tolist()) == list(range(len(labels)))
        assert set(labels[fold.train].tolist()) == set(range(len(counts))), "every class is still learned"


def test_a_large_pool_takes_no_more_folds_than_hold_enough():
    split = split_folds(torch.arange(4000) % 2, seed=0)
    assert [len(fold.aside) for fold in split] == [800] and len(fold_sizes(4000)) == 1
    assert sum(len(fold.aside) for fold in split_folds(torch.arange(300) % 2, seed=0)) >= ENOUGH


@pytest.mark.parametrize("labels", [torch.tensor([0, 1]), torch.tensor([0, 0, 0, 1]), torch.zeros((1, 3))])
def test_a_pool_too_small_says_so(labels):
    assert not split_folds(labels, seed=0)


def test_several_labels_an_image_are_dealt_as_they_come():
    split = split_folds((torch.rand((20, 3), generator=generator(0, "x")) < 0.3).float(), seed=0)
    assert sorted(torch.cat([fold.aside for fold in split]).tolist()) == list(range(20))


def test_the_scores_are_those_of_a_plain_loop():
    x = torch.randn((12, 1, 8, 8), generator=generator(0, "x"))
    y = torch.arange(12) % 2
    network = build("convnet", channels=1, classes=2, size=8, width=4)
    pilots = [Pilot(x, y, split_folds(y, seed=seed), seed) for seed in (3, 4)]
    scores, _ = cross_validate("it", network, pilots, RECIPE, False, 0.0)
    plain = []
    for p in pilots:
        for f in p.folds:
            params = fit(network, x[f.train], y[f.train], RECIPE, seed=p.seed, mirror=False)
            plain.append(torch.softmax(predict(network, params, x[f.aside]), 1))
    for made, wanted in zip(scores, plain, strict=True):
        torch.testing.assert_close(made, wanted)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_folds_cells_have_scikit_learns_auc(classes):
    scores = torch.rand((40, classes), generator=generator(5, "s")).round(decimals=1)  # with ties
    labels = torch.arange(40) % classes
    found = class_aucs(scores, labels)
    wanted = [roc_auc_score(labels == k, scores[:, k]) for k in ([1] if classes == 2 else range(classes))]
    assert [cell.auc for cell in found] == pytest.approx(wanted)
    assert [float(cell.below.mean()) for cell in found] == pytest.approx(wanted)


def test_the_standard_error_of_a_difference_is_that_of_redrawn_images():
    """DeLong's against 4,000 draws of the same kind of images."""
    differences, estimates = [], []
    for i in range(4000):
        rng = np.random.default_rng(i)
        y = torch.arange(40) % 2
        shared = rng.normal(size=40) + y.numpy()
        one, two = (torch.from_numpy(shared + rng.normal(size=40) * s) for s in (0.5, 1.0))
        [a], [b] = (class_aucs(torch.stack([-v, v], 1), y) for v in (one, two))
        differences.append(a.auc - b.auc)
        estimates.append(a.variance(b))
    assert np.sqrt(np.mean(estimates)) == pytest.approx(np.std(differences), rel=0.05)


def test_of_candidates_that_cannot_be_told_apart_the_first_is_taken():
    y = torch.arange(40) % 2
    noise = torch.randn(40, generator=generator(1, "x"))

    def candidate(signal, extra):
        v = signal * y + noise + 0.1 * torch.randn(40, generator=generator(extra, "x"))
        return class_aucs(torch.stack([-v, v], 1), y)

    near, best, far = candidate(1.9, 2), candidate(2.0, 3), candidate(0.0, 4)
    values = rate_candidates([near, best, far])
    assert values[0] == values[1] > values[2]
    assert np.isnan(rate_candidates([[], []])).all(), "a pool too small says nothing"


@pytest.mark.parametrize("chosen_on", ["pool", "coordinator"])
def test_no_site_is_asked_for_a_score(chosen_on, tmp_path):
    """Nor is anything computed twice that two points of a sweep ask for at one time."""
    more = 'sweep = { "scheme.dc.lr_img" = [0.1, 0.2] }'
    changes = ["scheme={random={}, dc={iterations=2, outer=1, inner=0}}", "ipc=[2]", f"recipe.chosen_on='{chosen_on}'"]
    out = tmp_path / "out"
    run_simulation(write_tiny(tmp_path, more=more), out=out, changes=changes, engine="inline")
    purposes = set(pd.concat(map(pd.read_csv, out.rglob("traffic.csv")))["purpose"])
    assert purposes == {"random", "dc"}
