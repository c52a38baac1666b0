"""Nearest neighbours: those of a plain search in float64, exact for copies, in bounded memory."""

import numpy as np
import pytest
import torch

from fedistill.errors import SettingError
from fedistill.privacy.attacks import nearest as module
from fedistill.privacy.attacks.nearest import coordinates, nearest, nearest_of_class


def points(n, d, seed):
    return torch.randn((n, d), generator=torch.Generator().manual_seed(seed))


def naive(queries, others):
    return np.array(
        [[np.sqrt(((q - p) ** 2).sum()) for p in others.double().numpy()] for q in queries.double().numpy()]
    )


@pytest.mark.parametrize("block", [1 << 22, 500])
def test_equals_a_plain_search(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)  # 500: rows one by one
    queries, others = points(40, 60, 0) + 5, points(70, 60, 1) + 5
    found, wanted = nearest(queries, others), naive(queries, others)
    np.testing.assert_allclose(found.distance, wanted.min(1), rtol=1e-6)
    assert (found.index == wanted.argmin(1)).all()


def test_copies_are_at_no_distance_and_near_copies_at_theirs():
    others = points(200, 784, 1) + 20  # long vectors, of which a product of matrices loses the small differences
    queries = others[:50].clone()
    queries[25:, 0] += 1e-3
    found = nearest(queries, others)
    assert (found.distance[:25] == 0).all() and (found.index == np.arange(50)).all()
    np.testing.assert_allclose(found.distance[25:], 1e-3, rtol=1e-2)  # 20.001 in float32 is that far from 20


@pytest.mark.parametrize("n", [1, 3, 30])
@pytest.mark.parametrize("block", [1 << 22, 100])
def test_nearest_other(n, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    x = points(n, 20, 0)
    found, wanted = nearest(x, x, others=True), naive(x, x)
    np.fill_diagonal(wanted, np.inf)
    np.testing.assert_allclose(found.distance, wanted.min(1), rtol=1e-6)
    if n > 1:
        assert (found.index == wanted.argmin(1)).all()
    else:
        assert found.index.tolist() == [-1]


def test_of_the_own_class_only():
    x, p = points(30, 8, 0), points(50, 8, 1)
    y, q = torch.arange(30) % 3, torch.arange(50) % 2  # nothing of class 2
    found, wanted = nearest_of_class(x, y, p, q), naive(x, p)
    wanted[y.numpy()[:, None] != q.numpy()] = np.inf
    np.testing.assert_allclose(found.distance, wanted.min(1), rtol=1e-6)
    assert (found.index == np.where(y.numpy() == 2, -1, wanted.argmin(1))).all()
    labels = torch.ones(30, 4)
    np.testing.assert_allclose(nearest_of_class(x, labels, p, torch.ones(50, 4)).distance, nearest(x, p).distance)


def test_nothing_to_search():
    assert np.isinf(nearest(points(3, 4, 0), points(0, 4, 0)).distance).all()
    assert len(nearest(points(0, 4, 0), points(3, 4, 0)).distance) == 0
    with pytest.raises(SettingError, match="one space"):
        nearest(points(3, 4, 0), points(3, 5, 0))


def test_features_forgive_a_shift_that_pixels_do_not():
    images = torch.nn.functional.avg_pool2d(points(20, 56 * 56, 0).view(20, 1, 56, 56), 5, 2, 2)
    moved = images.roll(1, 3)
    near = {}
    for space in ("pixels", "features"):
        x = coordinates(images, space)
        apart = nearest(x, x, others=True).distance
        near[space] = (nearest(coordinates(moved, space), x).distance / apart).mean()
    assert near["features"] < 0.8 * near["pixels"]
    assert torch.equal(coordinates(images, "features"), coordinates(images, "features"))
    assert not torch.equal(coordinates(images, "features"), coordinates(images, "features", seed=1))
    assert coordinates(images[:0], "features").shape[0] == 0
    with pytest.raises(SettingError, match="no such space"):
        coordinates(images, "words")
