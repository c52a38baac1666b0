"""The private methods: what one unit can change, how much noise there is, that it is spent once, and what is said."""

import math
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedistill import seeds
from fedistill.data.imageset import ImageSet
from fedistill.distill import Task, distill, in_memory, privacy_statement, settings_for
from fedistill.distill.dp import Answers, PrivateSettings
from fedistill.distill.dp_dc import DPDCSettings, per_image
from fedistill.distill.dp_dm import BETAS, DPDMSettings, adam, grown, targets, unit
from fedistill.distill.dp_noise import (
    AT_ONCE,
    COUNT,
    ROOM,
    Seeded,
    System,
    clipped_sum,
    counted,
    noisy_sum,
    units,
    whole,
)
from fedistill.distill.matching import matched
from fedistill.distill.steady import State
from fedistill.errors import SettingError
from fedistill.models import MODELS, build, objective
from fedistill.privacy.accounting import epsilon_of
from fedistill.store import KeptCheckpoints, Store

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles.audit import epsilon_at_least

QUICK = {"iterations": 2, "queries": 2, "width": 4}
PRIVATE = ["dp-dc", "dp-dm"]


@st.composite
def populations(draw):
    """Rows of any length, of units with any number of images of any classes; and a clip."""
    n, d, classes = draw(st.integers(1, 12)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rows = torch.from_numpy(rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-3, 4, (n, 1)))
    unit = torch.from_numpy(rng.integers(0, draw(st.integers(1, n)), n))
    return rows, unit, torch.from_numpy(rng.integers(0, classes, n)), classes, draw(st.floats(1e-3, 1e3))


@settings(max_examples=60, deadline=None)
@given(populations())
def test_one_unit_more_or_less_moves_the_sum_by_the_clip_at_most(population):
    rows, unit, labels, classes, clip = population
    total = clipped_sum(rows, unit, labels, classes, clip)
    for gone in unit.unique():
        stay = unit != gone
        without = clipped_sum(rows[stay], unit[stay], labels[stay], classes, clip)
        moved = float((total - without).norm())
        assert moved <= clip * (1 + 1e-9)
        own = torch.zeros_like(total).index_add_(0, labels[~stay], rows[~stay].double())
        assert moved == pytest.approx(min(clip, float(own.norm())), rel=1e-6)  # and by no less than it has to say


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_what_an_image_tells_is_no_longer_than_the_clip(seed, clip):
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(rng.normal(size=(6, 3)) * 10.0 ** rng.uniform(-6, 6, (6, 1))).float()
    rows = counted(vectors, clip)
    assert (rows.norm(dim=1) <= clip * (1 + 1e-5)).all()
    assert torch.allclose(rows[:, -1], torch.tensor(COUNT * clip))
    short = vectors.norm(dim=1) <= clip
    assert torch.allclose(rows[short, :-1], ROOM * vectors[short], rtol=1e-5)


def test_a_gradient_that_is_no_number_says_nothing():
    rows = counted(torch.tensor([[math.nan, 1.0], [math.inf, 0.0], [3.0, 4.0]]), 1.0)
    assert torch.isfinite(rows).all() and (rows[:2, :-1] == 0).all() and rows[2, :-1].norm() > 0.9


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 8), st.integers(0, 63))
def test_pieces_hold_whole_units_and_all_of_them(unit, most, mask):
    unit = torch.tensor(np.unique(unit, return_inverse=True)[1])
    taken = torch.tensor([bool(mask >> k & 1) for k in range(int(unit.max()) + 1)])
    pieces = list(whole(unit, taken, most))
    assert sorted(torch.cat(pieces).tolist() if pieces else []) == torch.nonzero(taken[unit]).flatten().tolist()
    at = Counter(u for piece in pieces for u in set(unit[piece].tolist()))
    assert set(at.values()) <= {1}
    assert all(len(piece) <= most or len(set(unit[piece].tolist())) == 1 for piece in pieces)


def plain(counts=(40, 60), *, groups=None, size=8, seed=0):
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), size, size, 1), np.uint8)
    return ImageSet(images, labels.astype(np.int64), tuple(map(str, range(len(counts)))), groups=groups)


