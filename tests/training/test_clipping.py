"""Noise on clipped sums: what one unit can change, how much noise there is, who is in a sample, and an audit."""

import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedistill.core.accounting import sigma_for
from fedistill.data.imageset import ImageSet
from fedistill.training.clipping import clipped_sum, noisy_sum, units, whole
from fedistill.training.noise import Seeded, System

sys.path.insert(0, str(Path(__file__).parents[1]))  # the textbook versions

from oracles.audit import epsilon_at_least


@st.composite
def populations(draw):
    """Rows of any length, of units with any number of images of any classes; and a clip."""
    n, d, classes = draw(st.integers(1, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rows = torch.from_numpy(rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-3, 4, (n, 1)))
    unit = torch.from_numpy(rng.integers(0, draw(st.integers(1, n)), n))
    return rows, unit, torch.from_numpy(rng.integers(0, classes, n)), classes, draw(st.floats(1e-3, 1e3))


@settings(max_examples=60, deadline=None)
@given(populations())
def test_one_unit_more_or_less_moves_the_sum_by_the_clip_at_most(population):
    rows, unit, labels, classes, clip = population
    total = clipped_sum(rows, unit, labels, classes, clip)
    for gone in unit.unique():
        stay = unit != gone
        without = clipped_sum(rows[stay], unit[stay], labels[stay], classes, clip)
        moved = float((total - without).norm())
        assert moved <= clip * (1 + 1e-9)
        own = torch.zeros_like(total).index_add_(0, labels[~stay], rows[~stay].double())
        assert moved == pytest.approx(min(clip, float(own.norm())), rel=1e-6)  # and by no less than it has to say


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 8), st.integers(0, 63))
def test_pieces_hold_whole_units_and_all_of_them(unit, most, mask):
    unit = torch.tensor(np.unique(unit, return_inverse=True)[1])
    taken = torch.tensor([bool(mask >> k & 1) for k in range(int(unit.max()) + 1)])
    pieces = list(whole(unit, taken, most))
    assert sorted(torch.cat(pieces).tolist() if pieces else []) == torch.nonzero(taken[unit]).flatten().tolist()
    at = Counter(u for piece in pieces for u in set(unit[piece].tolist()))
    assert set(at.values()) <= {1}
    assert all(len(piece) <= most or len(set(unit[piece].tolist())) == 1 for piece in pieces)


def plain(counts=(40, 60), *, groups=None, size=8, seed=0):
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), size, size, 1), np.uint8)
    return ImageSet(images, labels.astype(np.int64), tuple(map(str, range(len(counts)))), groups=groups)


def query(images, vectors, *, sigma=1.0, clip=1.0, rate=1.0, source, most=7, names=()):
    labels, said = torch.from_numpy(images.labels), lambda at: vectors[at]
    noise = dict(clip=clip, sigma=sigma, rate=rate, source=source, names=names)
    return noisy_sum(units(images), labels, images.n_classes, said, most=most, **noise)


@pytest.mark.parametrize("source", [Seeded(0, "test"), System()], ids=["seeded", "system"])
def test_the_noise_has_the_scale_it_is_said_to_have(source):
    images, vectors = plain(), torch.ones(100, 4000) / 100
    sigma, clip = 1.7, 0.3
    clean = clipped_sum(vectors, units(images), torch.from_numpy(images.labels), 2, clip)
    noisy, ratio = query(images, vectors, sigma=sigma, clip=clip, source=source)
    noise = (noisy - clean) / (sigma * clip)  # 8000 numbers: the deviation is known to a hundredth
    assert float(noise.std()) == pytest.approx(1, abs=5 / math.sqrt(2 * 8000))
    assert abs(float(noise.mean())) < 5 / math.sqrt(8000)
    assert float((noise.abs() > 1.959964).double().mean()) == pytest.approx(0.05, abs=5 * math.sqrt(0.05 * 0.95 / 8000))
    assert ratio == pytest.approx(float(clean.norm()) / (sigma * clip * math.sqrt(8000)))


def test_samples_are_of_units_each_with_the_same_chance():
    """Fifty patients of two images: both are in the sample or neither is, and the chance is the rate."""
    images = plain(groups=np.arange(100) % 50)
    seen = torch.zeros(100)
    for k in range(400):
        taken, _ = query(images, torch.eye(100), sigma=1e-9, clip=10.0, rate=0.3, source=Seeded(0, "s"), names=(k,))
        seen += taken.sum(0).round()
    assert torch.equal(seen[:50], seen[50:])
    assert float(seen.mean()) / 400 == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / (400 * 50)))
    assert (seen / 400).min() > 0.15 and (seen / 400).max() < 0.45


def test_an_empty_sample_is_answered_with_noise():
    noisy, ratio = query(plain((2, 2)), torch.ones(4, 3), rate=1e-9, source=Seeded(0, "s"))
    assert noisy.shape == (2, 3) and ratio == 0 and (noisy != 0).all()


def test_audit_of_one_query():
    """Is the canary in? Told 1000 times with it and 1000 times without, an attacker who knows all else learns no more
    than epsilon 1 allows; without the noise, or with a tenth of it, he learns what no epsilon of 1 allows.
    """
    images, canary = plain((10, 11)), torch.eye(3)[:1]
    others = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)))
    vectors = torch.cat([others, canary])
    sigma, n = sigma_for(epsilon=1.0, delta=1e-5), 1000

    def bound(sigma):
        told = []
        for held in (21, 20):
            part, noise = images.take(range(held)), Seeded(0, "audit", held)
            clean = float(clipped_sum(others, torch.arange(20), torch.from_numpy(images.labels[:20]), 2, 1.0)[1, 0])
            answers = [query(part, vectors, sigma=sigma, source=noise, most=64, names=(k,))[0] for k in range(n)]
            told.append(sum(float(a[1, 0]) - clean > 0.5 for a in answers))
        return epsilon_at_least(*told, n, delta=1e-5)

    assert 0 < bound(sigma) < 1
    assert bound(sigma / 10) > 1 and bound(1e-9) > 4


def test_patients_weigh_no_more_than_the_clip():
    """One patient with all images of a class moves the answer as far as one image."""
    images = plain((5, 20), groups=np.array([0] * 20 + list(range(1, 6))))
    noisy, _ = query(images, torch.ones(25, 1), sigma=1e-9, source=Seeded(0, "s"))
    assert float(noisy.norm()) < 6.001 < 25
