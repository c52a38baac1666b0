"""The cost model: what is counted is what a run does, and what is measured is of the right size."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from tiny import write_tiny

from fedistill.config import holdings, load_plan
from fedistill.methods import METHODS, settings_for
from fedistill.methods.engine.method import Task
from fedistill.report.terminal.cost import print_cost
from fedistill.schemes.server.work import expected_steps, iteration_images
from fedistill.study import run
from fedistill.study.forecast import benchmark as meter
from fedistill.study.forecast.benchmark import Clock, run_until_enough, time_distillation
from fedistill.study.forecast.estimate import PlanCost, Work, cost

ALL = """
[scheme.local]
[scheme.fedavg]
rounds = [1, 2]
[scheme.central-dc]
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost")
    policy = "policy = { allow_real_images = true, allow_weights = true, start = 'real' }"
    path = write_tiny(folder, federation=policy, more="seeds = 2")
    with Path(path).open("a") as file:
        file.write(ALL)
    return path


@pytest.fixture(scope="module")
def plan(path):
    return load_plan(path)


@pytest.fixture(scope="module")
def found(plan):
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meter, "ENOUGH_SECONDS", 0.02)
        made = cost(plan, on_measure=told.append)
    assert len(told) == len(set(told)), "each kind is measured once"
    assert {"full", "dc ipc 1", "mtt ipc 2", "central-dc ipc 4"} <= set(told)
    return made


def test_tasks_are_those_of_the_run(path, found, tmp_path):
    """Sites' tasks: how many networks are then trained on their images, and how, changes none of them."""
    quick = load_plan(path, changes=["networks=1", "recipe.lr=0.01", "recipe.max_steps=4"])
    done = run(quick, out=tmp_path / "out", engine="inline")
    tasks = {(work.what, work.at_sites): work.tasks for work in found.work}
    # Two sites and two seeds; full once; all data together at one place.
    assert {what: n for (what, at_sites), n in tasks.items() if what != "networks"} == {
        "full": 2,
        "random": 4,
        "dc": 4,
        "mtt": 4,
        "central-dc": 2,
    }
    sent = done.sites[done.sites["status"] == "shared"]
    assert len(sent) == 2 * 1 + 4 * 2 * 3 + 2 * 2
    shared = done.rows.drop_duplicates(["scheme", "ipc", "seed"])
    shared = shared[shared["scheme"].isin(["full", "dc", "mtt"])]["bytes_shared"].sum()
    assert shared < found.up
    assert found.memory(2) > found.memory(1) > found.worker_bytes > 50 << 20


def test_steps_of_a_pool(plan):
    simulation = plan.first  # 4 steps, at most 8; step sizes 0.01 and 0.03, one pilot each, two networks
    assert expected_steps(simulation, grows=False, chooses=True) == (3 * 4, 2)  # two pilots, one kept, and one more
    assert expected_steps(simulation, grows=False, chooses=False) == (2 * 4, 0)
    # Without a budget both are tried at 8 as well; the one more has 4 steps or 8.
    assert expected_steps(simulation, grows=True, chooses=True) == (((2 * 12 + 4) + (2 * 12 + 8)) / 2, 4)


def test_weight_counts_what_an_iteration_looks_at(plan):
    share = holdings(plan.first.federation, 0, None).shares[0]
    counts = share.train.counts()
    assert iteration_images(share.train, 3, None) == 3 * (counts > 0).sum()
    assert iteration_images(share.train, 3, 5) == 3 * (counts > 0).sum() + sum(min(5, n) for n in counts)


def test_a_distillation_is_stopped_when_enough_was_seen(plan, monkeypatch):
    monkeypatch.setattr(meter, "ENOUGH_SECONDS", 0.2)
    share = holdings(plan.first.federation, 0, None).shares[0]
    task = Task(share.train, 1, width=4, val=share.val)
    few, many = (settings_for("dm", {"iterations": n, "looks": 0, "preset": "published"}) for n in (10, 10_000_000))
    short = time_distillation(task, "dm", few, 1)["iterations"]
    long = time_distillation(task, "dm", many, 1)["iterations"]
    assert long / short == pytest.approx(1_000_000, rel=0.9)
    assert METHODS["dm"].run(task, few) is not None


