"""The frontier: quality against leak, each point once, and what leaks said first."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fedistill.report.figures.frontier import Finding, _edge, frontier, frontier_points, leaks, roc_panels
from fedistill.report.figures.of_run import figures_of, save_figures
from fedistill.report.figures.palette import looks
from fedistill.report.html.page import page
from fedistill.report.run_data import read_run


def attack(scheme, ipc, name, auc, half, *, start="", epsilon=np.nan, seen="images", rounds=np.nan):
    ends = {"auc": auc, "auc_low": auc - half, "auc_high": auc + half}
    rates = {"tpr_at_1": 0.02, "tpr_low": 0.0, "tpr_high": 0.04, "members": 100, "shadows": 16}
    about = {"scheme": scheme, "ipc": ipc, "rounds": rounds, "epsilon": epsilon, "start": start}
    return {**about, "seen": seen, "attack": name, **ends, **rates}


@pytest.fixture(scope="module")
def audited(recorded):
    lines = [
        attack("full", np.nan, "nearest-pixels", 1.0, 0.0),
        attack("dm", 2, "nearest-pixels", 0.52, 0.05, start="noise"),
        attack("dm", 2, "lira", 0.61, 0.04, start="noise", seen="network"),
        attack("random", 2, "rmia", 0.49, 0.03, seen="network"),
        attack("random", 2, "lira", np.nan, np.nan, seen="network"),
    ]
    return replace(recorded, privacy=pd.DataFrame(lines))


def test_each_scheme_is_one_point_with_its_strongest_attack(audited):
    points = frontier_points(audited).set_index("scheme")
    assert sorted(points.index) == ["dm", "full", "random"]
    assert points.loc["dm", "attack"] == "lira" and points.loc["random", "attack"] == "rmia"
    shown = audited.shown[(audited.shown["scheme"] == "dm") & (audited.shown["ipc"] == 2)].iloc[0]
    for name in ("auc", "auc_low", "balanced_accuracy_high"):
        assert points.loc["dm", name] == shown[name]
    assert (points["auc_low"] <= points["auc"]).all() and (points["auc"] <= points["auc_high"]).all()


def test_points_of_a_sweep_that_are_alike_are_one(audited):
    def twice(frame):
        head = frame[frame["scheme"] == "majority"]
        rest = frame[frame["scheme"] != "majority"]
        return pd.concat([head, *[rest.assign(width=width) for width in (4, 8)]]).pipe(
            lambda f: f[["width", *[c for c in f if c != "width"]]]
        )

    several = replace(audited, compared=twice(audited.compared), privacy=twice(audited.privacy))
    alike = frontier_points(several)
    assert sorted(alike["scheme"]) == ["dm", "full", "random"]
    noisy = audited.privacy.assign(epsilon=1.0).query("scheme == 'dm'")
    several = replace(several, privacy=pd.concat([several.privacy, noisy.assign(width=8)]))
    assert sorted(frontier_points(several)["scheme"]) == ["dm", "dm", "full", "random"]


def test_an_attack_stands_beside_the_line_of_as_many_rounds(audited, hostile, tmp_path):
    lines = [attack("fedavg", np.nan, "rmia", 0.7, 0.05, rounds=2), attack("dm", 2, "lira", 0.6, 0.04, start="noise")]
    points = frontier_points(replace(audited, privacy=pd.DataFrame(lines))).set_index("scheme")
    shown = audited.shown[(audited.shown["scheme"] == "fedavg") & (audited.shown["rounds"] == 2)].iloc[0]
    assert sorted(points.index) == ["dm", "fedavg"] and points.loc["fedavg", "auc"] == shown["auc"]
    # A run of before schemes with rounds were attacked says nothing of rounds.
    old = tmp_path / "old"
    shutil.copytree(hostile, old, ignore=shutil.ignore_patterns("work", "grids"))
    pd.DataFrame(lines[1:]).drop(columns="rounds").to_csv(old / "privacy.csv", index=False)
    assert list(frontier_points(read_run(old))["scheme"]) == ["dm"]


def test_what_leaks_is_said_first(audited, recorded, made):
    first, second = (finding.text for finding in leaks(audited))
    assert [finding.proven for finding in leaks(audited)] == [True, False]
    assert "lira, 2\xa0% of them named at 1\xa0% false alarms" in first
    assert (
        first.index("full: AUC 100") < first.index("dm (noise): AUC 61\xa0% (57 to 65) by lira")
        and "random" not in first
    )
    assert "no proof" in second and "random: AUC 49\xa0% (46 to 52) by rmia" in second
    assert leaks(recorded) == []
    html = page(audited)
    answer = html[html.index('<section id="answer">') :]
    assert answer.index("leaks whose images") < answer.index('class="answer"')
    assert "leaks whose images" not in made and "up and left" not in made


def test_the_curve_of_the_strongest_attack_is_drawn_on_logarithmic_axes(audited, recorded):
    found = looks(audited.compared["scheme"])
    assert roc_panels(audited, found) == []
    about = {"scheme": "dm", "ipc": 2, "rounds": np.nan, "epsilon": np.nan, "start": "noise"}
    rates = {"lira": [(0.001, 0.01), (0.01, 0.05), (1.0, 1.0)], "nearest-pixels": [(0.01, 0.9), (1.0, 1.0)]}
    lines = [{**about, "attack": name, "fpr": x, "tpr": y} for name, rows in rates.items() for x, y in rows]
    [panel] = roc_panels(replace(audited, roc=pd.DataFrame(lines)), found)
    assert "dm (noise) 5.0 %" in panel.alt and "full" not in panel.alt
    assert roc_panels(recorded, found) == []


def test_who_knows_the_seed_stands_beside_and_not_in_the_main_figure(audited):
    known = audited.privacy.assign(auc=audited.privacy["auc"] + 0.2, seed_known="yes").query("scheme == 'dm'")
    both = pd.concat([audited.privacy.assign(seed_known="no"), known])
    points = frontier_points(replace(audited, privacy=both)).set_index("scheme")
    assert points.loc["dm", "attack_auc"] == pytest.approx(0.61) and points.loc["dm", "known_auc"] == pytest.approx(
        0.81
    )
    assert np.isnan(points.loc["random", "known_auc"])
    said = leaks(replace(audited, privacy=both))[0].text
    assert "false alarms (81\xa0% for who knows the seed)" in said
    alone = frontier_points(replace(audited, privacy=known)).set_index("scheme")
    assert alone.loc["dm", "attack_auc"] == pytest.approx(0.81)


def test_too_few_shadows_say_nothing(audited):
    lines = audited.privacy.assign(auc_low=np.nan, auc_high=np.nan)
    assert leaks(replace(audited, privacy=lines)) == [Finding("Too few shadows to say: full, dm (noise), random.")]


def test_who_is_found_out_for_certain_leaves_room_for_the_others(audited):
    points = frontier_points(audited)
    assert _edge(points) == pytest.approx(65 + 0.35 * 15)
    assert _edge(points[points["scheme"] != "full"]) is None and _edge(points[points["scheme"] == "full"]) is None
    near = points.assign(attack_auc_high=[0.9, 0.9, 1.0])
    assert _edge(near) is None


def test_both_figures_show_every_point(audited, recorded, tmp_path):
    found = looks(audited.compared["scheme"])
    panels = frontier(audited, found)
    assert [panel.title for panel in panels] == ["AUC, %", "Balanced accuracy, %"]
    for panel in panels:
        assert all(words in panel.svg for words in ("dm (noise)", "full: 100 →", "random"))
        assert "attack 61 %" in panel.alt
    assert frontier(recorded, found) == []
    for run, there in ((audited, True), (recorded, False)):
        save_figures(replace(run, folder=tmp_path), figures_of(run))
        assert (tmp_path / "frontier.png").exists() == there, "what is not drawn any more is taken away"
