"""A study between hospitals, all in this process: the apps, agreements and grid as between machines, and no wire."""

import pytest
import tomli_w
from in_process import DM, agree, small_study, table, untimed, write_site
from in_process import ran as between

from fedistill.api.consent import book_of
from fedistill.app import run_simulation
from fedistill.config import load_plan
from fedistill.config.site_file import load_site
from fedistill.consent.airlock import decide
from fedistill.errors import PlanError
from fedistill.privacy.accounting.budget import spent
from fedistill.transport.deploy import deadline_grid
from fedistill.transport.deploy.deployed import require_deployable
from fedistill.transport.server import coordinator as asking

SITES = ("a", "b")
TOLD = {"allow_weights": True, "share_counts": "rounded", "min_class_size": 8}
TWO = {"name": "two", "dataset": "phantom:breast", "images": 120, "sites": list(SITES), "policy": TOLD}
SCHEMES = {"dm": DM, "fedavg": {"rounds": 2}, "local": {}, "join": {"of": "dm"}}
STUDY = small_study(TWO, SCHEMES, steps=4, max_steps=8, lr=0.01)


@pytest.fixture
def deployed(tmp_path, monkeypatch):
    monkeypatch.setattr(deadline_grid, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(asking, "REVIEW_SECONDS", 0.1)
    (tmp_path / "study.toml").write_text(tomli_w.dumps(STUDY))
    (tmp_path / "two.toml").write_text(tomli_w.dumps(TWO))

    def site(name, **rules):
        write_site(tmp_path, name, "two.toml", **rules)

    for name in SITES:
        site(name)
    return tmp_path, site


def ran(folder, out="deployed", **changes):
    return between(folder, SITES, out, **changes)


def test_results_are_those_of_the_simulation(deployed):
    """Images, rounds, networks of each site's own, and networks that join others' images: all by names of items."""
    folder, _ = deployed
    for name in SITES:
        agree(folder, name)
    real = ran(folder)
    run_simulation(str(folder / "study.toml"), out=folder / "simulated", engine="inline")
    simulated = untimed(folder / "simulated")
    known = (
        "scheme",
        "ipc",
        "rounds",
        "site",
        "network",
        "n_sites",
        "auc",
        "accuracy",
        "balanced_accuracy",
        "f1_macro",
    )
    assert [[row.get(name) for name in known] for row in real] == [
        [row.get(name) for name in known] for row in simulated
    ]
    assert {row["scheme"] for row in real} >= set(SCHEMES)
    kinds = [entry.kind for entry in book_of(load_site(str(folder / "a.toml"))).entries()]
    assert kinds.count("begun") == kinds.count("sent") == 5 and "refused" not in kinds
    assert ran(folder, "again") == real, "asked again, the same bytes"


def test_a_scheme_that_one_refuses_goes_on_with_the_others(deployed):
    folder, _ = deployed
    agree(folder, "a")
    own = agree(folder, "b", without=["dm", "fedavg"])
    real = ran(folder)
    assert {row["n_sites"] for row in real if row["scheme"] == "dm"} == {"1"}
    [refused] = [row for row in table(folder / "deployed", "sites") if row["site"] == "b" and row["scheme"] == "dm"]
    assert "takes no part in 'dm'" in refused["why"]
    assert any("takes no part" in str(entry.about.get("why")) for entry in book_of(own).entries())


def test_nothing_is_begun_without_agreements(deployed):
    folder, _ = deployed
    agree(folder, "a")
    with pytest.raises(PlanError, match=r"0 of the connected sites have agreed[\s\S]*width: 8 here, 4 there"):
        ran(folder, width=8, min_sites=2)
    assert not (folder / "deployed").exists()


def test_what_waits_for_a_person_leaves_when_the_run_is_started_again(deployed):
    folder, site = deployed
    site("a", review=True)
    (folder / "study.toml").write_text(tomli_w.dumps({**STUDY, "scheme": {"dm": DM}}))
    own = agree(folder, "a")
    agree(folder, "b")
    first = ran(folder, deadline_s=1.0)
    assert {row["n_sites"] for row in first} == {"1"}
    [held] = [row for row in table(folder / "deployed", "sites") if row["site"] == "a"]
    assert "until somebody there has looked at it" in held["why"]
    decide(book_of(own), 1, "approved", by="the data office")
    assert {row["n_sites"] for row in ran(folder, "again")} == {"2"}


def test_step_sizes_are_chosen_by_scores_with_noise_where_hospitals_allow_them(deployed):
    """The study says what they spend; a hospital's budget pays, and one that allows none still sends its Releases."""
    folder, site = deployed
    recipe = {**STUDY["recipe"], "lr": [0.01, 0.03], "chosen_on": "sites"}
    asked = {**STUDY, "scheme": {"dm": DM}, "recipe": recipe, "scores_epsilon": 4.0}
    (folder / "study.toml").write_text(tomli_w.dumps(asked))
    site("a", scores=2, epsilon_max=5.0, non_private="allow")
    own, other = agree(folder, "a"), agree(folder, "b")
    assert {row["n_sites"] for row in ran(folder)} == {"2"}
    lines = book_of(own).entries()
    [charge] = [entry.charge for entry in lines if entry.charge is not None]
    assert charge.cost.epsilon == pytest.approx(4.0, rel=1e-3) and charge.entropy == "system"
    assert [entry.about["scheme"] for entry in lines if entry.kind == "sent"] == ["dm", "scores"]
    assert [entry.about["scheme"] for entry in book_of(other).entries() if entry.kind == "sent"] == ["dm"]
    again = [entry for entry in lines if entry.kind == "sent"]
    ran(folder, "again")
    after = book_of(own).entries()
    assert sum(entry.charge is not None for entry in after) == 1, "asked again, the same counts, and nothing is spent"
    assert {entry.about["sha256"] for entry in after if entry.kind == "sent"} == {e.about["sha256"] for e in again}


def test_step_sizes_of_rounds_are_chosen_by_scores_with_noise(deployed):
    """One question a pilot, about the numbers of rounds that have a condition; without a budget none, and no run."""
    folder, site = deployed
    recipe = {**STUDY["recipe"], "lr": [0.01, 0.03]}
    asked = {**STUDY, "scheme": {"fedavg": {"rounds": [1, 3]}}, "recipe": recipe}
    (folder / "study.toml").write_text(tomli_w.dumps(asked))
    with pytest.raises(PlanError, match="scores_epsilon"):
        require_deployable(load_plan(str(folder / "study.toml")))
    (folder / "study.toml").write_text(tomli_w.dumps({**asked, "scores_epsilon": 4.0}))
    require_deployable(load_plan(str(folder / "study.toml")))
    site("a", scores=4, epsilon_max=5.0, non_private="allow")
    site("b", scores=3, epsilon_max=5.0, non_private="allow")
    own, other = agree(folder, "a"), agree(folder, "b")
    rows = ran(folder)
    assert {row["rounds"] for row in rows} == {"1", "3"} and {row["lr"] for row in rows} <= {"0.01", "0.03"}
    sent = [entry.about["item"] for entry in book_of(own).entries() if entry.kind == "sent"]
    named = [f"a validation fedavg convnet lr {lr} network 1" for lr in ("0.01", "0.03")]
    assert sorted(name for name in sent if "validation" in name) == named
    charges = [entry.charge.cost for entry in book_of(own).entries() if entry.charge is not None]
    assert len(charges) == 2 and spent(charges, delta=1e-5) == pytest.approx(4.0, rel=1e-3)
    assert not [entry for entry in book_of(other).entries() if entry.charge is not None], "3 networks, not 4"
    known = {row["round"]: row["validation_auc"] for row in table(folder / "deployed", "rounds")}
    assert (
        known["1"]
        and known["3"]
        and not known["2"]
        and not any(row["validation_balanced_accuracy"] for row in table(folder / "deployed", "rounds"))
    )
