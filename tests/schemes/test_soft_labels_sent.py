"""Soft labels on their way: a site's rule, the Release, the server's look, the pool, and the tables."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny import write_tiny

from fedistill.app import run_simulation
from fedistill.config import Federation, Job, load_simulation
from fedistill.core.store import Store
from fedistill.errors import PlanError, PolicyError, ReleaseError
from fedistill.privacy.policy.rules import Policy, SitePolicy
from fedistill.release.release import Release
from fedistill.schemes.server.pool import build_pool
from fedistill.schemes.site.release import carry_out
from fedistill.study.tables.comparison import hard_counterparts
from fedistill.study.tables.dd_ranking import label_robust_score
from fedistill.transport.server.release_validation import Expected, validate_release
from fedistill.transport.site.context import SiteContext

SOFT = {"labels": "soft", "label_networks": 1, "label_steps": 2}
JOB = Job("a", "random-soft", 0, 0, (1, 2), {"method": "random", **SOFT}, 2, "convnet", 4, "float32", random_seed=0)
EXPECTED = Expected(channels=1, size=28, classes=2, multilabel=False)


def sent(folder, job=JOB, **policy):
    rules = Policy(**{"allow_real_images": True, "allow_soft_labels": True, **policy})
    federation = Federation(name="one", dataset="phantom:breast", images=60, sites=("a",), policy=rules)
    return carry_out(job, SiteContext(federation, 0, None, Store(folder / "store"), "seeded"), lambda _: None).release


def test_a_site_refuses_them_unless_its_policy_allows(tmp_path):
    assert not SitePolicy().allow_soft_labels and not Policy().allow_soft_labels
    with pytest.raises(PolicyError, match=r"tell of them \(rule allow_soft_labels\)"):
        sent(tmp_path, allow_soft_labels=False)


def test_a_simulation_whose_sites_would_all_refuse_is_told_so(tmp_path):
    more = "[scheme.random-soft]\nmethod = 'random'\nlabels = 'soft'"
    with pytest.raises(PlanError, match="allow_soft_labels = true"):
        load_simulation(write_tiny(tmp_path, more=more))


def test_they_arrive_and_are_trained_on_draw_by_draw(tmp_path):
    data = sent(tmp_path)
    release = validate_release(data, JOB, EXPECTED)
    assert release.scheme == "random-soft" and release.method == "random"
    assert release.provenance["labels"]["temperature"] == 2.0
    pool = build_pool([release], 2, {}, classes=2)
    assert pool.soft is not None and pool.soft.shape == (8, 2) and len(pool.soft_of(1)) == 4
    _, targets = pool.of_networks([0, 1])
    assert torch.equal(targets, torch.stack([pool.soft_of(0), pool.soft_of(1)]))
    hard = sent(tmp_path, replace(JOB, scheme="random", settings={}))
    other = build_pool([Release.from_bytes(hard)], 2, {}, classes=2)
    assert torch.equal(other.images, pool.images) and other.soft is None
    assert pool.bytes_shared >= other.bytes_shared + 4 * 2 * 4  # four images of one draw, two float32 each


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda soft: None, "not those asked for"),
        (lambda soft: soft[:, :1], "soft of ipc 2"),
        (lambda soft: soft[:-1], "soft of ipc 2"),
        (lambda soft: soft.double(), "soft of ipc 2"),
        (lambda soft: soft * 2, "no probabilities"),
        (lambda soft: soft + torch.tensor([2.0, -2.0]), "no probabilities"),
        (lambda soft: soft * float("nan"), "NaN"),
    ],
)
def test_what_the_server_refuses(tmp_path, change, words):
    release = Release.from_bytes(sent(tmp_path))
    packed = replace(release.sets[2], soft=change(release.sets[2].soft))
    with pytest.raises(ReleaseError, match=words):
        validate_release(replace(release, sets={**release.sets, 2: packed}).to_bytes(), JOB, EXPECTED)


def test_labels_that_nobody_asked_for_are_refused(tmp_path):
    with pytest.raises(ReleaseError):
        validate_release(sent(tmp_path), replace(JOB, settings={}), EXPECTED)


STUDY = """
[scheme.random-soft]
method = "random"
labels = "soft"
label_networks = 1
label_steps = 2
[scheme.dc-soft]
method = "dc"
labels = "soft"
label_networks = 1
label_steps = 2
[scheme.random-packed]
method = "random"
pack = 2
"""


def test_a_study_has_rows_of_their_own_and_the_label_robust_score(tmp_path):
    policy = "policy = { allow_real_images = true, start = 'real', allow_soft_labels = true }"
    path = write_tiny(tmp_path, federation=policy, more=STUDY)
    assert hard_counterparts(load_simulation(path)) == {"random-soft": "random", "dc-soft": "dc"}
    few = ["ipc=[2]", "networks=1", "recipe.lr=0.01", "recipe.max_steps=4"]
    rows = run_simulation(path, out=tmp_path / "run", engine="inline", changes=few)
    of = {scheme: group for scheme, group in rows[rows["ipc"] == 2].groupby("scheme")}
    assert (of["dc-soft"]["bytes_shared"].mean() > of["dc"]["bytes_shared"].mean()).all()
    # A class with too few images for two packed ones sends one.
    assert (of["random-packed"]["images_shared"].to_numpy() <= of["random"]["images_shared"].to_numpy()).all()
    table = pd.read_csv(tmp_path / "run" / "comparison.csv")
    scored = table[table["auc_label_robust"].notna()]
    assert set(scored["scheme"]) == {"random-soft", "dc-soft"}
    line = {scheme: table[(table["scheme"] == scheme) & (table["ipc"] == 2)]["auc"].item() for scheme in of}
    full = table[table["scheme"] == "full"]["auc"].item()
    wanted = label_robust_score(full, line["dc"], line["dc-soft"], line["random-soft"])
    assert scored[(scored["scheme"] == "dc-soft") & (scored["ipc"] == 2)]["auc_label_robust"].item() == pytest.approx(
        wanted
    )