def query(images, vectors, *, sigma=1.0, clip=1.0, rate=1.0, source, most=7, names=()):
    return noisy_sum(
        images, lambda at: vectors[at], clip=clip, sigma=sigma, rate=rate, most=most, source=source, names=names
    )


@pytest.mark.parametrize("source", [Seeded(0, "test"), System()], ids=["seeded", "system"])
def test_the_noise_has_the_scale_it_is_said_to_have(source):
    images, vectors = plain(), torch.ones(100, 4000) / 100
    sigma, clip = 1.7, 0.3
    clean = clipped_sum(vectors, units(images), torch.from_numpy(images.labels), 2, clip)
    noisy, ratio = query(images, vectors, sigma=sigma, clip=clip, source=source)
    noise = (noisy - clean) / (sigma * clip)  # 8000 numbers: the deviation is known to a hundredth
    assert float(noise.std()) == pytest.approx(1, abs=5 / math.sqrt(2 * 8000))
    assert abs(float(noise.mean())) < 5 / math.sqrt(8000)
    assert float((noise.abs() > 1.959964).double().mean()) == pytest.approx(0.05, abs=5 * math.sqrt(0.05 * 0.95 / 8000))
    assert ratio == pytest.approx(float(clean.norm()) / (sigma * clip * math.sqrt(8000)))


def test_noise_of_the_operating_system_is_never_the_same_again():
    source = System()
    one, two = (source.normal((AT_ONCE + 3,), "same", "names") for _ in range(2))
    assert torch.isfinite(one).all() and len(set(one.tolist())) == len(one) and not torch.equal(one, two)
    fourth = float(one.pow(4).mean())  # 3 for a normal number
    assert fourth == pytest.approx(3, abs=5 * math.sqrt(96 / len(one)))
    chances = source.uniform(10_000, "sample")
    assert (
        chances.min() >= 0
        and chances.max() < 1
        and float((chances < 0.3).double().mean()) == pytest.approx(0.3, abs=0.03)
    )
    assert source.generator("start").initial_seed() != source.generator("start").initial_seed()


def test_seeded_noise_is_drawn_by_name():
    draw = [Seeded(s, "m").normal((5,), *names) for s, names in [(0, (1,)), (0, (1,)), (0, (2,)), (1, (1,))]]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2]) and not torch.equal(draw[0], draw[3])


def test_samples_are_of_units_each_with_the_same_chance():
    """Fifty patients of two images: both are in the sample or neither is, and the chance is the rate."""
    images = plain(groups=np.arange(100) % 50)
    seen = torch.zeros(100)
    for k in range(400):
        taken, _ = query(images, torch.eye(100), sigma=1e-9, clip=10.0, rate=0.3, source=Seeded(0, "s"), names=(k,))
        seen += taken.sum(0).round()
    assert torch.equal(seen[:50], seen[50:])
    assert float(seen.mean()) / 400 == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / (400 * 50)))
    assert (seen / 400).min() > 0.15 and (seen / 400).max() < 0.45


def test_an_empty_sample_is_answered_with_noise():
    noisy, ratio = query(plain((2, 2)), torch.ones(4, 3), rate=1e-9, source=Seeded(0, "s"))
    assert noisy.shape == (2, 3) and ratio == 0 and (noisy != 0).all()


def test_audit_of_one_query():
    """Is the canary in? Told 1500 times with it and 1500 times without, an attacker who knows all else learns no more
    than epsilon 1 allows; without the noise, or with a fifth of it, he learns what no epsilon of 1 allows.
    """
    images, canary = plain((10, 11)), torch.eye(3)[:1]
    others = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)))
    vectors = torch.cat([others, canary])
    sigma, n = DPDMSettings(epsilon=1.0, queries=1).mechanism().sigma, 1500

    def bound(sigma):
        told = []
        for held in (21, 20):
            part, noise = images.take(range(held)), Seeded(0, "audit", held)
            clean = float(clipped_sum(others, torch.arange(20), torch.from_numpy(images.labels[:20]), 2, 1.0)[1, 0])
            answers = [query(part, vectors, sigma=sigma, source=noise, most=64, names=(k,))[0] for k in range(n)]
            told.append(sum(float(a[1, 0]) - clean > 0.5 for a in answers))
        return epsilon_at_least(*told, n, delta=1e-5)

    assert 0 < bound(sigma) < 1
    assert bound(sigma / 5) > 1 and bound(1e-9) > 4


