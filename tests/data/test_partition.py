"""Who holds what: every rule, patients whole, nothing lost without being named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedistill.data import ImageSet, partition
from fedistill.errors import DataError

RULES = [
    {"by": "iid"},
    {"by": "linear"},
    {"by": "square"},
    {"by": "exponential"},
    {"by": "sizes", "sizes": [0.5, 0.3, 0.2]},
    {"by": "sizes", "sizes": [20, 10, 5]},
    {"by": "dirichlet", "alpha": 0.5},
    {"by": "pathological", "classes": 2},
    {"by": "shards", "shards": 2},
]


def images(labels, groups=None) -> ImageSet:
    labels = np.asarray(labels, np.int64)
    classes = labels.shape[1] if labels.ndim == 2 else 4
    pixels = np.zeros((len(labels), 2, 2, 1), np.uint8)
    groups = None if groups is None else np.asarray(groups, np.int64)
    return ImageSet(pixels, labels, tuple("abcdefgh"[:classes]), groups=groups)


SORTED = images(np.repeat(np.arange(4), [40, 30, 20, 10]))


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("grouped", [False, True])
def test_parts_are_disjoint_and_with_the_unheld_complete(rule, grouped):
    train = images(SORTED.labels, np.arange(100) // 2) if grouped else SORTED
    held = partition(train, rule, 3, seed=1)
    together = np.concatenate([*held.parts, held.unheld])
    assert sorted(together.tolist()) == list(range(100))
    for part in held.parts:
        assert part.dtype == np.int64 and len(part) and (np.diff(part) > 0).all()
    again = partition(train, rule, 3, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(held.parts, again.parts, strict=True))
    other = partition(train, rule, 3, seed=2)
    assert any(not np.array_equal(a, b) for a, b in zip(held.parts, other.parts, strict=True))
    if grouped:
        sites = [set(train.groups[part].tolist()) for part in (*held.parts, held.unheld)]
        assert sum(map(len, sites)) == len(set.union(*sites)) == 50


@settings(max_examples=25, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), min_size=12, max_size=60),
    patients=st.integers(4, 30),
    sites=st.integers(1, 4),
    seed=st.integers(0, 2**40),
    by=st.sampled_from(["iid", "linear", "dirichlet"]),
)
def test_no_patient_is_ever_cut(labels, patients, sites, seed, by):
    train = images(labels, np.random.default_rng(seed).integers(0, patients, len(labels)))
    if sites > len(np.unique(train.groups)):
        sites = 1
    rule = {"by": by, "alpha": 5.0, "min_size": 1} if by == "dirichlet" else {"by": by}
    try:
        held = partition(train, rule, sites, seed=seed)
    except DataError:
        return  # too few patients for a rule of growing sizes
    assert len(held.unheld) == 0
    owner = {g: k for k, part in enumerate(held.parts) for g in train.groups[part].tolist()}
    assert all(owner[g] == k for k, part in enumerate(held.parts) for g in train.groups[part].tolist())


def test_iid_of_a_class_sorted_file_is_mixed():
    train = images(np.repeat(np.arange(4), 250))
    for part in partition(train, {"by": "iid"}, 4, seed=0).parts:
        assert len(part) == 250 and train.take(part).counts().min() > 40


def test_sizes_are_kept():
    held = partition(SORTED, {"by": "sizes", "sizes": [20, 10, 5]}, 3, seed=0)
    assert [len(part) for part in held.parts] == [20, 10, 5] and len(held.unheld) == 65
    held = partition(SORTED, {"by": "sizes", "sizes": [0.25, 0.5]}, 2, seed=0)
    assert [len(part) for part in held.parts] == [25, 50] and len(held.unheld) == 25


def test_pathological_gives_so_many_classes_and_names_what_nobody_holds():
    held = partition(SORTED, {"by": "pathological", "classes": 1}, 2, seed=0)
    for part in held.parts:
        assert (SORTED.take(part).counts() > 0).sum() == 1
    classes_held = {int(k) for part in held.parts for k in np.unique(SORTED.labels[part])}
    assert set(SORTED.labels[held.unheld].tolist()) == set(range(4)) - classes_held


def test_shards_report_the_remainder():
    held = partition(images(np.arange(103) % 4), {"by": "shards", "shards": 2}, 5, seed=0)
    assert [len(part) for part in held.parts] == [20] * 5 and len(held.unheld) == 3


def test_a_small_alpha_makes_sites_unlike():
    train = images(np.arange(400) % 4)

    def spread(alpha: float) -> float:
        held = partition(train, {"by": "dirichlet", "alpha": alpha}, 4, seed=0)
        return float(np.mean([np.std(train.take(part).counts() / len(part)) for part in held.parts]))

    assert spread(0.2) > 3 * spread(100.0)


def test_one_alpha_a_site_skews_sizes_and_mixes_at_once():
    train = images(np.arange(400) % 4)
    alphas = np.array([4.0, 2.0, 1.0, 0.5])
    counts = np.zeros((20, 4, 4))
    for seed in range(20):
        held = partition(train, {"by": "dirichlet", "alpha": alphas.tolist(), "min_size": 1}, 4, seed=seed)
        counts[seed] = [train.take(part).counts() for part in held.parts]
    # A Dirichlet's mean is alpha over its sum; 80 draws of it come within 5 points.
    assert np.abs(counts.sum(2).mean(0) / 400 - alphas / alphas.sum()).max() < 0.05
    mixes = counts / counts.sum(2, keepdims=True)
    assert mixes[:, 3].std(1).mean() > 2 * mixes[:, 0].std(1).mean()  # the smaller a site, the more unusual its mix


def test_growing_sizes_grow_as_named():
    train = images(np.arange(3000) % 4)
    sizes = {
        by: np.array([len(part) for part in partition(train, {"by": by}, 4, seed=0).parts]) / 3000
        for by in ("linear", "square", "exponential")
    }
    at = np.arange(1, 5)
    for by, weight in (("linear", at), ("square", at**2), ("exponential", np.exp(at))):
        assert np.allclose(sizes[by], weight / weight.sum(), atol=0.002), by


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_missing_classes_are_missing_whole_and_the_others_divided(classes):
    train = images(np.arange(800) % 4)
    held = partition(train, {"by": "pathological", "classes": classes}, 6, seed=0)
    counts = np.array([train.take(part).counts() for part in held.parts])
    assert ((counts > 0).sum(1) == classes).all()
    for of_one in counts.T:
        holders = of_one[of_one > 0]
        assert len(holders) == 0 or (holders.sum() == 200 and np.ptp(holders) <= 1)
    mine = [frozenset(np.flatnonzero(row)) for row in counts]
    assert len(set(mine)) > 1  # not all lack the same


def test_shards_give_few_classes_to_each():
    train = images(np.arange(800) % 4)
    held = partition(train, {"by": "shards", "shards": 2}, 8, seed=0)
    counts = np.array([train.take(part).counts() for part in held.parts])
    assert (counts.sum(1) == 100).all() and ((counts > 0).sum(1) <= 2).all() and (counts.sum(0) == 200).all()


def test_the_rules_own_seed_is_used_unless_another_is_given():
    by_rule = partition(SORTED, {"by": "iid", "seed": 7}, 3)
    given_one = partition(SORTED, {"by": "iid", "seed": 1}, 3, seed=7)
    assert np.array_equal(by_rule.parts[0], given_one.parts[0])


def test_several_labels_an_image():
    train = images(np.random.default_rng(0).integers(0, 2, (50, 5)))
    assert [len(part) for part in partition(train, {"by": "iid"}, 5, seed=0).parts] == [10] * 5
    with pytest.raises(DataError, match="needs one class per image"):
        partition(train, {"by": "dirichlet", "alpha": 1.0}, 5, seed=0)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"by": "dirichelt", "alpha": 1}, "did you mean 'dirichlet'"),
        ({}, "There is no partition by None"),
        ({"by": "dirichlet"}, "needs alpha"),
        ({"by": "dirichlet", "alpha": 1, "min_sise": 2}, "did you mean 'min_size'"),
        ({"by": "iid", "alpha": 1}, "this rule has none"),
        ({"by": "dirichlet", "alpha": 0}, "a number above 0"),
        ({"by": "dirichlet", "alpha": "1"}, "a number above 0"),
        ({"by": "dirichlet", "alpha": [1.0, 2.0]}, "or 3 of them"),
        ({"by": "dirichlet", "alpha": 0.01, "min_size": 33}, "raise alpha"),
        ({"by": "pathological", "classes": 5}, "lower classes"),
        ({"by": "pathological", "classes": 0}, ">= 1"),
        ({"by": "shards", "shards": 50}, "lower shards"),
        ({"by": "sizes", "sizes": [0.5, 0.5]}, "3 fractions"),
        ({"by": "sizes", "sizes": [0.5, 0.5, 0.1]}, "at most 1"),
        ({"by": "sizes", "sizes": [90, 10, 1]}, "at most 100"),
        ({"by": "sizes", "sizes": 3}, "sizes cannot be used"),
        ({"by": "sizes", "sizes": [0.99, 0.005, 0.005]}, "no image for site number 3 of 3"),
        ({"by": ["iid"]}, "There is no partition by"),
        ({"by": "dirichlet", "alpha": 1e308}, "at most 1,000,000"),
        ({"by": "dirichlet", "alpha": 1.0, "min_size": 34}, "lower min_size, or use fewer sites"),
    ],
    ids=str,
)
def test_a_rule_that_cannot_be_followed_is_explained(rule, message):
    with pytest.raises(DataError, match=message):
        partition(SORTED, rule, 3, seed=0)


def test_more_sites_than_images_or_patients():
    with pytest.raises(DataError, match="1 to 100 sites"):
        partition(SORTED, {"by": "iid"}, 101, seed=0)
    with pytest.raises(DataError, match=r"1 to 4 sites.*group"):
        partition(images(np.arange(100) % 4, np.arange(100) // 25), {"by": "iid"}, 5, seed=0)
    with pytest.raises(DataError, match=r"fewer sites|leaves? no image"):
        partition(SORTED, {"by": "exponential"}, 20, seed=0)
