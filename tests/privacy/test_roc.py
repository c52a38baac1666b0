"""The ROC curve by hand and as scikit-learn has it; intervals that cover; blanks where nothing can be said."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve

from fedistill.errors import SettingError
from fedistill.privacy.attacks.attack_metrics import _bootstrap, measure
from fedistill.privacy.attacks.roc import curve
from fedistill.privacy.attacks.shadow_design import halves


def test_by_hand():
    scores = np.array([9.0, 8.0, 7.0, 7.0, 6.0, 5.0])
    members = np.array([True, True, True, False, False, True])
    found = curve(scores, members)
    assert found.fpr.tolist() == [0, 0, 0, 0.5, 1, 1]
    assert found.tpr.tolist() == [0, 0.25, 0.5, 0.75, 0.75, 1]
    assert found.auc == (2.5 + 3) / 8  # the tied non-member is beaten by 2 and a half, the other by 3, of 8 pairs
    assert found.tpr_at(0.5) == 0.75 and found.tpr_at(0.99) == 0.75 and found.tpr_at(1.0) == 1.0


def test_as_scikit_learn_has_it():
    random = np.random.default_rng(0)
    members = random.random(500) < 0.4
    scores = (random.normal(size=500) + members).round(1)  # with ties
    fpr, tpr, _ = roc_curve(members, scores, drop_intermediate=False)
    found = curve(scores, members)
    np.testing.assert_allclose(found.fpr, fpr)
    np.testing.assert_allclose(found.tpr, tpr)
    assert found.auc == pytest.approx(roc_auc_score(members, scores), abs=1e-12)
    for at in (0.01, 0.1, 0.5):
        assert found.tpr_at(at) == tpr[fpr <= at].max()


def test_a_rate_needs_its_non_members():
    def one(nonmembers):
        scores = np.concatenate([np.full(5, 2.0), np.arange(nonmembers) / nonmembers])
        return curve(scores, np.arange(5 + nonmembers) < 5)

    assert np.isnan(one(99).tpr_at(0.01)) and one(100).tpr_at(0.01) == 1
    assert np.isnan(one(999).tpr_at(0.001)) and one(1000).tpr_at(0.001) == 1
    assert np.isnan(curve(np.ones(3), np.ones(3, bool)).auc)


def test_exactly_the_allowed_false_alarms():
    """1 % of 300 is three, though 0.01 * 300 is no whole number in binary: the member below three of them is found."""
    scores = np.concatenate([[297.5, 296.5], np.arange(300) + 0.0])  # beaten by 2 non-members and by 3
    found = curve(scores, np.arange(302) < 2)
    assert found.tpr_at(0.01) == 1.0 and found.tpr_at(2.9 / 300) == 0.5


def test_infinities_rank_and_nan_is_refused():
    found = curve(np.array([np.inf, 1.0, -np.inf]), np.array([True, False, False]))
    assert found.auc == 1
    with pytest.raises(SettingError, match="1 NaN"):
        curve(np.array([np.nan, 1.0]), np.array([True, False]))
    with pytest.raises(SettingError, match="do not fit"):
        curve(np.zeros(3), np.zeros(2, bool))


def test_points_for_two_logarithmic_axes():
    random = np.random.default_rng(0)
    members = np.arange(4000) < 2000
    found = curve(random.normal(size=4000) + members, members)
    fpr, tpr = found.log_log()
    assert fpr[0] >= 1 / 2000 and fpr[-1] == tpr[-1] == 1 and (tpr > 0).all() and (np.diff(tpr) >= 0).all()
    for x, y in zip(fpr, tpr, strict=True):
        assert y == found.tpr[found.fpr <= x * (1 + 1e-9)].max()


def simulated(shadows, records, *, leak, seed, of_shadow=0.5, of_record=0.5):
    random, design = np.random.default_rng(seed), halves(records, shadows, seed=seed)
    noise = random.normal(size=(shadows, records)) + of_record * random.normal(size=records)
    noise += of_shadow * random.normal(size=shadows)[:, None]
    return noise + leak * design.membership, design


def test_a_replicate_is_the_curve_of_what_was_drawn():
    """Against scikit-learn with weights: those of a replicate's pairs of shadows times its patients."""
    scores, _ = simulated(6, 12, leak=1.0, seed=0)
    design = halves(12, 6, seed=3, groups=np.arange(12) // 2)
    scores = scores.round(0)
    found = _bootstrap(scores, design, np.random.default_rng(5), 20)
    random = np.random.default_rng(5)
    pairs = random.multinomial(3, np.full(3, 1 / 3), size=20)
    patients = random.multinomial(6, np.full(6, 1 / 6), size=20)
    for r in range(20):
        weights = (np.repeat(pairs[r], 2)[:, None] * patients[r][design.unit]).ravel()
        members = design.membership.ravel()
        wanted = roc_auc_score(members, scores.ravel(), sample_weight=weights)
        assert found[r, 0] == pytest.approx(wanted)
        fpr, tpr, _ = roc_curve(members, scores.ravel(), sample_weight=weights, drop_intermediate=False)
        assert found[r, 1] == pytest.approx(tpr[fpr <= 0.01].max())


def test_intervals_cover_where_shadows_and_records_are_shared():
    held, width = 0, []
    truth = norm.cdf(0.5 / np.sqrt(2 * (1 + 0.25 + 0.25)))
    for seed in range(60):
        scores, design = simulated(16, 60, leak=0.5, seed=seed)
        found = measure(scores, design, seed=seed, replicates=150).auc
        held += found.low <= truth <= found.high
        width.append(found.high - found.low)
    assert held >= 53  # nominally 57 of 60
    assert np.mean(width) < 0.15


def test_independent_trials_would_flatter():
    """The same scores taken for 960 independent trials give an interval a good deal shorter."""
    scores, design = simulated(16, 60, leak=0.5, seed=0, of_shadow=1.0, of_record=1.0)
    found = measure(scores, design, seed=0).auc
    random, flat = np.random.default_rng(0), []
    members = design.membership.ravel()
    for _ in range(200):
        at = random.integers(scores.size, size=scores.size)
        flat.append(curve(scores.ravel()[at], members[at]).auc)
    low, high = np.quantile(flat, [0.025, 0.975])
    assert found.high - found.low > 1.5 * (high - low)


def test_what_is_reported():
    scores, design = simulated(16, 200, leak=3.0, seed=0)
    row = measure(scores, design, seed=0, replicates=100).row()
    assert row["members"] == row["nonmembers"] == 1600 and row["shadows"] == 16 and row["records"] == 200
    for name in ("auc", "tpr_at_1", "tpr_at_01"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    few = measure(scores[:, :20], halves(20, 16, seed=1), seed=0, replicates=20).row()  # 160 non-members
    assert not np.isnan(few["tpr_at_1_low"]) and np.isnan([few["tpr_at_01"], few["tpr_at_01_low"]]).all()
    again = measure(scores, design, seed=0, replicates=100).row()
    assert row == again
    with pytest.raises(SettingError, match="do not fit"):
        measure(scores[:, :5], design, seed=0)
