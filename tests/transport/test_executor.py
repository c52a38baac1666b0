"""Server-side work without Ray, and how a runtime refuses to open."""

import socket

import numpy as np
import pytest
import torch
from apps import count_threads, doze, fail, total
from flwr.app import ConfigRecord, Message, RecordDict

from fedistill.errors import RunError, UserError
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.runtime import open_runtime
from fedistill.transport.backend.server_work import ServerWork


def test_one_item_per_poll_and_arguments_stay_as_they_were() -> None:
    executor = ServerWork()
    array = np.ones(4, dtype=np.float32)
    executor.submit("two", total, array, 2.0)
    executor.submit("three", total, executor.share(array), 3.0)
    assert [executor.poll(), executor.poll(), executor.poll()] == [[("two", 8.0)], [("three", 12.0)], []]
    assert array.sum() == 4  # `total` writes to what it gets


def test_a_failure_comes_as_an_error_with_its_traceback() -> None:
    executor = ServerWork()
    executor.submit("bad", fail)
    [(key, error)] = executor.poll()
    assert key == "bad" and isinstance(error, RunError) and str(error) == "ArithmeticError: no sum"
    assert "in fail" in error.__notes__[0]


def test_threads_are_as_asked_and_then_as_before() -> None:
    before = torch.get_num_threads()
    executor = ServerWork()
    executor.submit("threads", count_threads, threads=before + 1)
    assert executor.poll() == [("threads", before + 1)]
    assert torch.get_num_threads() == before


def test_work_that_another_process_could_not_import_is_refused() -> None:
    with pytest.raises(RunError, match="top of a module"):
        ServerWork().submit("bad", lambda: 1)


def test_an_inline_runtime_collects_the_events_of_both() -> None:
    heard: list[dict] = []
    with open_runtime("inline", [Node(1, "north")], "apps:app", {}, on_event=heard.append) as runtime:
        runtime.executor.submit("total", total, np.ones(2), 1.0)
        runtime.executor.poll()
        events = runtime.events()
        assert [(event.job, event.kind) for event in events] == [("total", "started"), ("total", "training")]
        assert heard == events and runtime.events() == []


def test_busy_has_the_seconds_that_jobs_compute_and_no_others() -> None:
    with open_runtime("inline", [Node(1, "north"), Node(2, "south")], "apps:app", {}) as runtime:
        assert (runtime.busy.sites_seconds, runtime.busy.server_seconds) == (0, 0)
        ask = RecordDict({"ask": ConfigRecord({"seconds": 0.2})})
        ids = runtime.grid.push_messages([Message(ask, node, "query.doze") for node in (1, 2)])
        doze(0.3)  # waiting is no work
        while ids and (replies := runtime.grid.pull_messages(ids)):
            ids = [each for each in ids if each != replies[0].metadata.reply_to_message_id]
        runtime.executor.submit("doze", doze, 0.1)
        runtime.executor.submit("bad", fail)
        assert len(runtime.executor.poll() + runtime.executor.poll()) == 2
        assert runtime.busy.sites_seconds == pytest.approx(0.4, abs=0.1)
        assert runtime.busy.server_seconds == pytest.approx(0.1, abs=0.1)
    broken = [Node(1, "north")]
    with open_runtime("inline", broken, "apps:no_such_app", {}) as runtime:
        [reply] = runtime.grid.send_and_receive([Message(ask, 1, "query.doze")])
        assert reply.has_error() and runtime.busy.sites_seconds < 0.05


@pytest.mark.parametrize("engine", ["spark", "host:", ":1", "host:port"])
def test_an_unknown_engine_is_refused(engine: str) -> None:
    with (
        pytest.raises(UserError, match="local, inline or HOST:PORT"),
        open_runtime(engine, [Node(1, "north")], "apps:app", {}),
    ):
        pass


def test_a_cluster_that_is_not_there_is_named_at_once() -> None:
    with socket.socket() as probe:  # a port that nobody listens at
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        with (
            pytest.raises(RunError, match=f"no Ray cluster answers at {address}"),
            open_runtime(address, [Node(1, "north")], "apps:app", {}),
        ):
            pass