def test_patients_weigh_no_more_than_the_clip():
    """One patient with all images of a class moves the answer as far as one image."""
    images = plain((5, 20), groups=np.array([0] * 20 + list(range(1, 6))))
    noisy, _ = query(images, torch.ones(25, 1), sigma=1e-9, source=Seeded(0, "s"))
    assert float(noisy.norm()) < 6.001 < 25


def test_a_network_s_word_on_an_image_depends_on_that_image_alone():
    """Otherwise clipping each image's embedding or gradient would bound nothing."""
    x = torch.randn((5, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    for name in MODELS:
        net = build(name, channels=1, classes=2, size=28, width=8)
        params = net.init(torch.Generator().manual_seed(0))
        with torch.no_grad():
            alone, among = net.embed(params, x[:1]), net.embed(params, x)[:1]
        assert torch.allclose(alone, among, atol=1e-5), name


def test_gradients_of_single_images(blobs):
    x = blobs((3, 3))
    net = build("convnet", channels=1, classes=2, size=8, width=4)
    params = tuple(p.requires_grad_() for p in net.init(torch.Generator().manual_seed(0)))
    found = per_image(net, params)(x.pixels(), x.targets())
    for image, label, mine in zip(x.pixels(), x.targets(), found, strict=True):
        loss = objective(net(params, image[None]), label[None])
        wanted = torch.cat([g.flatten() for g in torch.autograd.grad(loss, matched(params))])
        assert torch.allclose(mine, wanted, atol=1e-6)


def answers_of(images, method, *, seed=0, on_event=lambda event: None, **more):
    """The answers to a method's queries, caught on their way."""
    kept = {}

    def remember(kind, detail, make):
        kept[kind] = make()
        return kept[kind]

    distill(images, method=method, ipc=1, seed=seed, settings=QUICK | more, remember=remember, on_event=on_event)
    return kept["noisy"]["sums"]


def test_without_noise_dp_dm_asks_for_mean_embeddings(blobs):
    x = blobs((9, 7))
    sums = answers_of(x, "dp-dm", epsilon=1e8)
    net = build("convnet", channels=1, classes=2, size=8, width=4)
    for q in range(2):
        params = net.init(seeds.generator(0, "dp-dm", "network", q))
        told = unit(net.embed(params, x.pixels()))
        for c in range(2):
            mine = told[torch.from_numpy(x.labels == c)]
            assert torch.allclose(sums[q, c, :-1], ROOM * mine.sum(0), atol=0.01)
            assert float(sums[q, c, -1]) == pytest.approx(COUNT * len(mine), abs=0.01)


def test_without_noise_dp_dc_asks_for_clipped_gradients(blobs):
    x = blobs((9, 7))
    sums = answers_of(x, "dp-dc", epsilon=1e8, clip=0.1)
    net = build("convnet", channels=1, classes=2, size=8, width=4)
    params = net.init(seeds.generator(0, "dp-dc", "network", 0))
    gradients = per_image(net, params)(x.pixels(), x.targets())
    clipped = gradients * (0.1 / gradients.norm(dim=1, keepdim=True)).clamp_max(1)
    for c in range(2):
        mine = clipped[torch.from_numpy(x.labels == c)]
        assert torch.allclose(sums[0, c, :-1], ROOM * mine.sum(0), atol=1e-3)


@pytest.mark.parametrize("method", PRIVATE)
def test_noise_is_added_to_every_answer(blobs, method):
    x = blobs((9, 7))
    clean, noisy = (answers_of(x, method, epsilon=epsilon) for epsilon in (1e8, 2.0))
    chosen = settings_for(method, QUICK | {"epsilon": 2.0})
    noise = (noisy - clean) / (chosen.mechanism().sigma * chosen.clip)
    assert float(noise.std()) == pytest.approx(1, abs=5 / math.sqrt(2 * noise.numel()))


@pytest.mark.parametrize("method", PRIVATE)
def test_answers_are_paid_for_once_for_all_budgets_and_fits(blobs, method, tmp_path):
    x, told = blobs((9, 7)), []
    keep = in_memory()
    about = dict(method=method, entropy="system", remember=keep, on_event=told.append)

    def spent():
        return sum(event["stage"] == f"{method} noise" for event in told)

    made = distill(x, ipc=[1, 2], settings=QUICK | {"epsilon": 1e6}, **about)
    assert spent() == 1 and list(made) == [1, 2]
    distill(x, ipc=3, settings=QUICK | {"epsilon": 1e6, "iterations": 5, "lr_img": 0.01}, **about)
    assert spent() == 1
    distill(x, ipc=1, settings=QUICK | {"epsilon": 1e5}, **about)
    assert spent() == 2


@pytest.mark.parametrize("method", PRIVATE)
def test_unseeded_noise_is_another_each_time_and_no_checkpoint_is_kept(blobs, method, tmp_path):
    x, store = blobs((9, 7)), Store(tmp_path)
    about = dict(method=method, ipc=1, settings=QUICK | {"epsilon": 5.0})
    made = [distill(x, entropy="system", checkpoints=KeptCheckpoints(store), **about).images for _ in range(2)]
    assert not torch.equal(*made) and not list(tmp_path.iterdir())
    distill(x, checkpoints=KeptCheckpoints(store), **about)
    assert list(tmp_path.iterdir())
    noisy = [distill(x, entropy="system", remember=store.remember, **about) and Store(tmp_path) for _ in range(2)]
    assert noisy and len(list((tmp_path / "noisy").glob("*.safetensors"))) == 1


def test_keys_of_unseeded_noise_are_their_own(blobs):
    seeded, system = (Task(blobs(), 1, entropy=entropy).detail() for entropy in ("seeded", "system"))
    assert system.pop("entropy") == "system" and system == seeded
    with pytest.raises(SettingError, match="no entropy 'dice'"):
        Task(blobs(), 1, entropy="dice")


def test_events_name_the_spending_the_signal_and_a_site_too_small(blobs):
    told = []
    answers_of(blobs((9, 7)), "dp-dm", epsilon=0.5, delta=0.1, on_event=told.append)
    assert sum("signal_to_noise" in event for event in told) == 2
    [spent] = [e for e in told if e["stage"] == "dp-dm noise"]
    assert "epsilon 0.5 at delta 0.1 is spent" in spent["message"]
    warnings = [e["message"] for e in told if e["stage"] == "dp-dm warning"]
    assert any("delta 0.1 is above 1/16" in message for message in warnings)
    [small] = [message for message in warnings if "too small for its epsilon" in message]
    assert "16 x 1 / 2 = 8 x clip" in small
    told.clear()
    answers_of(blobs((9, 7)), "dp-dm", epsilon=1e4, on_event=told.append)
    assert not [e for e in told if e["stage"] == "dp-dm warning"]


def test_classes_are_told_by_noisy_counts():
    answers = Answers(torch.zeros(1, 3, 2), torch.tensor([40.0, 2.9, 3.1]), noise=1.0, count_noise=1.0)
    assert answers.classes() == [0, 2]
    assert replace(answers, count_noise=100.0).classes() == [0, 1, 2]  # too small a site: all, for one cannot tell


def test_a_multilabel_set_is_refused_before_any_noise(blobs):
    for method in PRIVATE:
        with pytest.raises(SettingError, match=f"{method} does not work on multi-label sets"):
            answers_of(blobs(multilabel=True), method)


def test_targets_are_means_and_no_longer_than_a_mean_can_be():
    sums = torch.tensor([[[3.0, 4.0], [30.0, 40.0]]])
    means, explained = targets(sums, torch.tensor([10.0, 10.0]), noise=0.5)
    assert torch.allclose(means, torch.tensor([[[0.3, 0.4], [0.6, 0.8]]]))
    assert explained == pytest.approx(2 * 0.05**2)
    _, explained = targets(sums, torch.tensor([10.0, -3.0]), noise=5.0)
    assert explained == pytest.approx((2 * 0.5**2 + 1) / 2)  # nothing is known of the second: at most all of it


def test_adam_is_pytorch_s():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((3, 1, 2, 2), generator=generator)
    theirs = x.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.1, betas=BETAS, eps=1e-12)
    state = State(x, torch.zeros((2, *x.shape)))
    for _ in range(5):
        gradient = torch.randn(x.shape, generator=generator)
        theirs.grad = gradient.clone()
        optimiser.step()
        state = adam(state, gradient, 0.1)
    assert torch.allclose(state.images, theirs.detach(), atol=1e-6)


def test_images_between_points():
    points = torch.arange(4.0).view(1, 1, 2, 2)
    assert grown(points, 2) is points
    whole = grown(points, 8)
    assert whole.shape == (1, 1, 8, 8) and whole[0, 0, 0, 0] == 0 and whole[0, 0, -1, -1] == 3
    assert (whole.diff(dim=3) >= 0).all()


def test_dp_dm_comes_as_near_as_the_noise_and_no_nearer(blobs):
    """With little noise the classes' images come to differ as the real ones do; with much the fit stops at once."""
    x, told = blobs((40, 40)), []
    more = QUICK | {"iterations": 60, "grain": 1}
    made = distill(x, method="dp-dm", ipc=4, settings=more | {"epsilon": 1e6})
    real = [x.pixels()[torch.from_numpy(x.labels == c)].mean(0) for c in range(2)]
    mine = [made.images[made.labels == c].mean(0) for c in range(2)]
    apart = torch.nn.functional.cosine_similarity((real[1] - real[0]).flatten(), (mine[1] - mine[0]).flatten(), dim=0)
    assert apart > 0.5
    distill(x, method="dp-dm", ipc=4, settings=more | {"epsilon": 0.5}, on_event=told.append)
    assert [e["loss"] for e in told if "loss" in e][-1] == 0


@pytest.mark.parametrize("method", PRIVATE)
def test_settings_that_cannot_be(method):
    for wrong in ({"epsilon": 0}, {"epsilon": -1.0}, {"delta": 0.0}, {"delta": 1.0}, {"clip": 0}, {"queries": 0}):
        with pytest.raises(SettingError, match=f"{method}: {next(iter(wrong))} cannot be"):
            settings_for(method, wrong)
    with pytest.raises(SettingError, match="does not look at validation images"):
        settings_for(method, {"looks": 5})
    with pytest.raises(SettingError, match="there is no setting 'early_networks'"):
        settings_for(method, {"early_networks": 5})
    with pytest.raises(SettingError, match="pld, rdp"):
        settings_for(method, {"accountant": "moments"})


def test_rates_that_cannot_be():
    for wrong in (0.0, 1.5):
        with pytest.raises(SettingError, match="rate cannot be"):
            settings_for("dp-dc", {"rate": wrong})
    assert DPDCSettings(rate=0.5, epsilon=3.0, accountant="rdp").mechanism().rate == 0.5
    assert PrivateSettings().mechanism().rate == 1


def test_the_statement_has_all_the_figures():
    chosen = settings_for("dp-dc", {"epsilon": 3.0, "delta": 1e-6, "clip": 0.2, "queries": 4, "rate": 0.5})
    said = privacy_statement("dp-dc", [chosen, chosen])
    mechanism = chosen.mechanism()
    spent = epsilon_of(mechanism, delta=1e-6)
    for words in (
        f"epsilon {spent:.4g} at delta 1e-06 for every single image, added or removed",
        "the pld accountant",
        "4 noisy sums, each over a Poisson sample at rate 0.5",
        "clipped to norm 0.2",
        f"{mechanism.sigma:.4g} x that norm",
        "No validation image was looked at",
        "SIMULATED",
    ):
        assert words in said, words
    patients = privacy_statement("dp-dc", [chosen], groups=True, entropy="system")
    assert "every single group of images" in patients and "SIMULATED" not in patients
    assert "operating system's entropy" in patients


def test_budgets_that_ask_differently_add_up():
    one, other = (DPDMSettings(epsilon=epsilon) for epsilon in (1.0, 2.0))
    both = epsilon_of([one.mechanism(), other.mechanism()], delta=1e-5)
    assert f"epsilon {both:.4g} at delta" in privacy_statement("dp-dm", [one, other, replace(one, iterations=7)])


def test_other_methods_state_what_they_did():
    assert "without a differential-privacy bound" in privacy_statement("dc")
    assert "real patients" in privacy_statement("random")
