"""A study between hospitals, all in this process: the apps, agreements and grid as between machines, and no wire."""

import csv

import pytest
import tomli_w

from fedistill.api.consent import agreed_to, book_of, prepare
from fedistill.app import run_simulation
from fedistill.config.site_file import load_site
from fedistill.consent.airlock import decide
from fedistill.consent.study import load_study
from fedistill.errors import PlanError
from fedistill.study import run_on
from fedistill.transport.backend.failure import Failure
from fedistill.transport.backend.job import answer, attempt
from fedistill.transport.backend.nodes import Node
from fedistill.transport.deploy import deadline_grid
from fedistill.transport.deploy.client_loop import APP, _discreet
from fedistill.transport.flower_internals import acting_as, become_server, stamped
from fedistill.transport.server import coordinator as asking
from fedistill.transport.server.launch import of_deployed

SITES = ("a", "b")
RULES = {"allow_weights": True, "share_counts": "rounded", "min_class_size": 8}
TWO = {"name": "two", "dataset": "phantom:breast", "images": 120, "sites": list(SITES), "policy": RULES}
DM = {"iterations": 3, "batch_real": 8, "early_networks": 0, "looks": 0, "clusters": 1}
SCHEMES = {"dm": DM, "fedavg": {"rounds": 2}, "local": {}, "join": {"of": "dm"}}
STUDY = {
    "federation": TWO,
    "scheme": SCHEMES,
    "networks": 1,
    "width": 4,
    "ipc": 1,
    "min_sites": 1,
    "deadline_s": 60.0,
    "recipe": {"steps": 4, "max_steps": 8, "lr": 0.01, "pilots": 1},
}
POLICY = {**RULES, "smallest_batch": 8, "fewest_iterations": 1, "widths": [4], "review": False}


class Nodes:
    """Flower's grid, whose nodes are hospitals in this process; they answer when they are asked for replies."""

    def __init__(self, folder):
        self.sites = {name: load_site(str(folder / f"{name}.toml")) for name in SITES}
        self._nodes = {i: Node(i, name, self.sites[name].node_config()) for i, name in enumerate(SITES, 1)}
        self._asked, self._count = {}, 0

    def get_node_ids(self):
        return list(self._nodes)

    def push_messages(self, messages):
        ids = []
        for message in messages:
            self._count += 1
            ids.append(f"real-{self._count}")
            self._asked[ids[-1]] = stamped(message, ids[-1])
        return ids

    def pull_messages(self, ids):
        return [self._answered(self._asked.pop(each)) for each in list(ids) if each in self._asked]

    def _answered(self, message):
        node = self._nodes[message.metadata.dst_node_id]
        outcome = attempt(answer, APP, message, node, {}, 7)
        with acting_as(7, node.node_id):
            reply, _ = _discreet(outcome, message, lambda event: None, own=node.config)
        assert isinstance(outcome, Failure) == reply.has_error()
        return reply


@pytest.fixture
def deployed(tmp_path, monkeypatch):
    monkeypatch.setattr(deadline_grid, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(asking, "REVIEW_SECONDS", 0.1)
    (tmp_path / "study.toml").write_text(tomli_w.dumps(STUDY))
    (tmp_path / "two.toml").write_text(tomli_w.dumps(TWO))

    def site(name, **rules):
        folder = f"{name}-kept"
        own = {"name": name, "federation": "two.toml", "secret": "", "store": folder, "ledger": f"{folder}.jsonl"}
        own["agreements"] = f"{name}-agreed"
        (tmp_path / f"{name}.toml").write_text(tomli_w.dumps({**own, "policy": {**POLICY, **rules}}))

    for name in SITES:
        site(name)
    return tmp_path, site


def agree(folder, name, **more):
    own = load_site(str(folder / f"{name}.toml"))
    agreed_to(own, prepare(own, str(folder / "study.toml"), **more), by="the data office")
    return own


def ran(folder, out="deployed", **changes):
    become_server(7)
    study = load_study(str(folder / "study.toml"), changes=[f"{name}={value}" for name, value in changes.items()])
    run_on(study, of_deployed(Nodes(folder), study), out=folder / out, deployed=True)
    return untimed(folder / out)


def untimed(root):
    """Rows of results.csv without timings, and without what messages take on their way."""
    with (root / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {key: value for key, value in row.items() if not key.endswith(("_seconds", "_up", "_down"))} for row in rows
    ]


def table(root, name):
    with (root / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


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