def test_views_that_are_met_again_are_counted_once_each(plan, monkeypatch):
    """Of ten iterations with four views, four cost what a new view costs and six what a known one does."""
    given = []

    def timed(method, task, settings):
        given.append(settings.views)
        each = 5.0 if settings.views > 10 else 2.0
        return Clock(0.0, [9.0, 9.0 + each]), 0.0, False, 10

    monkeypatch.setattr(meter, "_time_iterations", timed)
    task = Task(holdings(plan.first.federation, 0, None).shares[0].train, 1, width=4)
    settings = settings_for("dc", {"iterations": 10, "views": 4, "looks": 0})
    assert time_distillation(task, "dc", settings, 1)["iterations"] == 4 * 5.0 + 6 * 2.0
    assert given[0] > 1000 and given[1] == 1


def test_the_clock_takes_no_start_for_a_step():
    def work(clock):
        clock.ticks += [5.0, 6.0, 7.0]

    clock, _, whole = run_until_enough(work)
    assert whole and clock.each() == 1.0 and Clock().each() == 0.0


def test_walls_and_memory():
    made = PlanCost((Work("dc", 4, 400.0, 100.0, True), Work("networks", 10, 100.0, 10.0, False)), 1, 1, 0, 0)
    start = made.wall(10**9) - 110
    assert made.wall(1) - start == pytest.approx(500.7) and made.wall(2) - start == pytest.approx(500.7 / 1.6)


def test_it_is_read_at_sixty_columns(found):
    console = Console(width=60, record=True, file=io.StringIO())
    print_cost(found, console, here=2, workers=16)
    text = console.export_text()
    assert "on a cluster, 16 workers: about" in text and "between sites and server" in text
    assert all(len(line) <= 60 for line in text.splitlines()[:-3])


def found_of(tmp_path, monkeypatch, *changes):
    """What a changed plan takes, by kind of work and who does it."""
    monkeypatch.setattr(meter, "ENOUGH_SECONDS", 0.02)
    path = write_tiny(
        tmp_path, federation="policy = { allow_real_images = true, allow_weights = true, start = 'real' }"
    )
    return {(work.what, work.at_sites): work for work in cost(load_plan(path, changes=changes)).work}


def test_private_training_is_counted_in_its_own_steps(tmp_path, monkeypatch):
    few, many = (
        found_of(tmp_path, monkeypatch, f"scheme={{dpsgd-local={{steps={n}}}, dpsgd-ensemble={{steps={n}}}}}")
        for n in (10, 1000)
    )
    work = few["networks", True]
    assert work.tasks == 2, "a site each; those of the ensemble are the same networks"
    assert many["networks", True].seconds / work.seconds == pytest.approx(100, rel=0.9)


def test_shadows_are_counted_once_over_a_sweep(tmp_path, monkeypatch):
    schemes = "scheme={random={}, dm={preset='published', iterations=3, looks=0}, local={}, dp-fedavg={rounds=[2]}}"
    audit = "audit={shadows=6, canaries=true}"
    plain = ("ipc=[1]", "federation.images=200", schemes, audit)
    alone = found_of(tmp_path, monkeypatch, *plain)
    assert {what: work.tasks for (what, _), work in alone.items() if "shadows" in what or "attacks" in what} == {
        "shadows of random": 12,
        "shadows of dm": 12,
        "shadows of local": 12,
        "shadows of dp-fedavg": 12,
        "what attacks find": 8,
    }
    assert all(work.seconds > 0 for work in alone.values())
    swept = found_of(tmp_path, monkeypatch, *plain, "sweep.scheme.dm.iterations=[3, 4]")
    tasks = {what: work.tasks for (what, at_sites), work in swept.items() if not at_sites}
    assert (tasks["shadows of dm"], tasks["shadows of random"], tasks["shadows of local"]) == (24, 12, 12)
    assert tasks["networks"] == alone["networks", False].tasks + 2, "two networks more, on the second point's pool"
