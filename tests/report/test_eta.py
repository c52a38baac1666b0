"""How far a run is: counted from its plan and events, here and from another terminal."""

import fcntl
import json
import os
from io import StringIO

import pytest
from rich.console import Console
from tiny import write_tiny

from fedistill.config import load_plan
from fedistill.core.events import Event
from fedistill.errors import RunFolderError
from fedistill.report.terminal.eta import RunProgress
from fedistill.report.terminal.status import in_use, print_status
from fedistill.study import run
from fedistill.study.folder.event_log import read_events

PLAN = {
    "name": "x",
    "points": [
        {
            "point": "",
            "jobs": {f"{site} {scheme} seed 0": scheme for scheme in ("dc", "mtt") for site in "ab"},
            "arms": {f"{scheme} ipc 1": scheme for scheme in ("dc", "mtt")},
        }
    ],
}


def event(job, kind, time=0.0, **more):
    return Event(kind, job=job, time=time, **more)


def told(*events):
    tally = RunProgress(PLAN)
    for each in events:
        tally.add(each)
    return tally


def test_jobs_are_done_running_or_left():
    tally = told(
        event("a dc seed 0", "started", 0.0),
        event("a dc seed 0", "done", 9.0, seconds=8.0),
        event("b dc seed 0", "started", 2.0),
        event("b dc seed 0", "distilling", 4.0, method="dc", ipc=1, step=1, steps=5, seconds=2.0),
        event("a mtt seed 0", "failed", message="no disk"),
    )
    assert tally.by_scheme() == {"dc": (1, 1, 0, 0), "mtt": (0, 0, 1, 1)}
    assert tally.line == "1/4 jobs, 0/2 results" and tally.failed == {"a mtt seed 0": "no disk"}


def test_the_time_left_is_what_such_jobs_took():
    begun = [event("a dc seed 0", "done", 8.0, seconds=8.0), event("b dc seed 0", "started", 10.0)]
    estimate = told(*begun).estimate(now=13.0)
    assert estimate.seconds == pytest.approx(8 - 3) and estimate.unknown == ("mtt",)
    known = told(*begun, event("a mtt seed 0", "done", 13.0, seconds=100.0)).estimate(now=13.0)
    assert known.seconds == pytest.approx(5 + 100) and known.words == "about 2 min left"
    assert told().estimate(now=1.0).words == ""


def test_jobs_at_one_time_share_the_rest():
    both = [event(f"{site} dc seed 0", "started", 0.0) for site in "ab"]
    done = [event(f"{site} dc seed 0", "done", 10.0, seconds=10.0) for site in "ab"]
    mtt = [event("a mtt seed 0", "done", 20.0, seconds=30.0)]
    assert told(*both, *done, *mtt).estimate(now=20.0).seconds == pytest.approx(30 / 2)


def test_a_step_that_takes_long_is_believed():
    slow = [event("b dc seed 0", "distilling", 50.0, method="dc", ipc=1, step=1, steps=11, seconds=50.0)]
    done = [event(f"{s} mtt seed 0", "done", seconds=1.0) for s in "ab"] + [event("a dc seed 0", "done", seconds=1.0)]
    assert told(*done, *slow).estimate(now=50.0).seconds == pytest.approx(500.0)


def test_what_ran_when_it_was_stopped_runs_no_more():
    tally = told(event("a dc seed 0", "started"), Event("planned"))
    assert tally.by_scheme()["dc"] == (0, 0, 2, 0)


def test_points_of_a_sweep_do_what_they_share_once():
    jobs, arms = {"a dc seed 0": "dc"}, {"dc ipc 1": "dc"}
    tally = RunProgress({"name": "x", "points": [{"point": p, "jobs": jobs, "arms": arms} for p in ("w=1", "w=2")]})
    tally.add(Event("done", point="w=1", job="a dc seed 0", seconds=1.0))
    for point in ("w=1", "w=2"):
        tally.add(Event("scored", point=point, job="dc ipc 1"))
    assert tally.by_scheme() == {"dc": (2, 0, 0, 0)} and len(tally.scored) == len(tally.arms) == 2


def status(folder):
    console = Console(file=StringIO(), width=80)
    print_status(folder, console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("status")
    few = [
        "ipc=[1]",
        "networks=1",
        "recipe.lr=0.01",
        "scheme={random={}, dm={iterations=2, early_networks=1, early_steps=4}, central-dm={}, local={}}",
    ]
    policy = "policy = { allow_real_images = true, allow_weights = true, start = 'real' }"
    return run(load_plan(write_tiny(root, federation=policy), changes=few), out=root / "out", engine="inline").root


@pytest.mark.slow
def test_a_plan_names_everything_that_a_run_then_does(finished):
    tally = RunProgress(json.loads((finished / "plan.json").read_text()))
    assert sorted(set(tally.jobs.values())) == ["central-dm", "dm", "random"] and len(tally.jobs) == 2 + 2 + 1
    for each in read_events(finished).events:
        tally.add(each)
    assert set(tally.seconds) == set(tally.jobs) and tally.scored == set(tally.arms) and not tally.running
    assert len(tally.arms) == 1 + 1 + 1 + 2, "random, dm, central-dm, and a local one at each site"


def test_status_of_a_finished_a_stopped_and_a_running_run(finished, tmp_path):
    text = status(finished)
    assert "tiny: finished" in text and "5 of 5 results are there" in text and "left" in text
    lines = (finished / "events.jsonl").read_text().splitlines(keepends=True)
    for name in ("simulation.toml", "plan.json"):
        (tmp_path / name).write_text((finished / name).read_text())
    at = next(i for i, line in enumerate(lines) if '"b dm seed 0"' in line)
    (tmp_path / "events.jsonl").write_text("".join(lines[: at + 1]) + '{"half a li')
    (tmp_path / ".lock").write_text(f"{os.getpid()}\n")
    assert "stopped; run it again to resume" in status(tmp_path) and not in_use(tmp_path)
    with (tmp_path / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = status(tmp_path)
    assert "tiny: running" in text and "b dm seed 0: started" in text and "last sign of life" in text
    assert "central-dm, of which nothing is known yet" in " ".join(text.split())


def test_status_says_what_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="no run of FeDistill"):
        status(tmp_path)
    write_tiny(tmp_path, name="simulation")
    with pytest.raises(RunFolderError, match="not come so far yet"):
        status(tmp_path)


def test_status_counts_lines_that_cannot_be_read(finished, tmp_path):
    for name in ("simulation.toml", "plan.json"):
        (tmp_path / name).write_text((finished / name).read_text())
    torn = b'{"time": 1, "sta\n' + b"\0" * 512 + b'\n{"site": "K\xc3'
    (tmp_path / "events.jsonl").write_bytes((finished / "events.jsonl").read_bytes() + torn)
    assert "3 lines of events.jsonl cannot be read" in " ".join(status(tmp_path).split())
    assert "cannot be read" not in status(finished)


def test_status_of_a_damaged_plan_says_what_to_do(finished, tmp_path):
    (tmp_path / "simulation.toml").write_text((finished / "simulation.toml").read_text())
    for damaged in (b'{"name": "x"}', b"[]", b"\0\xc3"):
        (tmp_path / "plan.json").write_bytes(damaged)
        with pytest.raises(RunFolderError, match="is not as the run wrote it"):
            status(tmp_path)
