"""The learned attack: fitted on references alone, better than its parts, and blind where they are."""

from dataclasses import replace

import numpy as np
import pytest
from oracles import tracing as oracle

from fedistill.privacy.attacks.attack_metrics import measure
from fedistill.privacy.attacks.learned import FARTHEST, learned
from fedistill.privacy.attacks.registry import Evidence, scores, verdicts
from fedistill.privacy.attacks.roc import curve
from fedistill.privacy.attacks.shadow_design import halves
from fedistill.privacy.attacks.shadows import Signals


def signals_of(design, *, shift, seed=0):
    """Numbers of shadows: distances and confidences that both move by `shift` standard deviations for members."""
    random = np.random.default_rng(seed)
    made = []
    for row in design.membership:
        near = np.exp(0.1 * random.standard_normal(len(row)) - 0.1 * shift * row)
        sure = random.standard_normal((1, len(row))) + shift * row
        likely = 1 / (1 + np.exp(-sure))
        copies = sure[:, None] + random.standard_normal((1, 5, len(row)))
        population = 1 / (1 + np.exp(-random.standard_normal((1, 100))))
        made.append(Signals({"pixels": near, "features": near}, near < 0, sure, likely, population, copies))
    return made


def test_it_fits_on_the_references_alone():
    """The oracle fits by Newton steps on scores computed without the attacked pair."""
    design = halves(20, 8, seed=0)
    evidence = Evidence(signals_of(design, shift=1.0), design)
    single = ["nearest-pixels", "lira"]
    found = learned(lambda chosen: {each: scores(each, evidence.only(chosen)) for each in single}, design)
    for first in range(0, 8, 2):
        refs = design.references(first)
        among = evidence.only(refs)
        fitted_on = [scores(each, among) for each in single]
        scaled = [np.clip((v - v.mean()) / v.std(), -FARTHEST, FARTHEST) for v in fitted_on]
        features = np.stack([v.ravel() for v in scaled], 1)
        b = oracle.logistic(features, design.membership[refs].ravel())
        for target in (first, first + 1):
            seen = [
                (scores(each, evidence)[target] - v.mean()) / v.std() for each, v in zip(single, fitted_on, strict=True)
            ]
            plain = sum(w * np.clip(v, -FARTHEST, FARTHEST) for w, v in zip(b, seen, strict=True))
            np.testing.assert_allclose(found[target], plain, rtol=1e-3, atol=1e-4)


def test_the_attacked_pair_s_members_change_nothing():
    design = halves(20, 8, seed=0)
    signals = signals_of(design, shift=1.0)
    turned = design.membership.copy()
    turned[2:4] = ~turned[2:4]
    one, other = (
        scores("learned", Evidence(signals, replace(design, membership=m))) for m in (design.membership, turned)
    )
    np.testing.assert_allclose(one[2:4], other[2:4])
    assert not np.allclose(one[0], other[0])


def test_together_they_find_more_than_each():
    design = halves(100, 12, seed=0)
    evidence = Evidence(signals_of(design, shift=0.5), design)
    area = {each: curve(scores(each, evidence), design.membership).auc for each in evidence.attacks()}
    assert area["learned"] > max(value for name, value in area.items() if name != "learned") + 0.01


def test_where_nothing_is_it_finds_nothing():
    design = halves(100, 12, seed=0)
    evidence = Evidence(signals_of(design, shift=0.0), design)
    found = measure(scores("learned", evidence), design, seed=0, replicates=200)
    assert found.auc.low < 0.5 < found.auc.high < 0.6


def test_six_shadows_are_too_few_for_it():
    design = halves(20, 6, seed=0)
    found = verdicts(Evidence(signals_of(design, shift=1.0), design), seed=0, replicates=10)
    assert "learned" not in found and "lira-queries" in found and "lira-rounds" not in found


@pytest.mark.parametrize(
    ("attack", "leak"), [("lira-own", "confidence"), ("lira-queries", "queries"), ("lira-rounds", "received")]
)
def test_each_way_to_ask_a_network_finds_what_is_planted_there_and_only_there(attack, leak):
    design, random = halves(100, 12, seed=0), np.random.default_rng(0)
    for shift in (0.0, 1.5):
        signals = []
        for row in design.membership:
            noise = {
                name: random.standard_normal(shape)
                for name, shape in (("confidence", (2, 100)), ("queries", (2, 5, 100)))
            }
            start = random.standard_normal((2, 100))
            if leak == "received":  # the site's network is as sure as the one it began from, and surer of members
                noise["confidence"] = start + 0.1 * random.standard_normal((2, 100)) + 0.1 * shift * row
            else:
                noise[leak] = noise[leak] + shift * row
            blank = np.zeros(100, bool)
            signals.append(
                Signals({}, blank, noise["confidence"], np.zeros((0, 100)), np.zeros((0, 1)), noise["queries"], start)
            )
        found = measure(scores(attack, Evidence(signals, design)), design, seed=0, replicates=200)
        assert (found.auc.low > 0.65) if shift else (found.auc.low < 0.5 < found.auc.high)
