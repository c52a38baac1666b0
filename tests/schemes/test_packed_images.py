"""Packed images on their way: made, refused or counted by the site, unpacked by who trains on them."""

import pytest
import torch
from tiny import write_tiny

from fedistill.config import Federation, Job, job, load_simulation
from fedistill.config.scheme import scheme_named
from fedistill.core.store import Store
from fedistill.data.load import load_dataset
from fedistill.errors import PlanError, PolicyError
from fedistill.methods import METHODS, Task, distill, settings_for
from fedistill.privacy.policy.rules import Policy
from fedistill.release.release import Release
from fedistill.schemes.server.pool import build_pool
from fedistill.schemes.site.release import carry_out
from fedistill.training.packing import shown
from fedistill.transport.site.context import SiteContext

QUICK = {
    "dm": {"preset": "published", "iterations": 1, "batch_real": 8, "pack": 2},
    "dc": {"preset": "published", "iterations": 1, "outer": 2, "inner": 1, "batch_real": 8, "pack": 2},
    "mtt": {"preset": "published", "iterations": 1, "experts": 1, "epochs": 2, "expert_epochs": 1, "pack": 2}
    | {"max_start_epoch": 1, "syn_steps": 2, "start": "noise"},
}


def images(n=60):
    return load_dataset("phantom:breast", images=n)


def site(folder, **policy):
    federation = Federation(name="one", dataset="phantom:breast", images=60, sites=("a",), policy=Policy(**policy))
    return SiteContext(federation, 0, None, Store(folder / "store"), "seeded")


def asked(scheme="random", ipcs=(2,), draws=1, **settings):
    return Job("a", scheme, 0, 0, ipcs, settings, draws, "convnet", 4, "float32", random_seed=0)


@pytest.mark.parametrize("method", QUICK)
def test_a_method_moves_every_cell_and_says_how_its_images_are_packed(method):
    task = Task(images(), 1, width=4)
    before, after = (
        METHODS[method].run(task, settings_for(method, QUICK[method] | {"lr_img": lr}, ipc=1)) for lr in (1e-9, 1.0)
    )
    assert after.pack == 2 and len(after) == 2
    cells = shown(after.images - before.images, 2)
    assert torch.isfinite(cells).all() and (cells.flatten(1).abs().amax(1) > 1e-5).all()


def test_a_pool_trains_on_what_is_in_the_images_and_counts_what_travelled(tmp_path):
    plain, packed = (
        Release.from_bytes(carry_out(asked(pack=pack), site(tmp_path, allow_real_images=True), lambda _: None).release)
        for pack in (1, 2)
    )
    assert packed.sets[2].pack == 2 and "pack" not in plain.provenance["settings"]["2"]
    pools = [build_pool([each], 2, {}, classes=2) for each in (plain, packed)]
    assert [len(pool.images) for pool in pools] == [4, 16] and [pool.images_shared for pool in pools] == [4, 4]
    assert pools[1].labels.bincount().tolist() == [8, 8]
    assert abs(pools[1].bytes_shared - pools[0].bytes_shared) < 100  # but for words in the header


def test_patients_in_one_image_count_each(tmp_path):
    allowed = {"allow_real_images": True, "start": "real"}
    carry_out(asked(pack=2), site(tmp_path, max_ipc=8, **allowed), lambda _: None)
    with pytest.raises(PolicyError, match=r"up to 8 images of a class, more than 7 \(rule max_ipc\)"):
        carry_out(asked(pack=2), site(tmp_path, max_ipc=7, **allowed), lambda _: None)
    real = asked("dm", **QUICK["dm"], start="real")
    with pytest.raises(PolicyError, match="up to 8 images"):
        carry_out(real, site(tmp_path, max_ipc=7, **allowed), lambda _: None)
    carry_out(asked("dm", **QUICK["dm"]), site(tmp_path, max_ipc=2), lambda _: None)  # from noise


def test_what_every_site_would_refuse_is_said_beforehand(tmp_path):
    policy = "policy = { allow_real_images = true, start = 'real', max_ipc = 7 }"
    path = write_tiny(tmp_path, federation=policy)
    with pytest.raises(PlanError, match="scheme 'random' sends up to 8 images"):
        load_simulation(path, changes=["scheme={random={pack=2}}"])


def test_a_method_may_stand_in_a_study_twice(tmp_path):
    path = write_tiny(tmp_path, more="[scheme.random-packed]\nmethod = 'random'\npack = 2\n")
    simulation = load_simulation(path)
    assert scheme_named("random-packed").method == "random" and scheme_named("random-packed").real
    one, other = (job(simulation, "a", scheme, 0, 0) for scheme in ("random", "random-packed"))
    assert other.method == "random" and other.scheme == "random-packed" and one.random_seed == other.random_seed
    assert simulation.settings("random-packed")["pack"] == 2 and "pack" not in simulation.settings("random")


@pytest.mark.parametrize("more", ["[scheme.random-packed]\npack = 2", "[scheme.random-packed]\nmethod = 'dc'"])
def test_a_name_that_may_be_mistyped_needs_its_method(tmp_path, more):
    with pytest.raises(PlanError, match='write `method = "random"` into its table'):
        load_simulation(write_tiny(tmp_path, more=more))


def test_looks_and_settings_see_one_image_as_it_was():
    plain, one = (distill(images(), method="random", ipc=2, settings=values) for values in ({}, {"pack": 1}))
    assert torch.equal(plain.images, one.images) and one.shown() is one
