"""Copy screens: copies are named, other images are not, and means of many are no copies."""

import numpy as np
import pytest
import torch

from fedistill.data import load_dataset
from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, SettingError
from fedistill.methods.engine.method import SyntheticSet
from fedistill.privacy.attacks.screens import nearest_pairs, screen
from fedistill.privacy.policy.proximity import proximity

SPACES = ["pixels", "features"]


def sets():
    """Training, held-out and third images of one phantom."""
    x = load_dataset("phantom:pneumonia", images=400, size=16)
    return x.take(np.arange(200)), x.take(np.arange(200, 340)), x.take(np.arange(340, 400))


def as_synthetic(images, noise=0.0):
    x = images.pixels()
    return SyntheticSet(
        x + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), images.targets(), 1
    )


def means(images, of=20, count=10):
    random = np.random.default_rng(0)
    made, labels = [], []
    for kind in range(images.n_classes):
        at = np.flatnonzero(images.labels == kind)
        for _ in range(count):
            made.append(images.pixels()[random.choice(at, of)].mean(0))
            labels.append(kind)
    return SyntheticSet(torch.stack(made), torch.tensor(labels), count)


@pytest.mark.parametrize("space", SPACES)
def test_copies_are_named(space):
    training, held_out, _ = sets()
    copies = as_synthetic(training.take(np.arange(12)), noise=0.05)
    found = screen(copies, training, held_out, space=space)
    assert found.nearest_training.tolist() == list(range(12))
    assert found.nearer == 1 and found.p < 0.01 and (found.ratio < 0.6).all()
    rule = proximity(copies, training, held_out, space=space)
    assert rule.too_near and len(rule.flagged) == 12
    assert "12 of 12 synthetic images" in str(rule) and "not a guarantee" in str(rule)


@pytest.mark.parametrize("space", SPACES)
def test_images_of_nobody_here_are_not(space):
    training, held_out, third = sets()
    found = screen(as_synthetic(third), training, held_out, space=space)
    assert found.p > 0.05 and abs(found.nearer - found.expected) < 0.2
    assert len(proximity(as_synthetic(third), training, held_out, space=space).flagged) <= 2
    noise = SyntheticSet(torch.randn((20, 1, 16, 16)), torch.arange(20) % 2, 10)
    assert not proximity(noise, training, held_out, space=space).too_near


def test_means_of_many_are_near_to_all_and_copies_of_none():
    training, held_out, _ = sets()
    made = means(training)
    nearest_held_out = screen(as_synthetic(held_out), training, held_out, space="pixels").training
    found = screen(made, training, held_out, space="pixels")
    assert (found.training < np.quantile(nearest_held_out, 0.05)).mean() > 0.5  # by the distance they would be accused
    assert not proximity(made, training, held_out, space="pixels").too_near


def test_one_copy_among_others_is_one_too_many():
    training, held_out, _ = sets()
    noise = torch.randn((19, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    made = SyntheticSet(torch.cat([noise, training.pixels()[7:8]]), torch.ones(20, dtype=torch.int64), 20)
    made.labels[-1] = int(training.labels[7])
    rule = proximity(made, training, held_out, space="pixels")
    assert rule.too_near and rule.flagged.tolist() == [19]
    worst = nearest_pairs(screen(made, training, held_out, space="pixels"), 3)
    assert len(worst) == 3 and (worst[0].synthetic, worst[0].training, worst[0].to_training) == (19, 7, 0.0)
    ratios = [pair.to_training / pair.to_held_out for pair in worst]
    assert ratios == sorted(ratios)


def grey(values, labels, groups=None):
    pixels = np.zeros((len(values), 8, 8, 1), np.uint8) + np.array(values, np.uint8)[:, None, None, None]
    return ImageSet(pixels, np.array(labels), ("a", "b"), groups=None if groups is None else np.array(groups))


def test_by_hand():
    """Grey images on a line: three for training and one held out of class a, one and one of class b."""
    training, held_out = grey([10, 100, 200, 50], [0, 0, 0, 1]), grey([110, 90], [0, 1])
    found = screen(as_synthetic(grey([10, 104, 120, 60], [0, 0, 0, 1])), training, held_out, space="pixels")
    step = 8 * 2 / 255  # the distance of two grey images one apart: 64 pixels
    np.testing.assert_allclose(found.training, np.array([0, 4, 20, 10]) * step, rtol=1e-5)
    np.testing.assert_allclose(found.held_out, np.array([100, 6, 10, 30]) * step, rtol=1e-5)
    assert found.nearest_training.tolist() == [0, 1, 1, 3] and found.nearest_held_out.tolist() == [0, 0, 0, 1]
    assert found.nearer == 0.75
    assert found.expected == pytest.approx((3 * 3 / 4 + 1 / 2) / 4)
    # Dealt out anew: the one held out of a is a closest one of the three synthetic ones of a in 3 of 4 deals, which
    # then has two of them for training, else three; b adds one in half of the deals. Three or four: 3/4 * 1/2 + 1/4.
    assert found.p == pytest.approx(0.625, abs=0.04)
    assert found.row()["ratio_0"] == 0 and found.row()["label"] == "a screen, not a guarantee"


def test_patients_are_dealt_out_whole():
    """Nine images of one patient, each copied, are one piece of evidence and not nine."""
    values, labels = [*range(0, 90, 10), 150, 160, 170], [0] * 12
    training = grey(values, labels, [0] * 9 + [1, 2, 3])
    held_out = grey([200, 210, 220, 230], [0] * 4, [4, 5, 6, 7])
    copies = as_synthetic(grey(range(0, 90, 10), [0] * 9))
    assert screen(copies, training, held_out, space="pixels").p == pytest.approx(0.5, abs=0.05)
    alone = screen(copies, grey(values, labels), grey([200, 210, 220, 230], [0] * 4), space="pixels")
    assert alone.p < 0.1  # nine of twelve against the four


def test_the_p_value_is_honest():
    """Under no leak it is below 5 % about one time in twenty, though the closest images are shared by many."""
    x = load_dataset("phantom:pneumonia", images=150, size=16)
    made, low = means(x.take(np.arange(100, 150)), of=3), 0
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(100)
        low += screen(made, x.take(order[:60]), x.take(order[60:]), space="pixels", seed=seed).p < 0.05
    assert low <= 6


def test_what_cannot_be_compared_is_blank():
    training, held_out = grey([10, 20], [0, 0]), grey([110, 90], [1, 1])
    found = screen(as_synthetic(grey([10, 60], [0, 1])), training, held_out, space="pixels")
    assert not found.compared.any() and np.isnan([found.nearer, found.p, found.expected, found.row()["ratio_5"]]).all()
    assert nearest_pairs(found, 3) == []
    with pytest.raises(DataError, match="too few held-out"):
        proximity(as_synthetic(training), training, held_out, space="pixels")
    with pytest.raises(DataError, match="both training and held-out"):
        screen(as_synthetic(training), training, held_out.take([]), space="pixels")
    with pytest.raises(SettingError, match="draws no line"):
        proximity(as_synthetic(training), training, held_out, space="pixels", quantile=0.9)


def test_a_duplicate_in_the_data_is_no_copy():
    training, held_out = grey([10, 20, 40], [0, 0, 0]), grey([10, 90, 99], [0, 0, 0])
    found = screen(as_synthetic(grey([10], [0])), training, held_out, space="pixels")
    assert found.ratio.tolist() == [1.0] and found.nearer == 0
