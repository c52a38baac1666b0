"""`make worth`: shares of the gap by hand, intervals that pair networks, and the whole of it on tiny phantoms."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.worth import form as forms
from benchmarks.worth.__main__ import main
from benchmarks.worth.form import Form, Piece, code_of, key, pieces
from benchmarks.worth.report import foretold, results, sheets
from benchmarks.worth.sets import TUNED, chosen, load, thirteen
from benchmarks.worth.shares import Estimate, Quality, above, gap_share, over_sets, qualities
from benchmarks.worth.work import Measured
from fedistill.errors import PlanError, SettingError

TINY = "--most 40 --networks 2 --width 4 --steps 3 --full-steps 4 --ipc 2".split()
SETS = ["--sets", "phantom:breast"]
CHEAP = {"iterations": 1, "early_networks": 1, "early_steps": 4, "looks": 0, "clusters": 1}
METHODS = ["--methods", "dm,dm@more", "--set", "dm@more.lr_img=50.0"]
METHODS += [word for name in ("dm", "dm@more") for key, n in CHEAP.items() for word in ("--set", f"{name}.{key}={n}")]


def test_the_sets_are_the_studys():
    assert len(thirteen()) == 13 and set(TUNED) < set(thirteen())


def test_names_mean_sets(monkeypatch, tmp_path):
    monkeypatch.delenv("FEDISTILL_REAL", raising=False)
    assert chosen(["breastmnist", "phantom:blood"], None) == {
        "breastmnist": "breastmnist",
        "phantom-blood": "phantom:blood",
    }
    six, seven, every = (chosen([word], tmp_path) for word in ("tuned", "untouched", "all"))
    assert list(six) == list(TUNED) and six.keys() | seven.keys() == every.keys() and len(every) == 13
    assert six["blood_pbc"] == str(tmp_path / "blood_pbc.npz")
    with pytest.raises(PlanError, match="no FEDISTILL_REAL"):
        chosen(["blood_pbc"], None)
    with pytest.raises(SettingError, match="did you mean 'blood_pbc'"):
        chosen(["blood_pcb"], None)


def test_the_small_form_is_the_same_images_every_time():
    whole = load("phantom:blood", "train", most=None, root=None)
    small, again = (load("phantom:blood", "train", most=50, root=None) for _ in range(2))
    assert len(small) == 50 and small.fingerprint() == again.fingerprint()
    assert {image.tobytes() for image in small.images} <= {image.tobytes() for image in whole.images}


def quality(*values):
    """The quality of one repeat, whose replicates are its networks' values."""
    return Quality(np.array([values]), np.array(values))


def test_a_share_by_hand():
    random, full = quality(0.60, 0.62), quality(0.80, 0.82)
    share = gap_share(quality(0.70, 0.77), random, full)
    assert share.value == pytest.approx((0.735 - 0.61) / 0.2)
    assert share.replicates.tolist() == pytest.approx([0.5, 0.75])
    assert np.isnan(gap_share(random, full, random).value)  # all images teach no more than random ones: no gap
    assert above(full, random).interval == pytest.approx((0.2, 0.2))


def test_a_mean_over_sets_draws_sets():
    shares = [Estimate(value, np.full(400, value)) for value in (0.2, 0.4, 0.9)]
    mean = over_sets(shares, seed=0)
    assert mean.value == pytest.approx(0.5)
    low, high = mean.interval
    assert 0.2 <= low < 0.4 < 0.7 < high <= 0.9
    known = over_sets([*shares, Estimate(float("nan"), np.full(400, np.nan))], seed=0)
    assert known.value == mean.value and np.array_equal(known.replicates, mean.replicates)


def scores(labels, strength, seed):
    """Probabilities (N, 2) of one network that tells two classes apart as well as it is strong."""
    noise = np.random.default_rng(seed).normal(size=len(labels))
    first = 1 / (1 + np.exp(-(strength * (labels - 0.5) + noise)))
    return np.stack([1 - first, first], 1).astype(np.float32)


def test_networks_are_paired_by_their_number():
    """Each network is a little better on the method's images than the one of its number on random ones, and networks
    differ by far more: the difference is sure, and would not be if networks were drawn apart.
    """
    labels = np.arange(400) % 2
    strengths = (0.2, 1.5, 4.0)
    random = np.stack([scores(labels, s, seed) for seed, s in enumerate(strengths)])
    method = np.stack([scores(labels, s + 0.25, seed) for seed, s in enumerate(strengths)])
    found = qualities(labels, {"random": [random], "method": [method]}, seed=0, replicates=300)
    difference = above(found["method"], found["random"])
    low, high = difference.interval
    assert 0 < low < difference.value < high < 0.1
    apart = np.random.default_rng(0).permutation(found["method"].replicates) - found["random"].replicates
    assert np.quantile(apart, 0.025) < 0
    from sklearn.metrics import roc_auc_score

    assert found["method"].auc.ravel().tolist() == pytest.approx([roc_auc_score(labels, p[:, 1]) for p in method])


