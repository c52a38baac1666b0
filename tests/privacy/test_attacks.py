"""The attacks on what must leak and on what cannot: networks that learned by heart, real images sent, other data."""

from functools import cache

import numpy as np
import pytest
import torch

from fedistill.data import load_dataset
from fedistill.errors import SettingError
from fedistill.methods import distill
from fedistill.methods.engine.method import SyntheticSet
from fedistill.models import build
from fedistill.privacy.attacks.attack_metrics import measure
from fedistill.privacy.attacks.canaries import canaries
from fedistill.privacy.attacks.lira import lira, logit_confidence
from fedistill.privacy.attacks.nn_attack import closeness, distances
from fedistill.privacy.attacks.rmia import rmia, true_probability
from fedistill.privacy.attacks.roc import curve
from fedistill.privacy.attacks.shadow_design import halves
from fedistill.training.fit import fit, predict
from fedistill.training.recipe import Recipe

SHADOWS = 16
HEART = Recipe(lr=0.1, steps=80, batch=25, augment=False, weight_decay=0.0)  # 50 images, each some 40 times
NETWORK = build("convnet", channels=3, classes=9, size=12, width=8)


@cache
def images(part="records"):
    """100 images that are attacked, 100 that are not, and 200 of the population."""
    first, end = {"records": (0, 100), "others": (100, 200), "population": (200, 400)}[part]
    return load_dataset("phantom:path", images=400, size=12).take(np.arange(first, end))


@cache
def trained():
    """A network for each half of 100 images, and the design."""
    design = halves(100, SHADOWS, seed=0)
    x, y = images().pixels(), images().targets()
    at = [torch.from_numpy(np.flatnonzero(row)) for row in design.membership]
    return design, [fit(NETWORK, x[a], y[a], HEART, seed=s, mirror=True) for s, a in enumerate(at)]


def signals(networks, records, of):
    return np.stack([of(predict(NETWORK, p, records.pixels()), records.targets()) for p in networks])


def scores(attack, records):
    design, networks = trained()
    if attack.startswith("lira"):
        options = {"online": "offline" not in attack, "shift": "shrunk" if "shrunk" in attack else "own"}
        return lira(signals(networks, records, logit_confidence), design, **options)
    population = signals(networks, images("population"), true_probability)
    return rmia(signals(networks, records, true_probability), population, design, online="offline" not in attack)


ATTACKS = ["lira", "lira shrunk", "lira offline", "rmia", "rmia offline"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_networks_that_learned_by_heart_are_found_out(attack):
    found = measure(scores(attack, images()), trained()[0], seed=0, replicates=100)
    assert found.auc.value > 0.9 and found.auc.low > 0.85
    if attack == "lira":
        assert found.tpr_at_1.value > 0.5
    assert np.isnan(found.tpr_at_01.value)  # 800 non-members


@pytest.mark.parametrize("attack", ATTACKS)
def test_networks_trained_on_other_data_tell_nothing(attack):
    """Records that no network saw, taken for those that each did and did not."""
    found = measure(scores(attack, images("others")), trained()[0], seed=0, replicates=200)
    assert found.auc.low < 0.5 < found.auc.high < 0.62
    assert found.tpr_at_1.low < 0.02


def released(design, records, *, ipc=2, **options):
    """What each half sends, rounded to eight bits as on the wire (here: moved by as much)."""
    made = []
    for s, row in enumerate(design.membership):
        release = distill(records.take(np.flatnonzero(row)), ipc=ipc, seed=s, width=4, **options)
        noise = (torch.rand(release.images.shape, generator=torch.Generator().manual_seed(s)) - 0.5) / 127.5
        made.append(SyntheticSet(release.images + noise, release.labels, release.ipc))
    return made


@pytest.mark.parametrize("space", ["pixels", "features"])
def test_real_images_that_were_sent_are_found(space):
    design = halves(100, SHADOWS, seed=0)
    made = released(design, images(), method="random")
    distance, absent = distances(made, images(), space=space)
    found = closeness(distance, absent, design)
    sent = distance < 0.02 * np.median(distance)
    assert 0.2 < sent[design.membership].mean() < 0.4 and not sent[~design.membership].any()
    considered = sent | ~design.membership
    assert curve(found[considered], design.membership[considered]).tpr_at(0.01) == 1
    assert measure(found, design, seed=0, replicates=50).auc.low > 0.55


@pytest.mark.parametrize("space", ["pixels", "features"])
def test_releases_made_of_other_data_tell_nothing(space):
    design = halves(100, SHADOWS, seed=0)
    made = released(design, images("others"), method="random")
    distance, absent = distances(made, images(), space=space)
    found = measure(closeness(distance, np.zeros_like(absent), design), design, seed=0, replicates=200)
    assert found.auc.low < 0.5 < found.auc.high < 0.62


def test_images_that_start_from_real_ones_leak_more_than_from_noise():
    design, area = halves(60, 8, seed=0), {}
    records = images().take(np.arange(60))
    for start in ("real", "noise"):
        settings = {"preset": "published", "iterations": 3, "start": start}
        made = released(design, records, ipc=3, method="dm", settings=settings)
        found = closeness(*distances(made, records, space="pixels"), design)
        area[start] = measure(found, design, seed=0, replicates=50).auc
    assert area["real"].low > 0.7 and area["real"].value > area["noise"].value + 0.15


def test_a_release_without_the_class_says_the_record_was_out():
    records = images().take(np.arange(20))
    design = halves(20, 6, seed=0)
    lone = int(np.flatnonzero(np.bincount(records.labels)[records.labels] == 1)[0])
    made = released(design, records, method="random")
    distance, absent = distances(made, records, space="pixels")
    found = closeness(distance, absent, design)
    assert np.isfinite(distance).all() and (absent[:, lone] == ~design.membership[:, lone]).all()
    assert np.isneginf(found[absent]).all() and np.isfinite(found[~absent]).all()
    assert curve(found[:, lone], design.membership[:, lone]).auc == 1


def test_distances_that_are_none_are_refused():
    design = halves(20, 6, seed=0)
    with pytest.raises(SettingError, match="no distances"):
        closeness(-np.ones((6, 20)), np.zeros((6, 20), bool), design)
    with pytest.raises(SettingError, match="hold values"):
        closeness(np.full((6, 20), np.inf), np.zeros((6, 20), bool), design)


def test_all_images_sent():
    design = halves(40, 6, seed=0)
    records = images().take(np.arange(40))
    made = [distill(records.take(np.flatnonzero(row)), method="full") for row in design.membership]
    found = closeness(*distances(made, records, space="pixels"), design)
    assert curve(found, design.membership).auc == pytest.approx(1)


def test_canaries_are_found_in_networks():
    chosen = canaries(images(), 12, seed=0)
    networks = []
    for s in range(12):
        held = chosen.shadow(images(), s)
        networks.append(fit(NETWORK, held.pixels(), held.targets(), HEART, seed=s, mirror=True))
    records = chosen.records(images())
    found = lira(signals(networks, records, logit_confidence), chosen.design, shift="shrunk")
    assert curve(found, chosen.design.membership).auc > 0.95
    # With the right label the same records tell less: it is the wrong one that had to be learned by heart.
    right = lira(signals(networks, images().take(chosen.at), logit_confidence), chosen.design, online=False)
    assert curve(right, chosen.design.membership).auc < 0.5
