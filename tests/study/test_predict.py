"""Predictions: refused before any work where too little is known, and end to end on tiny phantoms."""

import re

import numpy as np
import pandas as pd
import pytest
from fabricated import PHANTOMS, fabricate, on_a_line, rows, with_columns
from tiny import write_tiny

from fedistill.config import load_plan
from fedistill.errors import DataError, RunFolderError, SettingError
from fedistill.report.terminal.prediction import evidence
from fedistill.study.feasibility.predict import left_out_table, prediction_table
from fedistill.study.feasibility.reference_runs import find_basis
from fedistill.study.folder.run_folder import described


@pytest.fixture
def here(monkeypatch, tmp_path):
    """An empty folder to work in; where runs go."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.fixture
def typed(typed, here):
    return lambda *words, width=200: typed("predict", *words, width=width)


def test_end_to_end(typed, here):
    on_a_line(here, PHANTOMS[:5])
    words = ["phantom:breast", "--ipc", 2, "--engine", "inline"]
    code, text = typed(*words)
    assert code == 0
    assert "It rests on 5 other sets: blood, derma, oct, path, tissue." in text
    assert "this tests the machinery, it says nothing about medicine" in text
    folder = here / "predict-phantom-breast-ipc2"
    table = pd.read_csv(folder / "prediction.csv")
    assert table[["scheme", "metric", "n_sets"]].values.tolist() == [["dc", "auc", 5], ["dc", "accuracy", 5]]
    rows = pd.read_csv(folder / "results.csv")
    assert set(rows["scheme"]) == {"random"} and set(rows["dataset"]) == {"phantom:breast"}  # nothing else was trained
    assert set(rows["ipc"]) == {2} and set(rows["pool_ipc"]) == {4} and set(rows["steps"]) == {4}
    random = rows[["auc", "accuracy"]].mean()
    assert table["random"].tolist() == pytest.approx(random.tolist())
    # The sets lie on 0.4 + 0.5 random exactly: so does the prediction, and its interval has no width.
    for column in ("predicted", "low", "high"):
        assert table[column].tolist() == pytest.approx((0.4 + 0.5 * random).tolist())
    for value in table["predicted"]:
        assert f"{100 * value:.1f}" in text
    assert table["loo_error"].tolist() == pytest.approx([0, 0], abs=1e-9)
    span = (0.5, 0.66)
    assert table["beyond"].tolist() == [not span[0] <= value <= span[1] for value in random]
    assert len(pd.read_csv(folder / "indicator_points.csv")) == 10
    assert (folder / "indicator.png").read_bytes().startswith(b"\x89PNG")
    # Again, with its own run among the finished ones: found, not computed, and no evidence.
    code, again = typed(*words)
    assert code == 0 and "It rests on 5 other sets" in again
    pd.testing.assert_frame_equal(pd.read_csv(folder / "prediction.csv"), table)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"found: 4 \(blood, derma, oct, path\) by dc in runs on phantoms of 28 pixels"),
        ([], r"1 more of one kind are missing: `fedistill run per-dataset --phantom`"),
        ([], r"for one: `fedistill run runs/blood/simulation.toml --set federation.dataset=phantom:\w+ --out runs/"),
        (["--ipc", 10], r"found: none of them; other budgets, which cannot be used: ipc 2"),
        (["--method", "mtt"], r"measured with random subsets and by mtt in runs of one kind"),
        (["--method", "random"], r"'random' is not a scheme that distils"),
        (["--method", "dcc"], r"did you mean 'dc'"),
        (["--from", "runs/blood"], r"found: 1 \(blood\)[\s\S]*4 more of one kind"),
        (["--from", "blood", "--from", "oct"], r"found: 2 \(blood, oct\)"),
        (["--from", "nowhere"], r"no such run folder"),
    ],
)
def test_too_little_to_rest_on_is_refused_before_any_work(typed, here, words, message):
    on_a_line(here, PHANTOMS[:4])
    before = sorted(here.rglob("*"))
    given = words if "--ipc" in words else ["--ipc", 2, *words]
    code, text = typed("phantom:breast", *given, width=1000)
    assert code == 2
    assert re.search(message, text), text
    assert sorted(here.rglob("*")) == before and [p.name for p in here.parent.iterdir()] == ["runs"]


def test_nothing_there_at_all(typed, here):
    code, text = typed("bloodmnist")
    assert code == 2 and "found: no finished run" in text
    assert "5 more of one kind are missing: `fedistill run per-dataset` measures all" in text
    assert not here.exists()


def test_a_hospitals_own_file_from_a_study_of_files(typed, here, tmp_path):
    """A sweep over files and federations, in one run folder: as `worth` is. The file is asked about one federation."""
    real = [own_file(tmp_path / f"{name}.npz", seed) for seed, name in enumerate("abcdef")]
    folder = here / "study"
    folder.mkdir(parents=True)
    path = write_tiny(folder)
    (folder / "tiny.toml").write_text((folder / "tiny.toml").read_text().replace("images = 60,", ""))
    policy = "policy = { allow_real_images = true, start = 'real' }"
    swept = [
        f"sweep.federation=[{{ name = 'one', sites = 1, {policy} }}, {{ name = 'two', sites = 2, {policy} }}]",
        f"sweep.federation.dataset={[str(each) for each in real[:5]]}",
    ]
    plan = load_plan(path, changes=swept)
    (folder / "simulation.toml").write_text(described(plan))
    tables = []
    for number, (point, values) in enumerate(with_columns(plan)):
        set_number, two = number % 5, number >= 5
        random = 0.5 + 0.05 * set_number
        distilled = (0.9 - 0.5 * random) if two else (0.3 + 0.6 * random + 0.02 * (set_number == 2))
        tables.append(rows(point.simulation, {("random", 2): random, ("dc", 2): distilled}).assign(**values))
    pd.concat(tables).to_csv(folder / "results.csv", index=False)
    code, text = typed(real[5], "--ipc", 2, "--engine", "inline", "--from", "study", "--federation", "two", width=1000)
    assert code == 0, text
    assert "It rests on 5 other sets: a, b, c, d, e." in text and "2 sites" in text
    assert "dc AUC over 5 sets: Pearson's r -1.00 (-1.00 to -1.00), Spearman's r -1.00 (-1.00 to -1.00)." in text
    out = here / "predict-f-ipc2"
    random = pd.read_csv(out / "results.csv")["auc"].mean()
    predicted = pd.read_csv(out / "prediction.csv").set_index("metric")["predicted"]
    assert predicted["auc"] == pytest.approx(0.9 - 0.5 * random)
    one = find_basis(str(real[5]), ipc=2, sources=[folder])
    assert one.kind.sites == 1 and len(one.simulation.federation.sites) == 1
    assert "choose with --federation or --from" in one.notes[0]
    [auc, _] = evidence(one.points)
    assert re.search(r"missed by 1\.0 points in the mean, by 2\.0 at most \(c\); the others' mean alone", auc)
    code, text = typed(real[5], "--ipc", 2, "--from", "study", "--federation", "tow")
    assert code == 2 and "did you mean 'two'" in text


def own_file(path, seed):
    """A file of a hospital's own, of tiny images that two classes share."""
    arrays = {}
    for number, split in enumerate(("train", "val", "test")):
        drawn = np.random.default_rng([seed, number])
        labels = np.arange(12)[:, None] % 2
        images = (60 * labels[:, :, None] + drawn.integers(0, 150, (12, 28, 28))).astype(np.uint8)
        arrays |= {f"{split}_images": images, f"{split}_labels": labels.astype(np.uint8)}
    np.savez(path, **arrays)
    return path


