"""Tracing: it does what the plain version does, finds a mean that leans, and nothing where nothing leans."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracles import tracing as oracle

from fedistill.data.imageset import ImageSet
from fedistill.privacy.attacks import tracing as module
from fedistill.privacy.attacks.attack_metrics import measure
from fedistill.privacy.attacks.roc import curve
from fedistill.privacy.attacks.shadow_design import halves
from fedistill.privacy.attacks.tracing import Tracer, chosen_shadows, tracing

SHADOWS = 16


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """One narrow random network and one trained in four steps."""
    monkeypatch.setattr(module, "RANDOM", {4: 1})
    monkeypatch.setattr(module, "TRAINED", 1)
    monkeypatch.setattr(module, "TRAINED_WIDTH", 4)
    monkeypatch.setattr(module, "TRAINING", replace(module.TRAINING, steps=4))


def images(n, seed, *, mirror=False):
    """Grey images of 8 x 8, two classes by turns, of which one is brighter."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    x = random.integers(0, 160, (n, 8, 8, 1)) + 60 * labels[:, None, None, None]
    return ImageSet(x.astype(np.uint8), labels, ("no", "yes"), mirror=mirror)


def releases(records, design, *, lean, seed=0, ipc=3):
    """Per shadow a few images a class around a centre that leans towards the class's members, with noise of 0.3."""
    x, random = records.pixels(), torch.Generator().manual_seed(seed)
    made = []
    for row in design.membership:
        parts = []
        for c in (0, 1):
            mine = torch.from_numpy(records.labels == c)
            centre = x[mine].mean(0) + lean * (x[mine & torch.from_numpy(row)].mean(0) - x[mine].mean(0))
            parts.append(centre + 0.3 * torch.randn((ipc, *centre.shape), generator=random))
        made.append((torch.cat(parts), torch.arange(2).repeat_interleave(ipc)))
    return made


def test_it_is_the_plain_version_in_pixels():
    design, records, others = halves(24, 8, seed=1), images(24, 0), images(10, 1)
    made = releases(records, design, lean=1.0)
    found = tracing(Tracer(records, others, seed=0).traces(made), "pixels", design)
    flat, extra = (each.pixels().flatten(1).double().numpy() for each in (records, others))
    plain = np.zeros_like(found)
    for c in (0, 1):
        of_class = [x[y == c].flatten(1).double().numpy() for x, y in made]
        at = records.labels == c
        plain[:, at] = oracle.tracing(flat[at], extra[others.labels == c], of_class, design.membership[:, at])
    np.testing.assert_allclose(found, plain / plain.std(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", module.KINDS)
def test_a_mean_that_leans_is_found(kind):
    design, records = halves(60, SHADOWS, seed=0), images(60, 0, mirror=True)
    traces = Tracer(records, images(30, 1), seed=0).traces(releases(records, design, lean=2.0))
    found = measure(tracing(traces, kind, design), design, seed=0, replicates=100)
    assert found.auc.low > 0.6


@pytest.mark.parametrize("kind", module.KINDS)
def test_a_mean_that_does_not_lean_tells_nothing(kind):
    design, records = halves(60, SHADOWS, seed=0), images(60, 0, mirror=True)
    traces = Tracer(records, images(30, 1), seed=0).traces(releases(records, design, lean=0.0))
    found = measure(tracing(traces, kind, design), design, seed=0, replicates=200)
    assert found.auc.low < 0.5 < found.auc.high < 0.6


def test_what_there_is_nothing_for_is_no_attack():
    design, records = halves(20, 8, seed=0), images(20, 0)
    traces = Tracer(records, None, seed=0).traces(releases(records, design, lean=1.0))
    assert {name.partition("-")[0] for name in traces} == {"pixels", "features"}  # no population, and no flips


def test_who_knows_half_of_the_members_finds_more_of_the_others():
    """More records than axes: each hides behind the others, and less so behind those that are known."""
    design, records = halves(300, SHADOWS, seed=0), images(300, 0)
    traces = Tracer(records, None, seed=0).traces(releases(records, design, lean=1.0, ipc=200))
    alone, helped = (
        curve(tracing(traces, "pixels", design, half=half), design.membership).auc for half in (False, True)
    )
    assert helped > alone + 0.02


def test_a_known_record_is_scored_by_the_other_half():
    """Turning a record's own membership round in the attacked shadow changes nothing of its score."""
    design, records = halves(40, 8, seed=0), images(40, 0)
    traces = Tracer(records, None, seed=0).traces(releases(records, design, lean=1.0))
    turned = design.membership.copy()
    turned[:2, 5] = ~turned[:2, 5]
    for half in (False, True):
        one, other = (
            tracing(traces, "pixels", replace(design, membership=m), half=half) for m in (design.membership, turned)
        )
        # Scores are scaled together, so only their ratio to another record of the same half is the attack's own.
        assert one[0, 5] / one[0, 7] == pytest.approx(other[0, 5] / other[0, 7], rel=0.2 if half else 1e-9)


def test_a_release_without_the_class_says_the_record_was_out():
    design, records = halves(40, 8, seed=0), images(40, 0)
    made = releases(records, design, lean=1.0)
    x, y = made[3]
    made[3] = (x[y == 0], y[y == 0])
    found = tracing(Tracer(records, None, seed=0).traces(made), "features", design)
    assert np.isneginf(found[3, 1::2]).all() and np.isfinite(found[3, ::2]).all()
    assert np.isfinite(np.delete(found, 3, 0)).all()


def test_some_shadows_are_traced_as_they_were_among_all():
    design, records = halves(40, 8, seed=0), images(40, 0)
    traces = Tracer(records, None, seed=0).traces(releases(records, design, lean=1.0))
    refs = design.references(2)
    few = chosen_shadows(traces, refs)
    for name, classes in traces.items():
        for whole, part in zip(classes, few[name], strict=True):
            assert (part.means == whole.means[refs]).all() and part.deviations is whole.deviations


def test_images_with_several_labels_are_one_class():
    design, single = halves(40, 8, seed=0), images(40, 0)
    records = replace(single, labels=np.stack([single.labels, 1 - single.labels], 1), task="multi-label")
    assert records.multilabel
    made = [(x, torch.zeros(len(x), 2)) for x, _ in releases(single, design, lean=1.0)]
    traces = Tracer(records, None, seed=0).traces(made)
    assert [len(axes.records) for axes in traces["pixels"]] == [40]
    assert np.isfinite(tracing(traces, "pixels", design)).all()
