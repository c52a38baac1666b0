"""The Ray grid and executor. One test, since starting Ray takes longer than all that is asked of it here."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from apps import count_threads, doze, fail, process_and_gpus, total
from flwr.app import ConfigRecord, Message, RecordDict

from fedistill.errors import PlanError, RunError
from fedistill.transport.backend.failure import DEADLINE, RAISED, SILENT
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.runtime import AUTH, Runtime, open_runtime
from fedistill.transport.backend.site_grid import Limits, SiteGrid

SITES = 4


@pytest.mark.ray
@pytest.mark.slow
def test_everything_that_needs_ray(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 1}')  # one that is not there: Ray only counts it
    nodes = [
        Node(i + 1, f"site{i}", {"partition-id": i, "num-partitions": SITES}, num_cpus=0.5, threads=2 if i else 1)
        for i in range(SITES)
    ]
    with open_runtime("local", nodes, "apps:app", {}, workers=2) as runtime:
        assert runtime.workers == 2
        many_messages_come_back_sorted(runtime)
        strangers_are_turned_away(tmp_path)
        named_jobs_report_and_keep_to_their_threads(runtime)
        failures_spoil_no_other(runtime, tmp_path)
        results_come_beside(runtime)
        deadlines_count_from_the_start(runtime)
        each_job_with_part_of_a_gpu_has_a_process(runtime)
        too_much_is_refused(runtime)
        busy_has_what_was_computed(runtime)
    out, err = capfd.readouterr()
    assert out + err == "", "Ray or its workers wrote to the terminal"
    assert not set(AUTH) & set(os.environ), "another run has another token"


def ask(node_id: int, action: str = "echo", job: str = "", **request: object) -> Message:
    content = RecordDict({"ask": ConfigRecord(request)})
    if job:
        content["job"] = ConfigRecord({"name": job})
    return Message(content, node_id, f"query.{action}")


def many_messages_come_back_sorted(runtime: Runtime) -> None:
    messages = [ask(1 + number % SITES, number=number) for number in range(100)]
    replies = runtime.grid.send_and_receive(messages, timeout=240)
    said = [(reply.content["said"]["partition"], reply.content["said"]["number"]) for reply in replies]
    assert said == sorted((number % SITES, number) for number in range(100))
    # Not one process per message: the workers are reused.
    assert len({reply.content["said"]["pid"] for reply in replies}) <= 4


ATTACH = """
import sys, ray
try:
    ray.init(address=sys.argv[1], _node_ip_address=sys.argv[1].rpartition(":")[0], log_to_driver=False)
    print("ran:", ray.get(ray.remote(lambda: 40 + 2).remote(), timeout=60))
except ConnectionError as error:
    print("refused:", error)
