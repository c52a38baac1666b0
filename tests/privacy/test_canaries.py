"""Canaries: few, all wrong, one of a patient at most, and in half of the shadows."""

import numpy as np
import pytest

from fedistill.data import load_dataset
from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, SettingError
from fedistill.privacy.attacks.canaries import canaries


def images(n=100, classes=3, groups=None):
    random = np.random.default_rng(0)
    pixels = random.integers(256, size=(n, 8, 8, 1)).astype(np.uint8)
    labels = random.integers(classes, size=n)
    return ImageSet(pixels, labels, tuple("abcdefgh"[: max(classes, 2)]), groups=groups)


@pytest.mark.parametrize("n", [40, 59, 100])
def test_few_and_all_wrong(n):
    x = images(n)
    chosen = canaries(x, 8, seed=0)
    assert len(chosen.at) == n // 20 and len(chosen.at) <= 0.05 * n
    assert (np.diff(chosen.at) > 0).all()
    assert (chosen.labels != x.labels[chosen.at]).all() and set(chosen.labels) <= {0, 1, 2}
    assert (chosen.design.membership.sum(0) == 4).all()


def test_a_shadow_holds_all_others_and_its_half():
    x = images()
    chosen = canaries(x, 8, seed=0)
    records = chosen.records(x)
    assert (records.images == x.images[chosen.at]).all() and (records.labels == chosen.labels).all()
    for s, inside in enumerate(chosen.design.membership):
        held = chosen.shadow(x, s)
        assert len(held) == 95 + inside.sum()
        where = {image.tobytes(): label for image, label in zip(held.images, held.labels, strict=True)}
        for i, image in enumerate(x.images):
            if i not in chosen.at:
                assert where[image.tobytes()] == x.labels[i]
        for i, label, there in zip(chosen.at, chosen.labels, inside, strict=True):
            assert where.get(x.images[i].tobytes()) == (label if there else None)


def test_one_canary_of_a_patient():
    x = images(100, groups=np.arange(100) // 10)  # ten patients
    for seed in range(5):
        chosen = canaries(x, 6, seed=seed)
        assert len(chosen.at) == 5 and len(set(chosen.at // 10)) == 5


def test_wrong_labels_are_of_classes_that_others_hold():
    x = images(60, classes=2)
    rare = ImageSet(x.images, x.labels, ("a", "b", "nobody's"))
    for seed in range(5):
        chosen = canaries(rare, 6, seed=seed)
        assert (chosen.labels == 1 - rare.labels[chosen.at]).all()


def test_every_finding_is_turned_round():
    x = load_dataset("phantom:chest", images=60)
    chosen = canaries(x, 6, seed=0)
    assert (chosen.labels == 1 - x.labels[chosen.at]).all()
    assert chosen.shadow(x, 0).labels.shape[1] == 14


def test_repeats_and_differs_by_seed():
    one, again, other = (canaries(images(), 6, seed=s) for s in (0, 0, 1))
    assert (one.at == again.at).all() and (one.labels == again.labels).all()
    assert (one.at != other.at).any()


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingError, match="change the site"):
        canaries(images(), 6, seed=0, share=0.06)
    with pytest.raises(DataError, match="at least 40 records"):
        canaries(images(39), 6, seed=0)
    with pytest.raises(DataError, match="no wrong label"):
        canaries(images(classes=1), 6, seed=0)
