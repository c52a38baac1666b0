"""An audit of federated averaging: its lines, where they stand, resuming, and that the keys of others stay."""

import json
from io import StringIO

import pandas as pd
import pytest
from rich.console import Console
from tiny import write_tiny

from fedistill.config import load_simulation
from fedistill.core.seeds import spawn
from fedistill.core.store import Store
from fedistill.errors import PlanError, SettingError
from fedistill.report.figures.frontier import frontier_points
from fedistill.report.html.page import page
from fedistill.report.run_data import read_run
from fedistill.report.terminal.table import print_leaks
from fedistill.study import run
from fedistill.study.audit import auditing as audit
from fedistill.study.audit import shadow_task as shadowing

pytestmark = pytest.mark.slow

FEW = [
    "federation.images=48",
    "federation.policy.allow_weights=true",
    "networks=1",
    "recipe.lr=[0.01, 0.1]",
    "recipe.max_steps=4",
    "audit.shadows=6",
    "audit.networks=2",
    "audit.steps=2",
]
ROUNDS = "scheme={dp-fedavg={epsilon=4.0, rounds=[1, 2], local_steps=1, accountant='rdp'}, fedavg={rounds=[1, 3]}}"


@pytest.fixture(scope="module")
def made():
    """What every shadow went through."""
    return []


@pytest.fixture(scope="module")
def finished(tmp_path_factory, made):
    folder, shadow = tmp_path_factory.mktemp("audit"), shadowing.shadow
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shadowing, "shadow", lambda task, *rest: made.append((task, *rest[:2])) or shadow(task, *rest))
        return run(load_simulation(write_tiny(folder), changes=[*FEW, ROUNDS]), out=folder / "out", engine="inline")


def test_the_line_of_most_rounds_is_attacked(finished):
    found = pd.read_csv(finished.root / "privacy.csv")
    lines = found[["scheme", "rounds", "epsilon", "delta"]].drop_duplicates()
    assert lines.fillna(0).to_numpy().tolist() == [["dp-fedavg", 2, 4.0, 1e-5], ["fedavg", 3, 0, 0]]
    assert (
        list(found["attack"])
        == ["lira", "lira-offline", "lira-own", "lira-queries", "lira-rounds", "rmia", "rmia-offline"] * 2
    )
    assert (found["seen"] == "network").all() and found["ipc"].isna().all() and (found["site"] == "a").all()
    assert found["auc"].between(0, 1).all() and (found["auc_low"] <= found["auc_high"]).all()
    assert set(pd.read_csv(finished.root / "roc.csv")["rounds"]) == {2, 3}
    promised = pd.read_csv(finished.root / "guarantees.csv").set_index(["scheme", "rounds"])
    assert promised.loc[("dp-fedavg", 2), "epsilon"] == 4 > promised.loc[("dp-fedavg", 1), "epsilon"]


def test_shadows_go_the_way_of_the_scheme(finished, made):
    rows = finished.rows.set_index(["scheme", "rounds"])
    seeds = set()
    for task, rounds, others in made:
        seeds.add(task.seed)
        private = rounds.request.private is not None
        line = rows.loc[("dp-fedavg", 2) if private else ("fedavg", 3)]
        # The private one in one network: every other would spend its epsilon again.
        assert len(rounds.seeds) == len(rounds.turns.drawn) == (1 if private else 2)
        assert set(rounds.turns.drawn) == {(("a", "b"),) * (2 if private else 3)}
        assert rounds.request.recipe.lr == line["lr"] and rounds.request.recipe.steps == (1 if private else None)
        assert len(task.images) == 12 and {name: len(held) for name, held in others.items()} == {"b": 24}
    assert len(seeds) == len(made) == 12
    kept = Store(finished.root / "work")
    shapes = [
        tuple(kept.get("shadow", path.stem)[0]["confidence"].shape)
        for path in (finished.root / "work" / "shadow").glob("*.safetensors")
    ]
    assert sorted(shapes) == [(2, 24)] * 6 + [(6, 24)] * 6  # the networks of every round


def test_the_attack_stands_beside_the_quality_of_as_many_rounds(finished):
    points = frontier_points(read_run(finished.root)).set_index("scheme")
    quality = finished.comparison.set_index(["scheme", "rounds"])["auc"]
    assert dict(points["rounds"]) == {"dp-fedavg": 2, "fedavg": 3}
    assert points.loc["dp-fedavg", "auc"] == pytest.approx(quality["dp-fedavg", 2], abs=1e-6)
    assert points.loc["fedavg", "auc"] == pytest.approx(quality["fedavg", 3], abs=1e-6)
    html = page(read_run(finished.root))
    assert "fedavg 3 rounds" in html and "dp-fedavg 2 rounds ε=4" in html
    said = Console(width=100, record=True, file=StringIO())
    print_leaks(read_run(finished.root), said)
    assert "dp-fedavg 2 rounds ε=4" in said.export_text()