"""


def strangers_are_turned_away(tmp_path: Path) -> None:
    """Ray listens on every address of the machine; who comes by the outward one needs the run's token."""
    outward = outward_address()
    if outward is None:
        return  # a machine with no other address than its loopback: nobody comes from outside
    token, own = os.environ["RAY_AUTH_TOKEN"], dict(os.environ)
    port = ray.get_runtime_context().gcs_address.rpartition(":")[2]
    bare = {name: value for name, value in own.items() if name not in AUTH}
    wrong = {**bare, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    for environment, expected in ((bare, "refused: "), (wrong, "refused: "), (own, "ran: 42")):
        command = [sys.executable, "-c", ATTACH, f"{outward}:{port}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, cwd=tmp_path)
        assert done.stdout.startswith(expected), done.stdout + done.stderr
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert len(token) == 64 and token not in listed, "everybody may read the arguments of a process"
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    for path in session.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path


def outward_address() -> str | None:
    """This machine's own address that others would reach it by; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address kept for examples: a datagram socket only looks up the way
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") else address


def named_jobs_report_and_keep_to_their_threads(runtime: Runtime) -> None:
    runtime.events()
    replies = runtime.grid.send_and_receive([ask(1, "threads", "one"), ask(2, "threads", "two")], timeout=60)
    assert [(reply.content["said"]["torch"], reply.content["said"]["omp"]) for reply in replies] == [(1, "1"), (2, "2")]
    events = runtime.events()
    for name, site in (("one", "site0"), ("two", "site1")):
        mine = [event for event in events if event.job == name]
        assert mine[0].kind == "started" and mine[0].site == site
        # Of a thousand steps the first passes, and one every half second on a machine that is slow.
        assert mine[1].step == 0 and mine[-1].kind == "done" and 3 <= len(mine) < 20


def failures_spoil_no_other(runtime: Runtime, tmp_path: Path) -> None:
    marker = tmp_path / "died"
    messages = [ask(1, number=1), ask(2, "spoil", number=2), ask(3, "die_once", marker=str(marker)), ask(4, number=4)]
    first, spoilt, died, last = runtime.grid.send_and_receive(messages, timeout=60)
    assert (first.content["said"]["number"], last.content["said"]["number"]) == (1, 4)
    assert spoilt.error.code == RAISED and "\x1b" not in spoilt.error.reason
    assert spoilt.error.reason.splitlines()[0] == "ValueError: the images are; not there"
    assert marker.exists() and died.has_content()


def results_come_beside(runtime: Runtime) -> None:
    array = np.ones(400_000, dtype=np.float32)
    shared = runtime.executor.share(array)
    runtime.executor.submit("given", total, array, 2.0)
    for key in ("once", "again"):
        runtime.executor.submit(key, total, shared, 3.0)
    runtime.executor.submit("bad", fail)
    runtime.executor.submit("threads", count_threads, threads=2)
    ids = runtime.grid.push_messages([ask(1 + number % SITES, number=number) for number in range(20)])
    replies: list[Message] = []
    results: dict[str, object] = {}
    end = time.monotonic() + 60
    while (len(replies) < 20 or len(results) < 5) and time.monotonic() < end:
        replies += runtime.grid.pull_messages(ids)
        results |= runtime.executor.poll()
    assert len(replies) == 20 and not any(reply.has_error() for reply in replies)
    error = results.pop("bad")
    assert results == {"given": 800_000.0, "once": 1_200_000.0, "again": 1_200_000.0, "threads": 2}
    assert isinstance(error, RunError) and str(error) == "ArithmeticError: no sum" and "in fail" in error.__notes__[0]


def each_job_with_part_of_a_gpu_has_a_process(runtime: Runtime) -> None:
    for key in ("one", "two", "three"):
        runtime.executor.submit(key, process_and_gpus, num_gpus=0.75)
    runtime.executor.submit("none", process_and_gpus)
    came: dict[str, tuple[int, str]] = {}
    while len(came) < 4:
        came |= runtime.executor.poll()
        # No more are with Ray than the GPU has work for: they would keep others from starting.
        assert sum(attempt.task.num_gpus for attempt in runtime.executor._backend._out.values()) <= 2
    assert list(came)[-1] == "three"
    assert came.pop("none")[1] == "" and {gpus for _, gpus in came.values()} == {"0"}
    assert len({pid for pid, _ in came.values()}) == 3


def deadlines_count_from_the_start(runtime: Runtime) -> None:
    grid = runtime.grid
    assert isinstance(grid, SiteGrid)
    # One job hangs but talks, one hangs in silence and is tried twice; eight more would be late if their time in the
    # queue counted. The eight go when the silent one is first cancelled, and have eight seconds even on a busy machine.
    grid._limits = Limits(deadline_s=12, silence_s=None)
    ids = grid.push_messages([ask(1, "hang", "loud", aloud=True)])
    grid._limits = Limits(deadline_s=None, silence_s=4)
    ids += grid.push_messages([ask(2, "hang", "silent", aloud=False)])
    grid._limits = Limits()
    ids += grid.push_messages([ask(3 + number % 2, number=number) for number in range(8)])
    replies: dict[str, Message] = {}
    end = time.monotonic() + 60
    while len(replies) < len(ids) and time.monotonic() < end:
        replies |= {reply.metadata.reply_to_message_id: reply for reply in grid.pull_messages(ids)}
    loud, silent, *others = (replies[message_id] for message_id in ids)
    assert (loud.error.code, loud.error.reason) == (DEADLINE, "cancelled: it ran longer than deadline_s = 12")
    assert (silent.error.code, silent.error.reason) == (SILENT, "cancelled twice: no event for silence_s = 4")
    assert all(reply.has_content() for reply in others)
    assert list(replies)[-2:] == [ids[0], ids[1]] or list(replies)[-2:] == [ids[1], ids[0]]
    cancelled = [event.job for event in runtime.events() if event.kind == "cancelled"]
    assert sorted(cancelled) == ["loud", "silent", "silent"]


def busy_has_what_was_computed(runtime: Runtime) -> None:
    before = runtime.busy.sites_seconds, runtime.busy.server_seconds
    runtime.grid.send_and_receive([ask(1, "doze", seconds=1.0), ask(2, "doze", seconds=1.0)], timeout=60)
    runtime.executor.submit("doze", doze, 0.5, num_cpus=2)
    while not runtime.executor.poll():
        pass
    # Each site's job has half a CPU, the server's both.
    assert runtime.busy.sites_seconds - before[0] == pytest.approx(1.0, abs=0.2)
    assert runtime.busy.server_seconds - before[1] == pytest.approx(1.0, abs=0.2)


def too_much_is_refused(runtime: Runtime) -> None:
    with pytest.raises(PlanError, match="more than any machine has"):
        runtime.executor.submit("big", total, num_cpus=64)