def test_each_set_left_out_by_hand():
    sets = {"dataset": list("abc"), "random": [0.5, 0.6, 0.7], "distilled": [0.5, 0.6, 0.8]}
    left = left_out_table(pd.DataFrame(sets).assign(scheme="dc", metric="auc"))
    assert left["dataset"].tolist() == list("abc")
    assert left["predicted"].tolist() == pytest.approx([0.4, 0.65, 0.7])
    assert left["error"].tolist() == pytest.approx([-0.1, 0.05, -0.1])
    assert left_out_table(pd.DataFrame(columns=["scheme", "metric", *sets])).empty


def test_the_set_itself_does_not_count(here):
    on_a_line(here, PHANTOMS[:5])
    for name in ("phantom:blood", "phantom:bloodmnist"):
        with pytest.raises(SettingError, match=r"found: 4 \(derma, oct, path, tissue\)"):
            find_basis(name, ipc=2)
    basis = find_basis("breastmnist", ipc=2, phantom=True)
    assert basis.dataset == "phantom:breast" and basis.points["dataset"].nunique() == 5


def test_phantoms_do_not_count_for_real_sets_nor_real_ones_for_phantoms(here):
    phantoms = on_a_line(here, PHANTOMS)
    with pytest.raises(
        SettingError,
        match=r"5 other real data sets[\s\S]*found: none of them; 6 phantoms \(.*cannot predict real data sets",
    ):
        find_basis("breastmnist", ipc=2)
    real = [f"{name.removeprefix('phantom:')}mnist" for name in PHANTOMS[:5]]
    folders = on_a_line(here, real)
    assert find_basis("breastmnist", ipc=2).points["dataset"].tolist()[::2] == sorted(real)
    assert set(find_basis("phantom:breast", ipc=2, sources=[*phantoms, *folders]).points["dataset"]) == set(PHANTOMS)
    with pytest.raises(SettingError, match=r"5 other phantoms[\s\S]*5 real data sets"):
        find_basis("phantom:breast", ipc=2, sources=folders)


