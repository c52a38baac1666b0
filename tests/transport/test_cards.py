"""One process for a whole GPU. There is none here: Ray counts one that it is told of, and a processor computes."""

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from apps import doze, process_and_gpus, spoil_the_card, train_in_graphs
from flwr.app import ConfigRecord, Message, RecordDict
from pretended import PROCESSES
from tiny import same, write_tiny

from fedistill.config import load_plan
from fedistill.study import run
from fedistill.training import graphs
from fedistill.transport.backend import dispatch
from fedistill.transport.backend.failure import DEADLINE, DIED
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.runtime import Runtime, open_runtime
from fedistill.transport.backend.site_grid import Limits, SiteGrid
from fedistill.transport.server import launch


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that Ray believes in, and jobs that ask for one find."""
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 1}')
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tests, tests / "transport", tests.parent))))
    hook = {"worker_process_setup_hook": "pretended.pretend"}
    monkeypatch.setattr(ray, "init", partial(ray.init, runtime_env=hook))


@pytest.mark.ray
@pytest.mark.slow
def test_one_process_drives_a_card(one_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "STALLED", 1.0)
    nodes = [
        Node(1, "north", {"partition-id": 0}, num_cpus=0.5, num_gpus=1),
        Node(2, "east", {"partition-id": 1}, num_cpus=1, num_gpus=1),
        Node(3, "south", {"partition-id": 2}, num_cpus=1),
    ]
    with open_runtime("local", nodes, "apps:app", {}, workers=1) as runtime:
        sites_and_server_take_turns_at_it(runtime)
        it_makes_way(runtime)
        the_second_job_finds_its_graphs(runtime)
        a_job_that_dies_takes_no_other_with_it(runtime, tmp_path)
        a_job_that_hangs_is_ended(runtime)


def ask(node_id: int, action: str = "echo", **request: object) -> Message:
    return Message(RecordDict({"ask": ConfigRecord(request)}), node_id, f"query.{action}")


def results(runtime: Runtime, count: int) -> dict[str, Any]:
    """So many of the server's results, in the order in which they came."""
    came: dict[str, Any] = {}
    end = time.monotonic() + 240
    while len(came) < count and time.monotonic() < end:
        came |= runtime.executor.poll()
        assert sum(attempt.task.num_gpus for attempt in runtime.executor._backend._out.values()) <= 1
    assert len(came) == count
    return came


def sites_and_server_take_turns_at_it(runtime: Runtime) -> None:
    """Twenty jobs of two sites, one of the server's: one process. (It is replaced once: east asks for more CPUs.)"""
    runtime.grid.send_and_receive([ask(2)], timeout=240)
    ids = runtime.grid.push_messages([ask(1 + number % 2, number=number) for number in range(20)])
    runtime.executor.submit("server", process_and_gpus, num_gpus=1)
    [(pid, gpus)] = results(runtime, 1).values()
    replies: list[Message] = []
    while len(replies) < 20:
        replies += runtime.grid.pull_messages(ids)
    assert {reply.content["said"]["pid"] for reply in replies} == {pid} and gpus == "0"
    # Each site is told its own.
    assert {(r.metadata.src_node_id, r.content["said"]["partition"]) for r in replies} == {(1, 0), (2, 1)}


def it_makes_way(runtime: Runtime) -> None:
    """It has this Ray's only CPU; who else wants one waits until it has been idle for a while."""
    [before] = [card.process for card in runtime.executor._backend._cards._cards]
    [reply] = runtime.grid.send_and_receive([ask(3)], timeout=240)
    assert reply.has_content()
    assert before not in [card.process for card in runtime.executor._backend._cards._cards]
    runtime.executor.submit("part", process_and_gpus, num_gpus=0.5)
    assert results(runtime, 1)["part"][1] == "0"


