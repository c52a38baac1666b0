"""The design: each record in half of the shadows, patients whole, and references that tell nothing by their number."""

import numpy as np
import pytest

from fedistill.errors import SettingError
from fedistill.privacy.attacks.likelihood import log_ratio
from fedistill.privacy.attacks.roc import curve
from fedistill.privacy.attacks.shadow_design import Design, halves


@pytest.mark.parametrize("n", [2, 9, 100])
def test_each_record_is_in_half_of_the_shadows(n):
    design = halves(n, 10, seed=0)
    assert (design.membership.sum(0) == 5).all()
    assert set(design.membership.sum(1)) <= {n // 2, n - n // 2}
    for target in range(10):
        refs = design.references(target)
        assert refs.sum() == 8 and (design.membership[refs].sum(0) == 4).all()


def test_every_half_is_as_likely():
    seen = np.concatenate([halves(4, 20, seed=s).membership[::2] for s in range(60)])
    kinds, counts = np.unique(seen, axis=0, return_counts=True)
    assert len(kinds) == 6 and counts.min() > 60  # 600 draws of 6 halves: 100 each, standard deviation 9


def test_patients_stay_whole_and_halves_are_about_equal():
    groups = np.repeat(np.arange(30), np.arange(30) % 5 + 1) + 7
    groups = np.random.default_rng(0).permutation(groups)
    design = halves(len(groups), 8, seed=1, groups=groups)
    for patient in np.unique(groups):
        mine = groups == patient
        assert (design.membership[:, mine] == design.membership[:, mine][:, :1]).all()
        assert len(np.unique(design.unit[mine])) == 1
    assert len(np.unique(design.unit)) == 30
    assert abs(design.membership.sum(1) - len(groups) / 2).max() <= 5


def test_repeats_and_differs_by_seed():
    one, again, other = (halves(50, 6, seed=s).membership for s in (0, 0, 1))
    assert (one == again).all() and (one != other).any()


def test_what_is_no_design_is_refused():
    with pytest.raises(SettingError, match="even number"):
        halves(10, 7, seed=0)
    with pytest.raises(SettingError, match="at least 6"):
        halves(10, 4, seed=0)
    with pytest.raises(SettingError, match="two patients"):
        halves(10, 6, seed=0, groups=np.zeros(10, int))
    inside = halves(10, 6, seed=0).membership.copy()
    inside[1, 0] = inside[0, 0]
    with pytest.raises(SettingError, match="in both or in neither"):
        Design(inside, np.arange(10))


def test_signals_that_are_no_numbers_are_named():
    design = halves(10, 6, seed=0)
    values = np.zeros((6, 10))
    values[3, 2] = np.nan
    with pytest.raises(SettingError, match="in shadows 3"):
        log_ratio(values, design)
    with pytest.raises(SettingError, match="do not fit"):
        log_ratio(values[:, :5], design)


def test_nothing_leaks_from_the_number_of_references():
    """With the partner among the references, the attack on noise comes out at an AUC of 0.48 for eight shadows."""
    areas = []
    for seed in range(12):
        design = halves(300, 8, seed=seed)
        noise = np.random.default_rng(seed).normal(size=(8, 300))
        areas.append(curve(log_ratio(noise, design), design.membership).auc)
    assert abs(np.mean(areas) - 0.5) < 3 * 0.0125 / 12**0.5