def test_runs_of_several_kinds_do_not_add_up(here):
    on_a_line(here, PHANTOMS[:3])
    on_a_line(here / "wide", PHANTOMS[3:], changes=["width=8"])
    sources = [path.parent for path in here.rglob("results.csv")]
    with pytest.raises(SettingError, match=r"found: 3 \(.*width 4.*; 3 \(.*width 8"):
        find_basis("phantom:breast", ipc=2, sources=sources)


def test_the_kind_with_the_most_sets_is_taken_and_the_others_named(here):
    narrow = on_a_line(here, PHANTOMS[:5])
    wide = on_a_line(here / "wide", PHANTOMS, changes=["width=8"])
    basis = find_basis("phantom:breast", ipc=2, sources=[*narrow, *wide])
    assert basis.kind.width == basis.simulation.width == 8 and basis.points["dataset"].nunique() == 6
    assert len(basis.notes) == 1 and "convnet of width 4" in basis.notes[0]


def test_what_is_trained_is_as_in_the_runs(here):
    on_a_line(
        here, PHANTOMS[:4], changes=["recipe.steps=5", "federation.partition={by='dirichlet', alpha=0.5, seed=4}"]
    )
    more = ["networks=6", "seeds=2", "min_sites=1", "leave_out=['dc']", "recipes=['common', 'native']"]
    changes = ["recipe.steps=5", "federation.partition={by='dirichlet', alpha=0.5, seed=4}", *more]
    on_a_line(here, PHANTOMS[4:], changes=changes)
    simulation = find_basis("phantom:breast", ipc=2).simulation
    assert simulation.scheme == {"random": {}} and simulation.ipc == (2,)
    assert simulation.federation.dataset == "phantom:breast" and len(simulation.federation.sites) == 2
    assert simulation.federation.partition.model_dump() == {"by": "dirichlet", "alpha": 0.5, "seed": 4}
    assert simulation.recipe.steps == 5 and simulation.width == 4
    assert (simulation.networks, simulation.seeds) == (6, 2)  # the most of any
    assert simulation.sites_needed == 2 and simulation.recipes == ("common",) and simulation.leave_out == ()