def test_results_by_hand():
    labels = np.array([0, 1] * 30)

    def of(scheme, strength, seed=0, dataset="breastmnist"):
        probabilities = np.stack([scores(labels, strength, 7), scores(labels, strength, 8)])
        return Piece(dataset, dataset, scheme, seed=seed), Measured(probabilities, 2.0, 900, 20, labels)

    measured = dict([of("random", 0.3, 0), of("random", 0.3, 1), of("full", 5.0), of("dm", 5.0)])
    measured |= dict([of("full", 5.0, dataset="ours"), of("dm", 0.3, dataset="ours")])  # no random images: no share
    found = results(measured, {"dm": {"iterations": 1}}, Form(), {})
    share = found["sets"]["breastmnist"]["schemes"]["dm"]["share from random"]
    assert (share["value"], share["low"], share["high"]) == pytest.approx((1.0, 1.0, 1.0))
    assert found["counts"]["dm"]["random"] == {"above": 1, "below": 0, "sets": 1}
    assert set(found["mean share"]["dm"]) == {"tuned", "all"}
    assert "share from random" not in found["sets"]["ours"]["schemes"]["dm"]
    [auc, from_random, _, costs] = list(sheets(found))
    assert [row[0] for row in auc.rows] == ["breastmnist *", "ours"]
    assert any(row[0] == "mean of all" and "100.0" in " ".join(row) for row in from_random.rows)
    assert "900 B" in " ".join(costs.rows[0])


def test_random_images_may_foretell_quality_and_not_what_is_gained():
    """Quality on a line of random images' is foretold without error; a share that jumps from set to set is not."""

    def lines(random, share):
        return {"schemes": {"random": {"mean": random}, "dm": {"mean": random / 2 + 0.5, "share from random": share}}}

    shares = [0.2, 0.8, 0.2, 0.8]
    sets = {str(i): lines(0.5 + i / 10, {"value": share}) for i, share in enumerate(shares)}
    told = foretold(sets, "dm")
    assert told["auc"]["pearson"] == pytest.approx(1) and told["auc"]["loo_error"] == pytest.approx(0, abs=1e-12)
    assert told["share of the gap"]["n_sets"] == 4
    assert told["share of the gap"]["loo_error"] >= told["share of the gap"]["loo_error_of_mean"]
    assert foretold(dict(list(sets.items())[:2]), "dm") == {}  # two sets: any line fits


def test_the_whole_of_it_and_again(tmp_path, capsys):
    words = [*SETS, *METHODS, *TINY, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "7 computed, 0 found" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "worth.json").read_text())
    assert list(found["sets"]) == ["phantom-breast"]
    line = found["sets"]["phantom-breast"]["schemes"]
    assert list(line) == ["random", "herding", "full", "dm", "dm@more"]
    assert np.array(line["random"]["auc"]).shape == (2, 2) and np.array(line["dm"]["auc"]).shape == (1, 2)
    assert (line["random"]["images"], line["dm"]["images"], line["full"]["images"]) == (4, 4, 40)
    assert 0 < line["dm"]["bytes"] < line["full"]["bytes"]
    mean = {name: np.mean(each["auc"]) for name, each in line.items()}
    if line["dm"]["share from random"]["value"] is not None:
        share = (mean["dm"] - mean["random"]) / (mean["full"] - mean["random"])
        assert line["dm"]["share from random"]["value"] == pytest.approx(share)
    assert line["dm"]["above herding"]["value"] == pytest.approx(mean["dm"] - mean["herding"])
    assert line["dm"]["auc"] != line["dm@more"]["auc"]  # settings reach the method
    text = (tmp_path / "out" / "worth.md").read_text()
    assert "share of the gap from random to full" in text and "| phantom-breast |" in text
    assert (tmp_path / "out" / "worth.png").read_bytes().startswith(b"\x89PNG")
    pieces = sorted((tmp_path / "out" / "pieces").iterdir())
    pieces[0].unlink()
    assert main(words) == 0
    assert "1 computed, 6 found" in capsys.readouterr().out
    again = json.loads((tmp_path / "out" / "worth.json").read_text())
    for each in (found, again):
        each.pop("under")
        for data in each["sets"].values():
            for scheme in data["schemes"].values():
                scheme.pop("seconds")
    assert again == found


def test_a_method_that_fails_is_named_and_the_others_are_measured(tmp_path, capsys, monkeypatch):
    from benchmarks.worth import work

    make = work._make

    def failing(piece, *rest):
        if piece.scheme == "dm":
            raise RuntimeError("no such luck")
        return make(piece, *rest)

    monkeypatch.setattr(work, "_make", failing)
    words = ["--sets", "phantom:breast", "--methods", "dm", *TINY, "--out", str(tmp_path)]
    assert main(words) == 1
    assert "phantom-breast dm seed 0: RuntimeError: no such luck" in capsys.readouterr().out
    assert list(json.loads((tmp_path / "worth.json").read_text())["sets"]["phantom-breast"]["schemes"]) == [
        "random",
        "herding",
        "full",
    ]


