"""An audit in this process: its tables, what must be found out, resuming, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny import write_tiny

from fedistill.config import load_plan, load_simulation
from fedistill.errors import DataError, PlanError, RunError
from fedistill.study import run
from fedistill.study.audit import shadow_task as shadowing
from fedistill.study.tables.privacy_tables import COLUMNS

pytestmark = pytest.mark.slow

ATTACKS = [
    *("nearest-pixels", "nearest-features", "lira", "lira-offline", "lira-own", "lira-queries"),
    *("rmia", "rmia-offline"),
]
"""On real images, by six shadows, which are too few for the learned attack."""

FEW = [
    "federation.images=48",
    "ipc=[1, 2]",
    "networks=1",
    "recipe.lr=0.01",
    "recipe.max_steps=4",
    "scheme={full={}, random={}, dc={iterations=1, outer=1, inner=0, looks=0}}",
]
AUDIT = ["audit.shadows=6", "audit.schemes=['full', 'random', 'dc']", "audit.steps=2"]


def told(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    return run(load_simulation(write_tiny(folder), changes=[*FEW, *AUDIT]), out=folder / "out", engine="inline")


@pytest.fixture(scope="module")
def table(finished):
    return pd.read_csv(finished.root / "privacy.csv")


def test_a_line_for_every_scheme_and_attack(table):
    assert list(table.columns) == COLUMNS
    assert list(zip(table["scheme"], table["ipc"].fillna(0), strict=True)) == [
        *[("full", 0)] * len(ATTACKS),
        *[("random", 2)] * len(ATTACKS),
        *[("dc", 2)] * (len(ATTACKS) + 4),
    ]
    assert list(table["attack"][: len(ATTACKS)]) == ATTACKS
    # Real images are found by their distance; they are not kept for tracing.
    traced = table[table["attack"].str.startswith("tracing")]
    assert list(traced["scheme"]) == ["dc"] * 4
    images = table["attack"].str.startswith(("nearest", "tracing"))
    assert (table["seen"] == np.where(images, "images", "network")).all()
    assert (table["seed_known"] == "no").all() and (table["population_known"] == "yes").all()
    assert (table["members_known"] == "none").all() and set(table["releases"].dropna()) == {1}
    assert table["exposed"].between(0, 1).all()
    assert (table["site"] == "a").all() and (table["records"] == "halves").all() and (table["shadows"] == 6).all()
    assert (table["members"] == 6 * 12).all() and (table["nonmembers"] == 6 * 12).all()
    assert table["auc"].between(0, 1).all() and (table["auc_low"] <= table["auc_high"]).all()
    # 72 records that were not in cannot say what happens at 1 % of them.
    assert table[["tpr_at_1", "tpr_low", "tpr_high", "tpr_at_01"]].isna().all(axis=None)
    assert list(table["start"].dropna().unique()) == ["noise"] and table[["epsilon", "delta"]].isna().all(axis=None)


def test_who_sends_all_of_them_is_found_out(table):
    area = table.set_index(["scheme", "attack"])["auc"]
    assert area["full", "nearest-pixels"] == area["full", "nearest-features"] == 1
    assert area["random", "nearest-pixels"] > 0.5


def test_curves_are_drawn_of_the_same_lines(finished, table):
    curves = pd.read_csv(finished.root / "roc.csv")
    assert list(curves.columns[-2:]) == ["fpr", "tpr"] and curves[["fpr", "tpr"]].stack().between(0, 1).all()
    assert len(curves.groupby(["scheme", "attack"])) == len(table)
    assert curves.groupby(["scheme", "attack"]).size().max() <= 200
    ends = curves.groupby(["scheme", "attack"])[["fpr", "tpr"]].max()
    assert (ends == 1).all(axis=None)


def test_copies_are_screened_and_shown(finished):
    screened = pd.read_csv(finished.root / "screens.csv").set_index(["scheme", "space"])
    assert len(screened) == 3 * 2 and (screened["label"] == "a screen, not a guarantee").all()
    for space in ("pixels", "features"):
        assert screened.loc[("full", space), ["nearer", "ratio_0", "ratio_50"]].tolist() == [1, 0, 0]
    assert screened.loc[("dc", "pixels"), "ratio_0"] > 0.5 and (screened["against"] == "val").all()
    shown = {path.name for path in (finished.root / "grids").glob("nearest-*")}
    assert shown == {"nearest-full.png", "nearest-random-ipc2.png", "nearest-dc-ipc2.png"}


def test_no_real_image_is_drawn_where_the_policy_forbids_it(tmp_path):
    changes = [*FEW, *AUDIT, "scheme={dc={iterations=1, outer=1, inner=0, looks=0}}", "audit.schemes=['dc']"]
    changes += ["federation.policy={}", "federation.held_out=0.2"]
    done = run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")
    assert set(pd.read_csv(done.root / "screens.csv")["against"]) == {"held_out"}
    assert not list((done.root / "grids").glob("nearest-*"))


def test_shadows_are_told_of_and_counted(finished):
    planned = json.loads((finished.root / "plan.json").read_text())["points"][0]["jobs"]
    mine = {name for name, kind in planned.items() if kind.startswith("shadows of")}
    assert len(mine) == 3 * 6 and "shadow 6 of dc ipc 2" in mine
    done = {event["job"] for event in told(finished.root) if event["kind"] == "done"}
    assert mine <= done
    assert len(list((finished.root / "work" / "shadow").glob("*.safetensors"))) == 3 * 6


class Stopped(BaseException):
    pass


def test_a_stopped_audit_goes_on_where_it_was(finished, tmp_path, monkeypatch):
    simulation = load_simulation(write_tiny(tmp_path), changes=[*FEW, *AUDIT])
    made, shadow = [], shadowing.shadow

    def until(*args):
        if len(made) == 7:
            raise Stopped
        made.append(args)
        return shadow(*args)

    with monkeypatch.context() as patch:
        patch.setattr(shadowing, "shadow", until)
        with pytest.raises(Stopped):
            run(simulation, out=tmp_path / "out", engine="inline")
    assert not (tmp_path / "out" / "privacy.csv").exists()
    kept = len(list((tmp_path / "out" / "work" / "shadow").glob("*.safetensors")))
    monkeypatch.setattr(shadowing, "shadow", lambda *args: made.append(args) or shadow(*args))
    run(simulation, out=tmp_path / "out", engine="inline")
    assert kept >= 6 and len(made) == 7 + 18 - kept
    for name in ("privacy.csv", "roc.csv"):
        assert (tmp_path / "out" / name).read_text() == (finished.root / name).read_text()
    again = run(simulation, out=tmp_path / "out", engine="inline")
    assert again.computed == 0 and len(made) == 7 + 18 - kept


def test_points_of_a_sweep_share_shadows(tmp_path, monkeypatch):
    made, shadow = [], shadowing.shadow
    monkeypatch.setattr(shadowing, "shadow", lambda *args: made.append(args[1].method) or shadow(*args))
    changes = [*FEW, *AUDIT, "audit.schemes=['random', 'dc']", "sweep.scheme.dc.start=['noise', 'real']"]
    done = run(load_plan(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")
    assert made.count("random") == 6 and made.count("dc") == 12
    found = pd.read_csv(done.root / "privacy.csv")
    assert found.columns[0] == "scheme.dc.start" and len(found) == 2 * (2 * len(ATTACKS) + 4)
    assert set(found["start"].dropna()) == {"noise", "real"}
    area = found[found["attack"] == "nearest-pixels"].set_index(["scheme.dc.start", "scheme"])["auc"]
    assert area["noise", "random"] == area["real", "random"]


def test_a_shadow_that_fails_takes_its_partner_along(tmp_path, monkeypatch):
    shadow, number = shadowing.shadow, []

    def some(task, *rest):
        number.append(task)
        if len(number) == 3:
            raise RunError("A shadow's network diverged: it tells nothing.")
        return shadow(task, *rest)

    monkeypatch.setattr(shadowing, "shadow", some)
    changes = [*FEW, "audit.shadows=8", "audit.schemes=['random']", "audit.steps=2"]
    done = run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")
    found = pd.read_csv(done.root / "privacy.csv")
    assert (found["shadows"] == 6).all()
    [failed] = [event for event in told(done.root) if event["kind"] == "failed"]
    assert failed["job"] == "shadow 3 of random ipc 2" and "its partner" in failed["message"]
    assert "diverged" in (done.root / "failures" / "shadow-3-of-random-ipc-2.txt").read_text()


def test_too_few_shadows_left_is_no_audit(tmp_path, monkeypatch):
    def diverged(*args):
        raise RunError("A shadow's network diverged: it tells nothing.")

    monkeypatch.setattr(shadowing, "shadow", diverged)
    changes = [*FEW, *AUDIT, "audit.schemes=['random']"]
    with pytest.raises(RunError, match=r"Too few shadows are left to attack random ipc 2 at a[\s\S]*0 of 6"):
        run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")


def test_canaries_are_attacked_besides(tmp_path):
    changes = [*FEW, *AUDIT, "federation.images=120", "audit.schemes=['full']", "audit.canaries=true"]
    changes += ["audit.site='b'", "audit.networks=2"]
    done = run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")
    found = pd.read_csv(done.root / "privacy.csv")
    assert (
        list(found["records"]) == ["halves"] * len(ATTACKS) + ["canaries"] * len(ATTACKS)
        and (found["site"] == "b").all()
    )
    assert set(found[found["records"] == "canaries"]["members"]) == {3 * 3}  # of 60 images 3, each in 3 shadows
    area = found.set_index(["records", "attack"])["auc"]
    assert area["canaries", "nearest-pixels"] == 1


def test_networks_that_a_site_trains_alone_are_attacked(tmp_path):
    schemes = "scheme={local={}, dpsgd-local={epsilon=50.0, steps=4}}"
    changes = [*FEW, schemes, "audit.shadows=6", "audit.networks=2", "recipe.steps=30", "recipe.max_steps=30"]
    changes += ["recipe.lr=0.1", "federation.policy.allow_weights=true"]
    done = run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")
    found = pd.read_csv(done.root / "privacy.csv")
    assert list(found["scheme"]) == ["local"] * 6 + ["dpsgd-local"] * 6 and (found["seen"] == "network").all()
    assert found["epsilon"].dropna().tolist() == [50.0] * 6 and found["ipc"].isna().all()
    assert (done.root / "roc.csv").exists() and not (done.root / "screens.csv").exists()
    assert run(done.plan, out=tmp_path / "out", engine="inline").computed == 0


def test_an_attacker_who_knows_the_seed_and_two_releases_stands_beside_one_who_does_not(tmp_path, monkeypatch):
    made, shadow = [], shadowing.shadow
    monkeypatch.setattr(shadowing, "shadow", lambda task, *rest: made.append((task, rest[0])) or shadow(task, *rest))
    changes = [*FEW, "federation.images=180", "ipc=[2]", "audit.shadows=8", "audit.schemes=['dc']", "audit.steps=2"]
    changes += ["audit.seed=['unknown', 'known']", "audit.canaries='outliers'", "audit.releases=2"]
    changes += ["audit.population='unknown'", "audit.members='half'"]
    done = run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")
    found = pd.read_csv(done.root / "privacy.csv")
    lines = found[["records", "seed_known"]].drop_duplicates().to_numpy().tolist()
    assert lines == [["halves", "no"], ["halves", "yes"], ["outliers", "no"], ["outliers", "yes"]]
    of_each = ["nearest-pixels", "nearest-features", "tracing-pixels", "tracing-features", "tracing-mirrored"]
    of_each += ["lira", "lira-offline", "lira-own", "lira-queries", "learned"]  # no population: no rmia
    assert list(found["attack"]) == of_each * 4
    assert (found["releases"] == 2).all() and (found["population_known"] == "no").all()
    assert (found["members_known"] == "half").all() and {maker.releases for _, maker in made} == {2}
    seeds = {sum(task.seed == other.seed for other, _ in made) for task, _ in made}
    # One seed for all eight shadows where it is known, and fresh ones where it is not. Of a few outliers two halves may
    # be the same: with one seed that is one shadow, made once.
    assert {1, 8} <= seeds and max(seeds) == 8
    assert done.rows is not None and len(pd.read_csv(done.root / "roc.csv")["seed_known"].unique()) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("audit.site='nowhere'", "there is no site 'nowhere'"),
        ("audit.shadows=7", "shadows come in pairs"),
        ("audit.shadows=4", "shadows is invalid"),
        ("audit.schemes=['dm']", r"'dm' is nothing that one site makes of its own images, or has no \[scheme.dm\]"),
        ("audit.schemes=['dcc']", "'dcc' is no scheme"),
        ("audit.schemes=[]", "at least one value"),
        ("audit.ipc=[5]", "5 is none of the simulation's budgets"),
        ("audit.networks=0", "networks is invalid"),
        ("audit.releases=0", "releases is invalid"),
        ("audit.seed='guessed'", "seed"),
        ("audit.seed=['known', 'known']", "at least one value, each once"),
        ("audit.canaries='blank'", "canaries"),
        ("audit.members='all'", "members"),
        ("audit.looks=1", "there is no setting 'audit.looks'"),
    ],
)
def test_an_audit_that_cannot_be_is_refused(tmp_path, change, message):
    with pytest.raises(PlanError, match=message):
        load_simulation(write_tiny(tmp_path), changes=[*FEW, change])


def test_a_site_too_small_for_canaries_is_refused_before_any_work(tmp_path):
    changes = [*FEW, *AUDIT, "audit.canaries=true"]
    with pytest.raises(DataError, match="too few records for canaries"):
        run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")
    assert not (tmp_path / "out" / "work" / "network").exists()
