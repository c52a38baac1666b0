"""The private methods: what they ask, that it is paid for once, and what is said of it."""

import math
from dataclasses import replace

import pytest
import torch

from fedistill.core import seeds
from fedistill.core.accounting import epsilon_of
from fedistill.core.store import KeptCheckpoints, Store
from fedistill.errors import SettingError
from fedistill.methods import METHODS, Task, distill, in_memory, privacy_statement, settings_for
from fedistill.methods.engine.adam import adam
from fedistill.methods.engine.loop import State
from fedistill.methods.engine.matching import matched
from fedistill.methods.private.dp_dc import DPDCSettings, per_image
from fedistill.methods.private.dp_dm import DPDMSettings, fitted, grown, side, targets, unit
from fedistill.methods.private.noise import COUNT, ROOM
from fedistill.methods.private.queries import Answers, PrivateSettings
from fedistill.models import MODELS, build, objective

# Everybody is asked: to count a sample's noise takes seconds.
QUICK = {
    "dp-dc": {"iterations": 2, "queries": 2, "width": 4, "rate": 1.0},
    "dp-dm": {"iterations": 2, "queries": 2, "width": 4},
    "dp-mean": {"iterations": 2, "queries": 2, "width": 4, "axes": 4},
}


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

    task = Task(images, 1, seed=seed, remember=remember, on_event=on_event)
    METHODS[method].run(task, METHODS[method].settings(**QUICK[method] | more))
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


@pytest.mark.parametrize("method", QUICK)
def test_noise_is_added_to_every_answer(blobs, method):
    x = blobs((9, 7))
    clean, noisy = (answers_of(x, method, epsilon=epsilon) for epsilon in (1e8, 2.0))
    chosen = settings_for(method, QUICK[method] | {"epsilon": 2.0})
    noise = (noisy - clean) / (chosen.mechanism().sigma * chosen.clip)
    assert float(noise.std()) == pytest.approx(1, abs=5 / math.sqrt(2 * noise.numel()))


@pytest.mark.parametrize("method", QUICK)
def test_answers_are_paid_for_once_for_all_budgets_and_fits(blobs, method, tmp_path):
    x, told = blobs((9, 7)), []
    keep = in_memory()
    about = dict(method=method, entropy="system", remember=keep, on_event=told.append)

    def spent():
        return sum((event.kind, event.method) == ("noise", method) for event in told)

    made = distill(x, ipc=[1, 2], settings=QUICK[method] | {"epsilon": 900.0}, **about)
    assert spent() == 1 and list(made) == [1, 2]
    distill(x, ipc=3, settings=QUICK[method] | {"epsilon": 900.0, "iterations": 5, "lr_img": 0.01}, **about)
    assert spent() == 1
    distill(x, ipc=1, settings=QUICK[method] | {"epsilon": 800.0}, **about)
    assert spent() == 2


@pytest.mark.parametrize("method", QUICK)
def test_unseeded_noise_is_another_each_time_and_no_checkpoint_is_kept(blobs, method, tmp_path):
    x, store = blobs((9, 7)), Store(tmp_path)
    about = dict(method=method, ipc=1, settings=QUICK[method] | {"epsilon": 5.0})
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
    assert sum(event.signal_to_noise is not None for event in told) == 2
    [spent] = [e for e in told if e.kind == "noise"]
    assert "epsilon 0.5 at delta 0.1 is spent" in spent.message
    warnings = [e.message for e in told if e.kind == "warning"]
    assert any("delta 0.1 is above 1/16" in message for message in warnings)
    [small] = [message for message in warnings if "too small for its epsilon" in message]
    assert "16 x 1 / 2 = 8 x clip" in small
    told.clear()
    answers_of(blobs((9, 7)), "dp-dm", epsilon=900.0, on_event=told.append)
    assert not [e for e in told if e.kind == "warning"]


