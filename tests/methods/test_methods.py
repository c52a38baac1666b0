"""What holds for every method, and the call that people use."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, SettingError
from fedistill.methods import METHODS, Task, distill, distill_budgets, settings_for
from fedistill.methods.dm import DMSettings, dm
from fedistill.methods.engine.start import STARTS, gaussian
from fedistill.methods.private.queries import PrivateSettings

QUICK = {
    "full": {},
    "random": {},
    "herding": {"epochs": 1},
    "kcenter": {"epochs": 1},
    "patches": {"pack": 1, "steps": 3, "crops": 2},
    "dc": {"iterations": 2, "outer": 2, "inner": 1},
    "dsa": {"iterations": 2, "outer": 2, "inner": 1},
    "dm": {"iterations": 2, "early_networks": 2, "early_steps": 4},
    "tdm": {"iterations": 2, "networks": 1, "network_steps": 2, "views": 2},
    "mtt": {"iterations": 2, "experts": 1, "epochs": 3, "expert_epochs": 1, "max_start_epoch": 2, "syn_steps": 2},
    # So much epsilon that there is hardly any noise: what noise does is tested in test_dp.py.
    "dp-dc": {"iterations": 2, "queries": 2, "width": 4, "epsilon": 1000, "rate": 1},
    "dp-dm": {"iterations": 2, "queries": 2, "width": 4, "epsilon": 1000},
    "dp-mean": {"iterations": 2, "axes": 4, "width": 4, "epsilon": 1000},
}
BUDGETED = [name for name, method in METHODS.items() if method.budget]
DISTILLED = [name for name, method in METHODS.items() if not method.real]
PRIVATE = [name for name, method in METHODS.items() if issubclass(method.settings, PrivateSettings)]
PUBLIC = [name for name, method in METHODS.items() if method.multilabel]


def make(images, name, *, ipc=2, seed=0, **more):
    return distill(images, method=name, ipc=ipc, seed=seed, width=4, settings=QUICK[name] | more)


def test_every_method_is_tried_here():
    assert QUICK.keys() == METHODS.keys()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_finite(blobs, name, channels):
    made = make(blobs(channels=channels), name)
    n = 24 if name == "full" else 6
    assert made.images.shape == (n, channels, 8, 8) and made.images.dtype == torch.float32
    assert made.labels.shape == (n,) and made.labels.dtype == torch.int64
    assert made.ipc == (None if name == "full" else 2)
    assert (made.lr is not None) == (name == "mtt")
    assert torch.isfinite(made.images).all()


@pytest.mark.parametrize("name", BUDGETED)
def test_same_seed_same_bits_other_seed_other_images(blobs, name):
    x = blobs()
    one, two, other = make(x, name), make(x, name), make(x, name, seed=1)
    assert torch.equal(one.images, two.images) and torch.equal(one.labels, two.labels) and one.lr == two.lr
    if name not in ("herding", "kcenter"):  # which may well pick the same images under another network
        assert not torch.equal(one.images, other.images)


@pytest.mark.parametrize("name", METHODS)
def test_global_random_state_is_left_alone(blobs, name):
    before = torch.random.get_rng_state()
    make(blobs(), name)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", METHODS)
def test_a_class_the_site_lacks_is_left_out(blobs, name):
    made = make(blobs((9, 0, 6)), name)
    assert 1 not in made.labels and {0, 2} == set(made.labels.tolist())
    assert torch.isfinite(made.images).all()


@pytest.mark.parametrize("name", PUBLIC)
def test_multilabel(blobs, name):
    x = blobs(multilabel=True)
    made = make(x, name)
    assert made.labels.dtype == torch.float32 and made.labels.shape == (24 if name == "full" else 6, 3)
    known = {tuple(row) for row in x.labels.tolist()}
    assert {tuple(int(v) for v in row) for row in made.labels.tolist()} <= known
    assert torch.isfinite(made.images).all()


@pytest.mark.parametrize("name", DISTILLED)
@pytest.mark.parametrize("start", STARTS)
def test_a_budget_above_a_class_s_count(blobs, name, start):
    more = {} if name in PRIVATE else {"start": start}
    made = make(blobs((4, 1, 2)), name, ipc=3, **more)
    assert made.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert torch.isfinite(made.images).all()


@pytest.mark.parametrize("name", ["random", "herding"])
def test_real_images_are_not_repeated(blobs, name):
    assert make(blobs((4, 1, 2)), name, ipc=3).labels.tolist() == [0] * 3 + [1] + [2] * 2


@pytest.mark.parametrize("name", DISTILLED)
def test_a_budget_does_not_depend_on_the_others_of_its_call(blobs, name):
    x = blobs()
    together, alone = make(x, name, ipc=[1, 2]), make(x, name, ipc=2)
    assert list(together) == [1, 2] and torch.equal(together[2].images, alone.images)


@pytest.mark.parametrize("name", DISTILLED)
def test_other_sizes(blobs, name):
    assert make(blobs((3, 3), size=28), name, ipc=1).images.shape == (2, 1, 28, 28)


def test_events_count_up(blobs):
    events = []
    distill(blobs(), method="mtt", ipc=1, width=4, settings=QUICK["mtt"], on_event=events.append)
    told = [(e.stage, e.step) for e in events if e.seconds is not None]
    assert told == [("mtt experts", 1), ("mtt ipc 1", 1), ("mtt ipc 1", 2)]


def test_one_or_several_budgets(blobs):
    x = blobs()
    assert len(distill(x, method="random", ipc=1)) == 3
    assert {k: len(v) for k, v in distill(x, method="random", ipc=(1, 2)).items()} == {1: 3, 2: 6}
    assert len(distill(x, method="full", ipc=[1, 2])) == 24
    assert list(distill_budgets(Task(x, None), "full", [])) == [None]


@pytest.mark.parametrize("ipc", [0, -1, 1.5, "10", True, [1, 0], []])
def test_a_budget_that_cannot_be(blobs, ipc):
    with pytest.raises(SettingError, match="ipc"):
        distill(blobs(), method="random", ipc=ipc)


def test_mistakes_teach(blobs):
    x = blobs()
    with pytest.raises(SettingError, match="did you mean 'herding'"):
        distill(x, method="hearding")
    with pytest.raises(SettingError, match="did you mean 'lr_img'"):
        settings_for("dc", {"lr_image": 1})
    with pytest.raises(SettingError, match="iterations is invalid"):
        settings_for("dc", {"iterations": "5"})
    for wrong in (0, -3, 2.5, True, float("nan")):
        with pytest.raises(SettingError, match=r"iterations is invalid[\s\S]*expected: (a whole number|at least 1)\n"):
            settings_for("dc", {"iterations": wrong})
    for wrong in (0, float("inf"), float("nan")):
        with pytest.raises(SettingError, match=r"lr_img is invalid[\s\S]*expected: (above 0|a finite number)\n"):
            settings_for("dc", {"lr_img": wrong})
    with pytest.raises(SettingError, match="expected: 'noise', 'mean', 'gaussian' or 'real'"):
        settings_for("dc", {"start": "nose"})
    with pytest.raises(SettingError, match="dc, ipc 50: there is no setting 'iteration'"):
        settings_for("dc", {"ipc": {"50": {"iteration": 1}}}, ipc=10)
    with pytest.raises(SettingError, match="nothing to set"):
        settings_for("full", {"iterations": 1})
    with pytest.raises(DataError, match="no images"):
        distill(x.take([]), method="random")


def test_settings_of_one_budget_go_before_the_rest():
    values = {"iterations": 7, "lr_img": 1, "ipc": {"10": {"iterations": 3}}}
    assert settings_for("dc", values, ipc=1).iterations == 7
    assert settings_for("dc", values, ipc=10).iterations == 3
    assert settings_for("dc", values, ipc=10).lr_img == 1.0
    published = {"preset": "published"}
    assert settings_for("dc", published).iterations == 1000 and settings_for("mtt", published).lr_img == 1000.0


WAYS = """
import os, numpy as np, torch
ways = [
    "import fedistill.methods.dc; made = fd.distill(x, method='random', ipc=1)",
    "fd.distill(x, method='random', ipc=1); import fedistill.methods.dc; made = fd.distill(x, method='full')",
    "from fedistill.methods import distill; made = distill(x, method='random', ipc=1)",
]
for way in ways:
    if not os.fork():
        import fedistill as fd
        x = fd.ImageSet(np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 0, 1, 1]), ('a', 'b'))
        exec(way)
        os._exit(0 if len(made) in (2, 4) else 1)
    assert os.wait()[1] == 0, way
