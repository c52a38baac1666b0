"""Near duplicates are those of the plain search, which compares all with all, though few are compared."""

import numpy as np
import pytest
from oracles import near_duplicates as plain

from fedistill.importing import duplicates
from fedistill.importing.duplicates import exact, near


def pictures(n, *, bases, seed, spread=1.0):
    """Small pictures: some bases, each several times with a little noise; uint8 (n, 256)."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(128, 40 * spread, size=(bases, 256))
    noise = rng.choice([0.5, 1.5, 4.0], size=(n, 1)) * rng.normal(size=(n, 256))
    return (drawn[rng.integers(bases, size=n)] + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("bases", "spread"), [(120, 1.0), (30, 1.0), (2, 1.0), (20, 0.5)])
def test_no_pair_is_missed_and_none_is_added(monkeypatch, bases, spread):
    monkeypatch.setattr(duplicates, "_LEAF", 4)
    monkeypatch.setattr(duplicates, "_BLOCK", 16)
    rng = np.random.default_rng(bases)
    thumbs = pictures(150, bases=bases, seed=bases, spread=spread)
    thumbs[:3] = 7  # show nothing
    thumbs[10:13] = thumbs[20]
    split = rng.choice([-1, 0, 1, 2], p=[0.1, 0.5, 0.2, 0.2], size=len(thumbs))
    same = np.arange(len(thumbs))
    same[10:13] = 20
    wanted = plain.near(thumbs, split, same)
    assert len(wanted) > 5 and all(abs(value - duplicates.ALIKE) > 1e-6 for value in wanted.values())
    pairs, count = near(thumbs, split, same, most=10_000)
    assert set(pairs) == set(wanted) and count == len(pairs) == len(wanted)
    best, count = near(thumbs, split, same, most=5)
    assert count == len(wanted) and len(best) == 5
    assert [wanted[pair] for pair in best] == pytest.approx(sorted(wanted.values(), reverse=True)[:5], abs=1e-6)


def test_few_of_many_are_compared():
    """The share that is compared falls as their number grows: of soft pictures, as scans are, not of mere noise."""
    shares = []
    for n in (2000, 8000):
        rng = np.random.default_rng(n)
        soft = np.kron(rng.normal(128, 40, size=(n, 4, 4)), np.ones((4, 4))).reshape(n, 256)
        thumbs = (soft + rng.normal(0, 4, size=soft.shape)).clip(0, 255).astype(np.uint8)
        shadows, everything = duplicates._shadows(thumbs, np.arange(n)), np.arange(n)
        leaves = list(duplicates._halved(shadows, everything, everything))
        assert np.array_equal(np.sort(np.concatenate([own for own, _ in leaves])), everything)
        shares.append(sum(len(own) * len(beside) for own, beside in leaves) / n**2)
    assert shares[1] < 0.5 * shares[0] < 0.25


def test_no_images_or_none_that_show_anything():
    nothing = np.zeros((0, 256), np.uint8)
    assert near(nothing, np.zeros(0, np.int64), exact(np.zeros((0, 16), np.uint8))) == ([], 0)
    assert near(np.full((4, 256), 9, np.uint8), np.array([0, 1, 2, 0]), np.arange(4)) == ([], 0)
    one_split = pictures(50, bases=2, seed=0)
    assert near(one_split, np.zeros(50, np.int64), np.arange(50)) == ([], 0)
