"""The yardstick compares equal work: on tiny sizes the textbook versions and FeDistill's give the same numbers."""

import struct
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import curve, measure, plot, quality, tables
from benchmarks.cases import OURS, OURS_BF16, PLAIN, Sizes, dc, evaluation, experts, mtt
from benchmarks.child import Child
from benchmarks.conditions import conditions
from fedistill.data import load_dataset

TINY = Sizes(width=4, batch_real=3, inner=2, batch_expert=2, pool=8, epochs=4, batch=4)
DOUBLE = {"dtype": torch.float64}
EXACT = {"rtol": 1e-9, "atol": 1e-13}
CLOSE = {"rtol": 1e-4, "atol": 1e-6}  # what has no float64: the order of sums differs
CASES = {
    "image gradient of a matching step": (partial(dc.step, ipc=2, **DOUBLE), EXACT),
    "training between matching steps": (partial(dc.inner, ipc=2, **DOUBLE), EXACT),
    "image and step size gradient of MTT": (partial(mtt.iteration, ipc=2, unroll=4, **DOUBLE), EXACT),
    "an expert's snapshots": (experts.epoch, CLOSE),
    "an evaluation network's weights": (evaluation.training, CLOSE),
}


@pytest.fixture(scope="module")
def eight():
    return load_dataset("phantom:pneumonia", images=8)


@pytest.mark.parametrize("name", CASES)
def test_both_sides_give_the_same_numbers(name, eight):
    build, tolerance = CASES[name]
    case = build(eight, TINY)
    plain, ours = case.sides[PLAIN](), case.sides[OURS]()
    for a, b in zip(plain, ours, strict=True):
        torch.testing.assert_close(a, b, **tolerance)
    assert any(a.abs().max() > 0 for a in plain)
    for a, b in zip(plain, case.sides[PLAIN](), strict=True):
        assert torch.equal(a, b), "a second call starts where the first did"
    for a, b in zip(ours, case.sides[OURS](), strict=True):
        assert torch.equal(a, b)


def test_bfloat16_moves_the_images_the_same_way(eight):
    case = dc.step(eight, TINY, ipc=2)
    if OURS_BF16 not in case.sides:
        pytest.skip("this processor does not multiply bfloat16")
    [plain], [ours] = case.sides[PLAIN](), case.sides[OURS_BF16]()
    assert torch.cosine_similarity(plain.flatten(), ours.flatten(), dim=0) > 0.98


def work():
    return lambda: torch.zeros(1000, 1000).sum()


def failing():
    raise ValueError("no work")


def test_a_process_times_its_work_and_says_why_it_fails():
    with Child(ours=True, threads=1) as child:
        child.prepare(work)
        run = child.run(keep=True)
        assert run.made == 0 and run.wall > 0 and run.peak >= run.before > 10**7
        with pytest.raises(RuntimeError, match="no work"):
            child.prepare(failing)


def test_a_ratio_is_of_medians_with_the_spread_of_the_repeats():
    found = measure.compared({PLAIN: [2.0, 9.0, 4.0], OURS: [1.0, 2.0, 2.0]})
    assert found["times faster"][OURS]["of medians"] == 2.0
    assert found["sides"][OURS]["median"] == 2.0 and found["sides"][PLAIN]["samples"] == [2.0, 9.0, 4.0]


def test_a_plain_curve_goes_on_where_it_was_stopped(eight, tmp_path):
    x, y = eight.pixels(), eight.targets()
    whole, parts = tmp_path / "x-ipc1-seed3.npz", tmp_path / "y-ipc1-seed3.npz"
    curve.draw(x, y, whole, ipc=1, iterations=6, seed=3, width=4)
    for until in (2, 6):  # stopped after two iterations, and begun again
        curve.draw(x, y, parts, ipc=1, iterations=until, seed=3, width=4)
    [one], [two] = curve.read(tmp_path, "x")[1], curve.read(tmp_path, "y")[1]
    assert list(one.images) == list(two.images) == [1, 2, 3, 5, 6]
    for i, made in one.images.items():
        assert np.array_equal(made, two.images[i])
    assert not np.array_equal(one.images[5], one.images[6])
    spent = [two.seconds[i] for i in sorted(two.seconds)]
    assert spent == sorted(spent)
    with pytest.raises(SystemExit, match="width"):
        curve.draw(x, y, parts, ipc=1, iterations=8, seed=3, width=8)


def made_up():
    """Two seeds, two networks: plain climbs from 60 to 90, FeDistill reaches 89 in a tenth of the seconds."""
    at, auc = (10, 100, 1000), {}
    runs = [
        curve.Curve(s, {i: np.zeros(1) for i in at}, {i: (float(i), i / 2) for i in at}, 1, 128, True) for s in (0, 1)
    ]
    for seed in (0, 1):
        for label, value in (("plain 10", 0.6), ("plain 100", 0.885), ("plain 1000", 0.9), ("FeDistill", 0.89)):
            auc[f"x/seed {seed}/{label}"] = [value, value]
    made = [quality.Made(s, np.zeros(1), wall=10.0, cpu=10.0) for s in (0, 1)]
    return quality.judged("x", at, runs, made, auc)


def test_time_to_the_same_quality():
    found = made_up()
    assert found["difference"]["low"] == pytest.approx(-0.01) and found["non-inferior"] and found["whole schedule"]
    assert found["times less"] == {"wall": 100.0, "cpu": 50.0}
    own, less, end = found["plain first crosses"].values()
    assert own["after"]["iteration"] == 1000 and own["wall"] == [10.0, 100.0]  # crossed somewhere between the marks
    assert less["after"]["iteration"] == end["after"]["iteration"] == 100 and end["wall"] == [1.0, 10.0]


def test_the_tables_say_what_was_measured():
    about = conditions(threads=1, width=128, repeats=3, quick=False)
    steps = {"a step": measure.compared({PLAIN: [2.0, 4.0], OURS: [1.0, 2.0]})}
    results = {
        "steps": {"x": {"conditions": about, "found": steps}},
        "quality": {"x": {"conditions": about, "found": {"1": made_up()}}},
    }
    text = tables.markdown(results)
    assert "| a step | plain | 3 (2.5-3.5) |  |" in text and "| 2.00 (2.00-2.00) |" in text
    assert "-1.00 (95 % -1.00 to -1.00), paired by seed and network: non-inferior" in text
    assert "| plain's end less 2 points | 88.00 | 10 and 100 | 1.0-10.0 | 0.5-5.0 |" in text


@pytest.mark.parametrize("budgets", [1, 3])
def test_the_figure_has_a_panel_for_each_budget(budgets, tmp_path):
    found = {str(ipc): made_up() for ipc in range(1, budgets + 1)}
    path = tmp_path / "figure.png"
    plot.draw({"x": {"found": found}}, path)
    width, height = struct.unpack(">II", path.read_bytes()[16:24])  # a PNG's head
    assert (width, height) == {1: (1125, 630), 3: (1650, 1260)}[budgets]