"""


def test_the_public_function_is_the_same_whichever_way_it_is_imported():
    """Each way in a process of its own, which has imported nothing of the house before."""
    subprocess.run([sys.executable, "-c", WAYS], check=True)


def test_an_image_set_with_one_image():
    x = ImageSet(np.zeros((1, 8, 8, 1), np.uint8), np.array([1]), ("a", "b"))
    for name in METHODS:
        assert torch.isfinite(make(x, name).images).all()


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("multilabel", [False, True])
def test_dm_in_buffers_makes_the_same_images(augmented, multilabel, blobs, monkeypatch):
    """The form that GPUs take, on this processor; the real batches are whole, as smaller groups are filled up there."""
    images = blobs((9, 7, 8), channels=3, multilabel=multilabel)
    batch = 24 if multilabel else 7
    settings = DMSettings(iterations=3, batch_real=batch, augment=augmented, looks=0)
    one = dm(Task(images, 2, width=4), settings)
    monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device: True)
    two = dm(Task(images, 2, width=4), settings)
    torch.testing.assert_close(two.images, one.images, rtol=1e-4, atol=1e-4)


def test_a_gaussian_start_has_the_real_images_mean_and_main_spread():
    """Many draws have the real images' mean, and their variance along their first axis; none is an image of theirs."""
    draw = torch.Generator().manual_seed(0)
    real = torch.randn(40, 1, 4, 4, generator=draw) * torch.linspace(0.1, 3, 16).view(1, 1, 4, 4) + 1
    made = gaussian(real, torch.randn(4000, 1, 4, 4, generator=draw))
    torch.testing.assert_close(made.mean(0), real.mean(0), atol=0.2, rtol=0)
    axis = torch.linalg.svd((real - real.mean(0)).flatten(1)).Vh[0]
    spread = [(x.flatten(1) @ axis).var(correction=0).item() for x in (real, made)]
    assert spread[1] == pytest.approx(spread[0], rel=0.1)
    assert torch.cdist(made.flatten(1), real.flatten(1)).min() > 0.1


def test_a_gaussian_of_three_images_is_their_mean():
    """As many axes as images would mix patients' own images."""
    real = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    made = gaussian(real, torch.randn(2, 1, 4, 4))
    torch.testing.assert_close(made, real.mean(0).expand(2, 1, 4, 4))
