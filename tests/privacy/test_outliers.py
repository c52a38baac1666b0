"""Outliers as canaries: what they show, whose places they take, and who holds them."""

import numpy as np
import pytest

from fedistill.data import load_dataset
from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, SettingError
from fedistill.privacy.attacks.outliers import outliers


def images(n=240, **more):
    random = np.random.default_rng(0)
    x = (100 + random.integers(-20, 20, (n, 12, 12, 1))).astype(np.uint8)
    return ImageSet(x, np.arange(n) % 2, ("no", "yes"), **more)


def test_three_of_each_kind_with_ordinary_labels():
    x = images()
    x.images[[5, 50, 150]] = 0  # farther from their class than any other
    x.images[[5, 50, 150], ::2] = 255
    chosen = outliers(x, 8, seed=0)
    shown = chosen.records(x)
    assert len(chosen.at) == 12 == len(set(chosen.at.tolist())) and (shown.labels == x.labels[chosen.at]).all()
    spread = shown.images.reshape(12, -1).astype(float).std(1)
    blank = shown.images[spread == 0].reshape(-1, 144)[:, 0]
    assert sorted(blank.tolist()) == [0, 128, 255]
    own = [at for at, image in zip(chosen.at, shown.images, strict=True) if (image == x.images[at]).all()]
    assert own == [5, 50, 150]
    noise = (spread > 60) & ~np.isin(chosen.at, own)
    assert noise.sum() == 3 and (12 - 3 - 3 - noise.sum()) == 3


def test_each_is_in_half_of_the_shadows_and_everybody_else_in_all():
    x = images()
    chosen = outliers(x, 8, seed=1)
    assert (chosen.design.membership.sum(0) == 4).all()
    mine = {image.tobytes() for image in chosen.images}
    rest = {x.images[i].tobytes() for i in np.setdiff1d(np.arange(240), chosen.at)}
    for number in range(8):
        held = chosen.shadow(x, number)
        inside = chosen.design.membership[number]
        assert len(held) == 228 + inside.sum() and len(held.labels) == len(held.images)
        shown = {image.tobytes() for image in held.images}
        assert rest <= shown and shown & mine >= {image.tobytes() for image in chosen.images[inside]}
        assert not (shown - rest) & {image.tobytes() for image in chosen.images[~inside]}


def test_colour_images_and_chests_get_other_pictures():
    for name in ("phantom:path", "phantom:pneumonia"):
        x = load_dataset(name, images=90, size=12)
        assert outliers(x, 6, seed=0).records(x).images.shape == (4, 12, 12, x.channels)


def test_repeats_and_differs_by_seed():
    one, again, other = (outliers(images(), 6, seed=s) for s in (0, 0, 1))
    assert (one.images == again.images).all() and (one.at == again.at).all() and (one.at != other.at).any()


def test_one_outlier_of_a_patient():
    x = images(groups=np.arange(240) // 10)
    for seed in range(5):
        at = outliers(x, 6, seed=seed).at
        assert len(set(at // 10)) == len(at)


def test_what_cannot_be_is_refused():
    with pytest.raises(SettingError, match="change the site"):
        outliers(images(), 6, seed=0, share=0.06)
    with pytest.raises(DataError, match="at least 80 records"):
        outliers(images(79), 6, seed=0)