def the_second_job_finds_its_graphs(runtime: Runtime) -> None:
    for key, seed in (("first", 1), ("second", 2), ("again", 1)):
        runtime.executor.submit(key, train_in_graphs, seed, num_gpus=1)
    came = results(runtime, 3)
    assert len({pid for pid, _, _ in came.values()}) == 1
    assert [idle for _, idle, _ in came.values()] == [0, 1, 1]
    # What another job has left in the buffers changes nothing.
    assert came["first"][2] == came["again"][2] != came["second"][2]
    runtime.executor.submit("spoilt", spoil_the_card, num_gpus=1)
    runtime.executor.submit("after", train_in_graphs, 1, num_gpus=1)
    came |= results(runtime, 2)
    assert came["spoilt"] == came["first"][0] != came["after"][0]
    assert came["after"][1:] == (0, came["first"][2])


def a_job_that_dies_takes_no_other_with_it(runtime: Runtime, tmp_path: Path) -> None:
    runtime.events()
    once = ask(1, "die_once", marker=str(tmp_path / "died"))
    replies = runtime.grid.send_and_receive([ask(1), once, ask(1, "die"), ask(2)], timeout=240)
    before, died_once, died, after = replies
    assert died_once.has_content() and died.error.code == DIED
    assert before.content["said"]["pid"] != after.content["said"]["pid"]
    again = [event.job for event in runtime.events() if event.kind == "started again"]
    assert len(again) == 3 and len(set(again)) == 2, again


def a_job_that_hangs_is_ended(runtime: Runtime) -> None:
    grid = runtime.grid
    assert isinstance(grid, SiteGrid)
    grid._limits = Limits(deadline_s=2, silence_s=None)
    ids = grid.push_messages([ask(1, "hang", aloud=True)])
    grid._limits = Limits()
    ids += grid.push_messages([ask(1), ask(1)])
    replies: dict[str, Message] = {}
    end = time.monotonic() + 240
    while len(replies) < 3 and time.monotonic() < end:
        replies |= {reply.metadata.reply_to_message_id: reply for reply in grid.pull_messages(ids)}
    hung, *others = (replies[each] for each in ids)
    assert hung.error.code == DEADLINE and all(reply.has_content() for reply in others)
    [left] = grid.push_messages([ask(1, "hang", aloud=True)])
    runtime.executor.submit("doze", doze, 0.1, num_gpus=1)
    grid.pull_messages([left])
    grid.cancel([left])
    assert results(runtime, 1) == {"doze": None}


@pytest.mark.ray
@pytest.mark.slow
def test_a_study_s_rows_are_those_of_one_process(
    one_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sites and the server want a whole GPU: the rows are the inline engine's, and one process computed them."""
    federation = "policy = { allow_real_images = true, start = 'real' }, site = { a = { gpus = 1 }, b = { gpus = 1 } }"
    plan = load_plan(write_tiny(tmp_path, federation=federation, more="gpus = 1\nprecision = 'float32'"))
    monkeypatch.setenv(PROCESSES, str(tmp_path / "processes"))
    shared = run_here(plan, tmp_path / "shared", "local", monkeypatch)
    lines = (tmp_path / "processes").read_text().split()
    alone = run_here(plan, tmp_path / "alone", "inline", monkeypatch)
    same(shared, alone)
    assert len(lines) > 10 and len(set(lines)) == 1 and int(lines[0]) != os.getpid()


def run_here(plan: Any, out: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a plan with a processor for a GPU, in this process as in Ray's."""
    import fedistill.schemes.server.tasks
    import fedistill.schemes.server.teaching
    import fedistill.schemes.site.training
    import fedistill.transport.site.context

    here = [fedistill.schemes.server.tasks, fedistill.schemes.server.teaching, fedistill.schemes.site.training]
    with monkeypatch.context() as patch:
        for module in (*here, fedistill.transport.site.context, launch):
            patch.setattr(module, "device_for", lambda gpus: torch.device("cpu"))
        patch.setattr(graphs, "used_on", lambda device: True)
        return run(plan, out=out, engine=engine, workers=2).rows
