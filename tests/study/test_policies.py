"""Policies in whole runs: a class that no site may tell of, counts that are not told, a site with rules of its own."""

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny import write_tiny

from fedistill.config import load_simulation
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.release.release import Release
from fedistill.study import run
from fedistill.transport.site import app as site_app

QUICK = ["scheme={random={}, dm={iterations=1, looks=0, early_networks=0, batch_real=8}}", "ipc=[1]", "networks=1"]


def simulation(folder, *changes, scheme=QUICK[0], policy="{allow_real_images=true, start='real'}"):
    policies = f"federation.policy={policy}"
    return load_simulation(write_tiny(folder), changes=[scheme, *QUICK[1:], policies, *changes])


def events(root):
    return [json.loads(line) for line in (root / "events.jsonl").read_text().splitlines()]


def test_a_class_hidden_everywhere_is_in_no_pool_and_the_run_goes_on(tmp_path):
    changes = ["federation.dataset='phantom:blood'", "federation.held_out=0.2"]
    plan = simulation(tmp_path, *changes, policy="{allow_real_images=true, start='real', min_class_size=4}")
    finished = run(plan, out=tmp_path / "out", engine="inline")
    held = pd.read_csv(tmp_path / "out" / "holdings.csv").query("split == 'train'")
    counts = held.groupby("class")["images"].max()
    assert 0 < (counts < 4).sum() < 8  # hidden at both sites
    shared = finished.sites[finished.sites["status"] == "shared"]
    assert len(shared) == 4 and finished.rows["auc"].notna().all()
    for path in Path(tmp_path / "out" / "releases").rglob("dm-*.safetensors"):
        release = Release.from_bytes(path.read_bytes())
        names = {release.provenance["class_names"][c] for c in release.sets[1].labels.tolist()}
        mine = held[held["site"] == release.site].set_index("class")["images"]
        assert names == set(mine[mine >= 4].index)


def test_a_site_with_rules_of_its_own_is_named_and_the_run_goes_on(tmp_path):
    plan = simulation(tmp_path, "federation.site.b.policy.allow_real_images=false", "min_sites=1")
    finished = run(plan, out=tmp_path / "out", engine="inline")
    status = finished.sites.set_index(["scheme", "site"])["status"]
    assert status["random", "b"] == "refused" and status["random", "a"] == status["dm", "b"] == "shared"
    why = finished.sites.set_index(["scheme", "site"])["why"]["random", "b"]
    assert "rule allow_real_images" in why
    assert any(
        e["kind"] == "failed" and e["site"] == "b" and "allow_real_images" in e["message"]
        for e in events(finished.root)
    )
    again = load_simulation(str(finished.root / "simulation.toml"))
    assert again.federation.policy_of("b") == plan.federation.policy_of("b")
    assert again.federation.policy_of("a").allow_real_images


@pytest.mark.parametrize("how", ["rounded", "none"])
def test_a_run_whose_sites_do_not_tell_how_many_they_hold(tmp_path, how, monkeypatch):
    replies, true = [], site_app.pack_round_reply

    def noted(params, *, examples, **about):
        replies.append(examples)
        return true(params, examples=examples, **about)

    monkeypatch.setattr(site_app, "pack_round_reply", noted)
    scheme = "scheme={dm={iterations=1, looks=0, early_networks=0, batch_real=8}, fedavg={rounds=[1]}, local={}}"
    policy = f"{{allow_weights=true, share_counts='{how}'}}"
    plan = simulation(tmp_path, "federation.held_out=0.3", "pooling='weighted'", scheme=scheme, policy=policy)
    finished = run(plan, out=tmp_path / "out", engine="inline")
    assert finished.rows["auc"].notna().all()
    told = finished.sites["test_images"].dropna()
    assert told.empty if how == "none" else set(told) == {20}  # two classes, below ten each
    assert finished.sites["test_auc"].notna().any()
    assert set(replies) == ({1} if how == "none" else {20})  # 21 images are left at each site


def test_a_run_s_ledgers_and_a_second_run_of_it(tmp_path):
    scheme = (
        "scheme={dp-dm={epsilon=4.0, queries=1, width=4, iterations=1}, "
        "dpsgd-local={epsilon=4.0, steps=2, accountant='rdp'}}"
    )
    plan = simulation(tmp_path, "seeds=2", scheme=scheme, policy="{allow_weights=true, epsilon_max=4.0}")
    out = tmp_path / "out"
    run(plan, out=out, engine="inline")
    books = {path: path.read_bytes() for path in (out / "work" / "ledger").iterdir()}
    assert sorted(path.name for path in books) == ["a.jsonl", "b.jsonl"]
    for path in books:
        charges = Ledger(path).charges()
        # Two repeats of the one; for the other, which has no budget in images, one network.
        assert len(charges) == 3 == len({charge.account for charge in charges})
        assert all(charge.cost.epsilon <= 4 and charge.entropy == "seeded" for charge in charges)
    run(plan, out=out, engine="inline")
    assert {path: path.read_bytes() for path in books} == books