def test_a_scheme_with_too_few_sets_is_named(here):
    for number, dataset in enumerate(PHANTOMS):
        known = {("random", 2): 0.5 + number / 20, ("dc", 2): 0.6 + number / 20}
        fabricate(here / str(number), dataset, known | ({("mtt", 2): 0.7} if number < 2 else {}))
    basis = find_basis("phantom:breast", ipc=2)
    assert set(basis.points["scheme"]) == {"dc"} and basis.notes == ("mtt is not predicted: 2 sets, 5 are needed.",)
    with pytest.raises(SettingError, match=r"found: 2 .* by mtt"):
        find_basis("phantom:breast", ipc=2, method="mtt")


def test_a_hospitals_own_file(here):
    arrays = {}
    for split in ("train", "val", "test"):
        arrays |= {f"{split}_images": np.zeros((8, 32, 32), np.uint8), f"{split}_labels": np.arange(8)[:, None] % 2}
    np.savez(here.parent / "ours.npz", **{k: v.astype(np.uint8) for k, v in arrays.items()})
    real = [f"{name.removeprefix('phantom:')}mnist" for name in PHANTOMS]
    on_a_line(here, real)
    with pytest.raises(SettingError, match="found: none of them"):  # of its pixels
        find_basis("ours.npz", ipc=2)
    on_a_line(here / "larger", real, changes=["federation.size=32"])
    basis = find_basis("ours.npz", ipc=2, sources=list((here / "larger").iterdir()))
    assert basis.simulation.name == "predict-ours-ipc2" and basis.dataset == str(here.parent / "ours.npz")
    with pytest.raises(DataError):
        find_basis("theirs.npz", ipc=2)


def test_a_broken_run_is_passed_over_unless_it_is_named(here):
    on_a_line(here, PHANTOMS[:5])
    broken = fabricate(here / "broken", "phantom:retina", {("random", 2): 0.5})
    (broken / "simulation.toml").write_text("widht = 3")
    basis = find_basis("phantom:breast", ipc=2)
    assert len(basis.notes) == 1 and "broken is skipped" in basis.notes[0]
    with pytest.raises(Exception, match="no federation") as raised:
        find_basis("phantom:breast", ipc=2, sources=[broken])
    assert raised.value.exit_code == 2
    with pytest.raises(RunFolderError):
        find_basis("phantom:breast", ipc=2, sources=[here])


def test_a_prediction_by_hand():
    sets = {"dataset": list("abcde"), "random": [0.5, 0.6, 0.7, 0.8, 0.9], "distilled": [0.6, 0.65, 0.8, 0.8, 0.9]}
    given = pd.DataFrame(sets).assign(scheme="dc", metric="auc")
    rows = pd.DataFrame({"scheme": "random", "auc": [0.4, 0.5]})
    [line] = prediction_table(given, rows).to_dict("records")
    assert line["random"] == 0.45 and line["predicted"] == pytest.approx(0.75 - 0.25 * 0.75) and line["beyond"] is True
    # residuals 0, -0.025, 0.05, -0.025, 0; t with three degrees of freedom
    half = 3.182446 * np.sqrt(0.00375 / 3) * np.sqrt(1 + 1 / 5 + 0.25**2 / 0.1)
    assert line["high"] - line["predicted"] == pytest.approx(half, rel=1e-6)
    [few] = prediction_table(given[:4], rows).to_dict("records")
    assert few["n_sets"] == 4 and np.isnan(few["predicted"])
    [diverged] = prediction_table(given, rows.assign(auc=[0.4, np.nan])).to_dict("records")
    assert np.isnan(diverged["predicted"])
