"""A Ray cluster of two nodes, one of which dies. One test, since starting a node takes longer than what it is asked."""

import time
from pathlib import Path
from typing import Any

import apps
import numpy as np
import pytest
from cluster import Cluster, cluster
from flwr.app import ConfigRecord, Message, RecordDict
from tiny import same

from fedistill.config import load_plan
from fedistill.core.events import Event
from fedistill.errors import PlanError
from fedistill.report.html.page import rebuild
from fedistill.study import run
from fedistill.transport.backend.failure import NO_ROOM, RAISED
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.runtime import Runtime, open_runtime

STUDY = """
federation = { name = "three", dataset = "phantom:breast", images = 120, sites = 3, policy = { allow_real_images = true } }
networks = 2
width = 8
ipc = [1]
[recipe]
steps = 4
max_steps = 4
lr = [0.01]
[scheme.dm]
preset = "published"
iterations = 1500
looks = 0
"""  # noqa: E501


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_that_loses_a_machine(tmp_path: Path) -> None:
    with cluster() as nodes:
        nodes.start("head", env={"FEDISTILL_TEST_DATA": str(saved(tmp_path / "head"))})
        nodes.start("second", env={"FEDISTILL_TEST_DATA": str(tmp_path / "second" / "mine.npz")}, cpus=2)
        sites = [Node(i + 1, f"site{i}", num_cpus=2 if i == 5 else 1) for i in range(6)]
        with open_runtime(nodes.address, sites, "apps:app", {}) as runtime:
            assert runtime.workers == 3
            missing_data_name_the_machine(runtime)
            too_much_is_refused_by_what_single_machines_have(runtime)
        a_study_survives(nodes, tmp_path)
        nodes.start("third", cpus=2)
        with open_runtime(nodes.address, sites, "apps:app", {}) as runtime:
            what_no_machine_can_run_any_more_is_given_up(runtime, nodes)


def saved(folder: Path) -> Path:
    """A small data set in MedMNIST's layout."""
    folder.mkdir()
    arrays: dict[str, Any] = {}
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        arrays[f"{split}_images"] = np.zeros((count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None]
    np.savez(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


def ask(node_id: int, action: str) -> Message:
    return Message(RecordDict(), node_id, f"query.{action}")


def missing_data_name_the_machine(runtime: Runtime) -> None:
    replies = runtime.grid.send_and_receive([ask(1 + i % 5, "data") for i in range(9)], timeout=120)
    good = [reply for reply in replies if not reply.has_error()]
    bad = [reply.error for reply in replies if reply.has_error()]
    assert good and all(reply.content["said"]["images"] == 8 for reply in good)
    assert bad and all(each.code == RAISED for each in bad)
    lines = {(each.reason or "").splitlines()[0] for each in bad}
    assert all("second/mine.npz" in line and line.endswith("(on machine second)") for line in lines), lines


def too_much_is_refused_by_what_single_machines_have(runtime: Runtime) -> None:
    with pytest.raises(PlanError, match="'large' requests more than any machine has") as told:
        runtime.executor.submit("large", apps.doze, 0.0, num_cpus=3)
    assert "CPU up to 2" in str(told.value)  # three there are, on two machines


def a_study_survives(nodes: Cluster, tmp_path: Path) -> None:
    """A machine is killed while a site distils there: the same results as without Ray, and the report tells of it."""
    (tmp_path / "three.toml").write_text(STUDY)
    whole = run(load_plan(str(tmp_path / "three.toml")), out=tmp_path / "whole", engine="inline")
    killed: list[str] = []

    def kill(event: Event) -> None:
        if event.site and event.message == "on second" and not killed:
            killed.append(event.job)
            nodes.kill("second")

    out = tmp_path / "run"
    done = run(load_plan(str(tmp_path / "three.toml")), out=out, engine=nodes.address, on_event=kill)
    assert killed
    same(done.rows, whole.rows)
    assert (done.sites["status"] == "shared").all()
    assert f"{killed[0]}: its process died; it was started again" in rebuild(out).read_text()


def what_no_machine_can_run_any_more_is_given_up(runtime: Runtime, nodes: Cluster) -> None:
    doze = Message(RecordDict({"ask": ConfigRecord({"seconds": 600.0})}), 6, "query.doze")
    [wanting] = runtime.grid.push_messages([doze])
    list(runtime.grid.pull_messages([wanting]))  # sets it going
    nodes.kill("third")
    until, replies = time.monotonic() + 60, []
    while not replies and time.monotonic() < until:
        replies = list(runtime.grid.pull_messages([wanting]))
    [reply] = replies
    assert reply.error.code == NO_ROOM and "no machine is left" in reply.error.reason
    assert "third is gone; its jobs are done elsewhere" in [event.message for event in runtime.events()]
    nodes.start("fourth")
    until, told = time.monotonic() + 60, []
    while "fourth has joined" not in told and time.monotonic() < until:
        short = Message(RecordDict({"ask": ConfigRecord({"seconds": 0.5})}), 1, "query.doze")
        assert not next(iter(runtime.grid.send_and_receive([short], timeout=60))).has_error()
        told += [event.message for event in runtime.events()]
    assert "fourth has joined" in told