def test_networks_are_trained_on_what_packed_images_show_and_towards_soft_labels(tmp_path, monkeypatch):
    from benchmarks.worth import work

    fitted, given = work.fit, []

    def spying(network, images, labels, recipe, **words):
        given.append((len(images), labels.ndim, words["soft"]))
        return fitted(network, images, labels, recipe, **words)

    monkeypatch.setattr(work, "fit", spying)
    kinds = ["tdm", "tdm@packed", "tdm@soft"]
    cheap = {"iterations": 1, "views": 1, "networks": 1, "network_steps": 1}
    words = [word for name in kinds for key, n in cheap.items() for word in ("--set", f"{name}.{key}={n}")]
    words += ["--set", "tdm@packed.pack=2", "--set", "tdm@soft.labels=soft"]
    tiny = ["--sets", "phantom:breast", *TINY, "--networks", "1", "--out", str(tmp_path)]
    assert main(["--methods", ",".join(kinds), *words, *tiny]) == 0
    assert given[-3:] == [(4, 1, False), (16, 1, False), (4, 2, True)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "dmm"], "did you mean 'dm'"),
        (["--methods", "dm", "--set", "dm.iteratons=1"], "no setting 'iteratons'"),
        (["--methods", "dm", "--set", "dc.iterations=1"], "add it: --methods dm,dc"),
        (["--sets", "bloood_pbc"], "did you mean 'blood_pbc'"),
        (["--networks", "0"], "--networks counts"),
    ],
)
def test_a_mistake_is_told_before_any_work(words, message, tmp_path, capsys):
    assert main([*(["--sets", "phantom:breast"] if "--sets" not in words else []), *words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_a_key_holds_what_a_result_depends_on(monkeypatch):
    piece, form = Piece("a", "a", "dm", {"iterations": 3}), Form()
    prints = {"train": "x", "val": "", "scored": "y"}
    same = key(piece, form, **prints)
    assert key(replace(piece, word="elsewhere"), replace(form, seeds=4), **prints) == same
    others = [
        key(replace(piece, settings={"iterations": 4}), form, **prints),
        key(replace(piece, seed=1), form, **prints),
        key(replace(piece, scheme="dc", settings={}), form, **prints),
        *(key(piece, replace(form, **{name: 7}), **prints) for name in ("ipc", "width", "networks", "steps", "lr")),
        *(key(piece, form, **prints | {name: "z"}) for name in prints),
    ]
    monkeypatch.setattr(forms, "code_of", lambda method: "changed")
    others.append(key(piece, form, **prints))
    assert len({same, *others}) == len(others) + 1


def test_code_counts_without_its_comments():
    assert code_of("dm") == code_of("dm") != code_of("dc")
    plain = forms.ast.parse("def f(x):\n    return x + 1\n")
    said = forms.ast.parse('def f(x):\n    """Add one."""\n    return x + 1  # and no more\n')
    other = forms.ast.parse("def f(x):\n    return x + 2\n")
    bare = [forms._bare(tree) for tree in (plain, said, other)]
    assert bare[0] == bare[1] != bare[2]


def test_the_test_split_lets_methods_look_at_validation_images_and_val_does_not():
    from benchmarks.worth.__main__ import _arguments, _form

    assert not _form(_arguments([])).looks and _form(_arguments(["--looks"])).looks
    tested = _form(_arguments(["--split", "test"]))
    assert tested.looks and tested.scored is None and tested.most == 2000
    assert _form(_arguments(["--full-size", "--networks", "2"])) == Form(None, None, networks=2, full_steps=4800)


def test_random_and_herding_are_repeated():
    counted = [piece.scheme for piece in pieces({"a": "a"}, {"dm": {}}, Form(seeds=3))]
    assert counted == ["random"] * 2 + ["herding"] * 2 + ["full"] + ["dm"] * 3


@pytest.mark.slow
def test_two_processes_find_what_one_does(tmp_path):
    common = ["--sets", "phantom:breast", *METHODS, *TINY]
    assert main([*common, "--out", str(tmp_path / "one")]) == 0
    words = [sys.executable, "-m", "benchmarks.worth", *common, "--jobs", "2", "--out", str(tmp_path / "two")]
    done = subprocess.run(words, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # as `make worth` starts it: processes find nothing of a module called so
    one, two = (json.loads((tmp_path / name / "worth.json").read_text()) for name in ("one", "two"))
    aucs = [
        {scheme: line["auc"] for scheme, line in each["sets"]["phantom-breast"]["schemes"].items()}
        for each in (one, two)
    ]
    assert aucs[0] == aucs[1]
    names = [sorted(path.name for path in Path(tmp_path / name / "pieces").iterdir()) for name in ("one", "two")]
    assert names[0] == names[1]
