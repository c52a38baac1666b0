"""The statistics of the indicator, against numbers known beforehand; the figure; DD-Ranking's differences."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fedistill.errors import SettingError
from fedistill.report.figures.indicator import draw_indicator
from fedistill.study.feasibility.indicator import (
    FEWEST,
    fit_line,
    indicator,
    leave_one_out,
    normalised,
    pearson,
    spearman,
)
from fedistill.study.tables.dd_ranking import add_gains

pytestmark = pytest.mark.filterwarnings("error")

# Anscombe (1973), his first set: correlation 0.816, line 3.00 + 0.500 x.
X = np.array([10.0, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5])
Y = np.array([8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68])
ANYTHING = (-np.inf, np.inf)


def points(random, distilled, **more):
    """Points of one kind."""
    known = {"kind": "k", "phantom": False, "scheme": "dc", "settings": "{}", "ipc": 10, "metric": "auc"}
    sets = {"dataset": [f"set-{i}" for i in range(len(random))], "random": random, "distilled": distilled}
    return pd.DataFrame(sets).assign(**{**known, "full": 0.9, "chance": 0.5, "runs": 1, **more})


def test_correlations_known_beforehand():
    assert pearson(X, Y) == pytest.approx(0.8164, abs=5e-5)
    tied = np.round(Y)
    assert spearman(X, Y) == pytest.approx(stats.spearmanr(X, Y).statistic)
    assert spearman(X, tied) == pytest.approx(stats.spearmanr(X, tied).statistic)
    assert spearman(X, np.exp(X)) == pytest.approx(1) and pearson(X, np.exp(X)) < 0.9
    assert np.isnan(pearson(X, np.full(11, 0.1)))


def test_the_line_known_beforehand():
    line = fit_line(X, Y, ANYTHING)
    known = stats.linregress(X, Y)
    assert line.slope == pytest.approx(known.slope) and line.intercept == pytest.approx(known.intercept)
    assert line.intercept == pytest.approx(3.0, abs=5e-3) and line.slope == pytest.approx(0.5, abs=5e-4)
    assert line.spread / np.sqrt(line.x_squares) == pytest.approx(known.stderr)


def test_an_exact_line_is_recovered():
    x = np.array([0.5, 0.55, 0.7, 0.8])
    [line] = indicator(points(x, 0.3 + 0.6 * x)).query("metric == 'auc'").to_dict("records")
    assert line["slope"] == pytest.approx(0.6) and line["intercept"] == pytest.approx(0.3)
    assert [line[name] for name in ("pearson", "pearson_low", "spearman", "spearman_low")] == pytest.approx([1] * 4)
    assert line["residual_sd"] == pytest.approx(0, abs=1e-12) and line["loo_error"] == pytest.approx(0, abs=1e-12)
    assert line["n_sets"] == 4


def test_the_band_holds_as_many_further_points_as_it_says():
    random = np.random.default_rng(0)
    inside = []
    for _ in range(4000):
        x, at = random.uniform(0.5, 0.9, 5), random.uniform(0.5, 0.9)
        y = 0.2 + 0.7 * x + random.normal(0, 0.03, 5)
        low, high = fit_line(x, y, ANYTHING).band(at)
        inside.append(low <= 0.2 + 0.7 * at + random.normal(0, 0.03) <= high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.01)  # three standard errors


def test_the_band_by_hand():
    line = fit_line(np.array([0.0, 1, 2]), np.array([0.0, 2, 1]), ANYTHING)  # 0.5 + 0.5 x; residuals -0.5, 1, -0.5
    low, high = line.band(3.0)
    half = 12.7062 * np.sqrt(1.5) * np.sqrt(1 + 1 / 3 + (3 - 1) ** 2 / 2)  # t with one degree of freedom
    assert (low, high) == (pytest.approx(2 - half, rel=1e-5), pytest.approx(2 + half, rel=1e-5))
    assert fit_line(np.array([0.0, 1, 2]), np.array([0.0, 2, 1])).band(3.0) == (0.0, 1.0)
    assert np.isnan(fit_line(np.array([0.0, 1]), np.array([0.0, 1])).band(0.5)).all()


def test_leaving_one_out_by_hand():
    x, y = np.array([0.5, 0.6, 0.8]), np.array([0.6, 0.9, 0.8])
    # The others' lines: at 0.5, 0.9 - 0.5 (0.5 - 0.6) = 0.95; at 0.6, 2/3; at 0.8, 1.5, which no quality can be: 1.
    assert leave_one_out(x, y) == pytest.approx([0.35, 0.9 - 2 / 3, 0.2])
    table = indicator(points(x, y)).set_index("metric")
    assert table.loc["auc", "loo_error"] == pytest.approx((0.35 + 0.9 - 2 / 3 + 0.2) / 3)
    of_mean = [abs(0.6 - 0.85), abs(0.9 - 0.7), abs(0.8 - 0.75)]
    assert table.loc["auc", "loo_error_of_mean"] == pytest.approx(np.mean(of_mean))


def test_intervals_are_those_of_resampled_sets():
    random = np.random.default_rng(3)
    x = random.uniform(0.5, 0.9, 9)
    given = points(x, 0.2 + 0.7 * x + random.normal(0, 0.04, 9))
    table = indicator(given)
    line = table.iloc[0]
    assert line["pearson_low"] < line["pearson"] < line["pearson_high"] <= 1
    assert line["spearman_low"] < line["spearman"] < line["spearman_high"] <= 1
    known = stats.bootstrap(
        (given["random"], given["distilled"]),
        lambda a, b: stats.pearsonr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    assert line["pearson_low"] == pytest.approx(known.confidence_interval.low, abs=0.05)
    pd.testing.assert_frame_equal(table, indicator(given.sample(frac=1, random_state=0)))  # whatever came first
    assert indicator(given, seed=1)["pearson_low"].iloc[0] != line["pearson_low"]


@pytest.mark.parametrize(
    "given",
    [
        points([0.5, 0.6], [0.6, 0.7]),
        points([0.5], [0.6]),
        points([0.5, 0.6, 0.7, 0.8], [0.6, np.nan, np.nan, 0.7]),
    ],
)
def test_fewer_than_three_sets_say_nothing(given):
    table = indicator(given)
    assert table["n_sets"].max() < FEWEST
    assert (
        table.drop(columns=["kind", "phantom", "scheme", "settings", "ipc", "metric", "n_sets"]).isna().all(axis=None)
    )


def test_sets_that_do_not_differ_leave_blanks():
    for given in (points([0.5] * 3, [0.6, 0.7, 0.8]), points([0.5] * 3, [0.1] * 3)):
        line = indicator(given).iloc[0]
        assert line["n_sets"] == 3 and np.isnan(line["pearson"]) and np.isnan(line["slope"])
    flat = indicator(points([0.5, 0.6, 0.7], [0.1] * 3)).iloc[0]
    assert np.isnan(flat["pearson"]) and flat["slope"] == 0 and flat["loo_error"] == pytest.approx(0, abs=1e-12)


def test_no_points_make_an_empty_table():
    assert len(indicator(points([], []))) == 0


def test_chance_and_full_are_the_ends_of_the_scale():
    given = points([0.5, 0.7, 0.9, 0.6], [0.7, 0.9, 1.0, 0.7], full=[0.9, 0.9, 0.9, 0.4])
    shares = normalised(given)
    assert shares["random"].tolist()[:3] == pytest.approx([0, 0.5, 1])
    assert shares["distilled"].tolist()[:3] == pytest.approx([0.5, 1, 1.25])
    assert shares.iloc[3][["random", "distilled"]].isna().all()  # its full data did no better than chance
    table = indicator(given).set_index("metric")
    assert table["n_sets"].to_dict() == {"auc": 4, "auc_normalised": 3}
    # 0.5, 1, 1.25 at 0, 0.5, 1: a line may lead beyond full.
    assert table.loc["auc_normalised", "slope"] == pytest.approx(0.75)


def test_schemes_budgets_and_kinds_stay_apart():
    x = np.array([0.5, 0.6, 0.7])
    parts = [points(x, x + 0.1), points(x, 1 - x, scheme="mtt"), points(x, x, ipc=1), points(x, 1.1 - x, kind="other")]
    table = indicator(pd.concat(parts)).query("metric == 'auc'")
    assert table["pearson"].round(6).tolist() == [1, -1, 1, -1]
    assert (table["n_sets"] == 3).all()


def test_phantoms_and_real_sets_are_not_mixed():
    given = points([0.5, 0.6, 0.7], [0.6, 0.7, 0.8], phantom=[True, False, False])
    with pytest.raises(
        SettingError, match=r"cannot share a regression line[\s\S]*phantoms set-0; real set-1, set-2"
    ) as raised:
        indicator(given)
    assert raised.value.exit_code == 2
    with pytest.raises(SettingError, match="set-0 occurs twice"):
        indicator(points([0.5, 0.6], [0.6, 0.7], dataset="set-0"))


def test_the_figure_is_of_one_kind_and_budget(tmp_path):
    x = np.array([0.5, 0.6, 0.7, 0.65])
    given = pd.concat([points(x, x + 0.1), points(x, x + 0.1, metric="accuracy"), points(x, 1 - x, scheme="mtt")])
    draw_indicator(given, indicator(given), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    both = pd.concat([given, points(x, x, ipc=1)])
    with pytest.raises(SettingError, match="2 budgets"):
        draw_indicator(both, indicator(both), tmp_path / "b.png")
    few = points([0.5], [0.6])
    draw_indicator(few, indicator(few), tmp_path / "c.png")  # points without a line


def test_gap_and_gain():
    known = {"partition": 0, "model": "convnet", "recipe": "common", "rounds": None, "left_out": ""}
    lines = [
        {"scheme": "majority", "auc": 0.5},
        known | {"scheme": "full", "auc": 0.9},
        known | {"scheme": "random", "ipc": 1, "auc": 0.6},
        known | {"scheme": "random", "ipc": 10, "auc": 0.7},
        known | {"scheme": "dc", "ipc": 1, "auc": 0.65},
        known | {"scheme": "dc", "ipc": 10, "auc": 0.8},
        known | {"scheme": "dc", "ipc": 10, "auc": 0.75, "left_out": "north"},
        known | {"scheme": "random", "ipc": 10, "auc": 0.68, "left_out": "north"},
        known | {"scheme": "dc", "ipc": 10, "auc": 0.99, "recipe": "native"},
        known | {"scheme": "fedavg", "rounds": 5, "auc": 0.85},
        known | {"scheme": "dc", "ipc": 10, "auc": 0.8, "partition": 1},
    ]
    frame = pd.DataFrame(lines).assign(accuracy=lambda table: table["auc"] / 2)
    frame["ipc"] = frame["ipc"].astype("Int64")
    found = add_gains(frame)
    blank = float("nan")
    gap = [blank, blank, 0.3, 0.2, 0.25, 0.1, 0.15, 0.22, blank, 0.05, blank]
    gain = [blank, 0.2, blank, blank, 0.05, 0.1, 0.05, -0.02, blank, 0.15, blank]
    assert found["auc_gap_to_full"].tolist() == pytest.approx(gap, nan_ok=True)
    assert found["auc_gain_over_random"].tolist() == pytest.approx(gain, nan_ok=True)
    assert found["accuracy_gap_to_full"].tolist() == pytest.approx([value / 2 for value in gap], nan_ok=True)
    pd.testing.assert_frame_equal(found[list(frame.columns)], frame)