def test_classes_are_told_by_noisy_counts():
    answers = Answers(torch.zeros(1, 3, 2), torch.tensor([40.0, 2.9, 3.1]), noise=1.0, count_noise=1.0)
    assert answers.classes() == [0, 2]
    assert replace(answers, count_noise=100.0).classes() == [0, 1, 2]  # too small a site: all, for one cannot tell


def test_a_multilabel_set_is_refused_before_any_noise(blobs):
    for method in QUICK:
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
    optimiser = torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.999), eps=1e-12)
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


def test_a_packed_fit_is_that_of_the_images_in_it(blobs):
    """One image of four cells is fitted as four images are, and holds them."""
    x, random = blobs((40, 40)), torch.Generator().manual_seed(0)
    means = 0.3 * torch.randn((1, 2, 8 * 8 * x.channels), generator=random)
    spaces = [lambda images: unit(images.flatten(1))]
    points = torch.randn((8, x.channels, 4, 4), generator=random)
    rows = torch.stack(points.split(4))  # (2, 4, C, 4, 4)
    top, bottom = (torch.cat([rows[:, i], rows[:, i + 1]], -1) for i in (0, 2))
    ends = []
    for begun, ipc, pack in ((points, 4, 1), (torch.cat([top, bottom], -2), 1, 2)):
        settings = settings_for("dp-dm", QUICK["dp-dm"] | {"iterations": 20, "pack": pack})
        assert side(8, settings.grain, pack) == begun.shape[-1]
        labels = torch.tensor([0, 1]).repeat_interleave(ipc)
        task = Task(x, ipc)
        ends.append(fitted(task, "dp-dm", settings, begun, labels, spaces, means, 0.0, lr_img=0.05, pack=pack))
    assert [end.pack for end in ends] == [1, 2] and len(ends[1]) == 2
    torch.testing.assert_close(ends[1].shown().images, ends[0].images)
    assert not torch.equal(ends[0].images, grown(points, 8))


def test_dp_dm_comes_as_near_as_the_noise_and_no_nearer(blobs):
    """With little noise the classes' images come to differ as the real ones do; with much the fit stops at once."""
    x, told = blobs((40, 40)), []
    more = QUICK["dp-dm"] | {"iterations": 60, "grain": 1, "pack": 1}
    made = distill(x, method="dp-dm", ipc=4, settings=more | {"epsilon": 1000.0})
    real = [x.pixels()[torch.from_numpy(x.labels == c)].mean(0) for c in range(2)]
    mine = [made.images[made.labels == c].mean(0) for c in range(2)]
    apart = torch.nn.functional.cosine_similarity((real[1] - real[0]).flatten(), (mine[1] - mine[0]).flatten(), dim=0)
    assert apart > 0.5
    distill(x, method="dp-dm", ipc=4, settings=more | {"epsilon": 0.5}, on_event=told.append)
    assert [e.loss for e in told if e.loss is not None][-1] == 0


@pytest.mark.parametrize("method", QUICK)
def test_settings_that_cannot_be(method):
    for wrong in (
        {"epsilon": 0},
        {"epsilon": -1.0},
        {"epsilon": 1e6},
        {"delta": 0.0},
        {"delta": 1.0},
        {"clip": 0},
        {"queries": 0},
    ):
        with pytest.raises(SettingError, match=f"{method}: {next(iter(wrong))} is invalid"):
            settings_for(method, wrong)
    with pytest.raises(SettingError, match="does not look at validation images"):
        settings_for(method, {"looks": 5})
    with pytest.raises(SettingError, match="there is no setting 'early_networks'"):
        settings_for(method, {"early_networks": 5})
    with pytest.raises(SettingError, match="'pld' or 'rdp'"):
        settings_for(method, {"accountant": "moments"})


def test_rates_that_cannot_be():
    for wrong in (0.0, 1.5):
        with pytest.raises(SettingError, match="rate is invalid"):
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
        "4 noisy sums, each over a Poisson sample (sampling rate 0.5)",
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