def test_shadows_are_told_of_and_found_again(finished, monkeypatch):
    planned = json.loads((finished.root / "plan.json").read_text())["points"][0]["jobs"]
    mine = {name for name, kind in planned.items() if kind.startswith("shadows of")}
    assert len(mine) == 12 and "shadow 6 of dp-fedavg 2 rounds" in mine
    events = [json.loads(line) for line in (finished.root / "events.jsonl").read_text().splitlines()]
    assert mine <= {event["job"] for event in events if event["kind"] == "done"}
    before = (finished.root / "privacy.csv").read_text()
    monkeypatch.setattr(shadowing, "shadow", lambda *args: pytest.fail("made again"))
    again = run(finished.plan, out=finished.root, engine="inline")
    assert again.computed == 0 and again.found >= 12
    assert (finished.root / "privacy.csv").read_text() == before


def test_the_server_draws_who_takes_part(tmp_path, monkeypatch):
    """Half of the sites a round: the shadows' rounds are the scheme's own."""
    made, shadow = [], shadowing.shadow
    monkeypatch.setattr(shadowing, "shadow", lambda task, *rest: made.append(rest[0].turns) or shadow(task, *rest))
    scheme = "scheme={fedprox={rounds=4, fraction=0.5, mu=0.25}}"
    changes = [*FEW, scheme, "audit.networks=1", "recipe.lr=0.01", "federation.policy.share_counts='rounded'"]
    run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")
    [[drawn]] = {turns.drawn for turns in made}
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    jobs = {event.get("job") for event in events}
    for number, sites in enumerate(drawn, 1):
        assert len(sites) == 1
        assert [s for s in "ab" if f"{s} fedprox convnet lr 0.01 network 1 round {number}" in jobs] == list(sites)
    assert len(set(drawn)) == 2 and made[0].mu == 0.25 and made[0].counts == {"a": "rounded", "b": "rounded"}


def test_a_site_that_is_never_drawn_is_refused_before_any_work(tmp_path):
    def begin(site):
        scheme = "scheme={fedavg={rounds=1, fraction=0.5}}"
        changes = [*FEW, scheme, "audit.networks=1", f"audit.site='{site}'"]
        run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / site, engine="inline")

    refused = []
    for site in "ab":  # one of them is drawn for the one round there is
        try:
            begin(site)
        except SettingError as error:
            refused.append(site)
            assert error.exit_code == 2 and "takes part in none of the rounds of 'fedavg 1 round'" in str(error)
            assert {path.name for path in (tmp_path / site / "work").iterdir()} <= {"partition"}
    assert len(refused) == 1


@pytest.mark.parametrize("scheme", ["central-dc", "join"])
def test_what_no_site_makes_of_its_own_images_is_still_refused(tmp_path, scheme):
    changes = [*FEW, f"scheme={{dc={{}}, {scheme}={{}}, fedavg={{}}}}", f"audit.schemes=['{scheme}']"]
    with pytest.raises(PlanError, match=f"'{scheme}' is nothing that one site makes of its own images"):
        load_simulation(write_tiny(tmp_path), changes=changes)


def test_the_keys_of_other_shadows_take_what_they_took(tmp_path, monkeypatch):
    """One thing more or less in them, and nobody's stored shadows would be found again."""
    told, key_of = [], audit.key_of
    monkeypatch.setattr(audit, "key_of", lambda about: told.append(about) or key_of(about))
    schemes = "scheme={random={}, local={}, dpsgd-local={epsilon=50.0, steps=1, accountant='rdp'}}"
    changes = [*FEW, schemes, "recipe.lr=0.01", "federation.policy.allow_real_images=true"]
    run(load_simulation(write_tiny(tmp_path), changes=changes), out=tmp_path / "out", engine="inline")
    common = {"dealt", "method", "network", "recipe", "seeds", "threads", "device", "held", "seed", "version"}
    told = [about for about in told if "held" in about]
    random = next(about for about in told if "distilled" in about)
    alone = next(about for about in told if "private" in about and about["private"] is None)
    private = next(about for about in told if about.get("private"))
    assert set(random) == {*common, "settings", "distilled", "others", "place", "pooling"}
    assert set(alone) == set(private) == {*common, "private"} and alone["private"] is None
    assert random["pooling"] == ["concat"] and random["place"] == 0
    assert set(private["private"]) == {*("epsilon delta clip rate steps lr momentum accountant".split())}
    assert random["seed"] == spawn(0, "audit", "a", "random", "halves", 0)
    assert private["recipe"]["name"] == "private" and alone["recipe"]["steps"] == 2
