"""The loop that answers at a hospital with its own installed code, whatever code a run was submitted with.

A Flower SuperNode would install the app that came with the run and let that answer, so whoever may submit a run could
replace a site's policy. Here the SuperNode is told that somebody else runs its apps (``--isolation process``), and that
is this file: it fetches messages from the SuperNode beside it and hands them to `fedistill.transport.site.app` as
installed here. The code that came with the run is not unpacked, the run's settings are not read, and what the site
knows of itself comes from its own file alone.

Like ``flower_internals.py``, this file uses private names of Flower; ``tests/deployment`` tests them against its
versions.
"""

import _thread
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from flwr.app import Error, Message
from flwr.proto.runtime_pb2 import AcquireTaskRequest, SendTaskHeartbeatRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime.run_clientapp import pull_task_input, push_message, push_task_output

from fedistill.core.events import Event, OnEvent
from fedistill.core.json_lines import append_line
from fedistill.core.text import printable
from fedistill.transport.backend.events import delivered_to, emitter
from fedistill.transport.backend.failure import WAITS, Failure, class_of
from fedistill.transport.backend.job import answer, attempt, job_name
from fedistill.transport.backend.nodes import Node
from fedistill.transport.flower_internals import acting_as
from fedistill.transport.protocol.messages import RELEASE
from fedistill.transport.site.request_log import request_events

APP = "fedistill.transport.site.app:app"
POLL_SECONDS = 1.0
BEAT_SECONDS = 10.0
RETRY_SECONDS = 60.0
"""Longest wait for the SuperNode beside to take a reply; Flower's own would try one that has ended without end."""
REFUSALS = ("PolicyError", "LedgerError", "WaitsError")
"""Errors by which a site says no: their words go out."""
PATHS = ("ledger", "store", "data-root", "agreements", "secret")
"""Keys of node_config that hold local paths; they are redacted from outgoing errors."""
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


def answer_while(
    goes_on: Callable[[], bool],
    address: str,
    secret: bytes,
    node: Mapping[str, str | int | bool],
    *,
    threads: int,
    log: Path,
    tell: Callable[[str], None],
) -> None:
    """Answer messages one after another.

    Args:
        goes_on: asked between messages.
        address: HOST:PORT of the SuperNode beside this process.
        secret: that it knows this process by.
        node: what the site knows of itself.
        threads: torch threads of each job.
        log: where events go, a JSON object a line. They stay at the site.
        tell: told in a line what was asked and how that went.
    """
    site, sink = Node(1, str(node["site"]), node, threads=threads), _sink_to(log)
    auth = SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods={_ACQUIRE})
    waiting = _client(address, auth, retries=None)  # each failure comes back here, where a SuperNode's end is seen
    known = [str(TaskType.CLIENT_APP), str(TaskType.AGENT_APP)]  # the second to be refused, lest it be waited for
    while goes_on():
        try:
            task = waiting.AcquireTask(AcquireTaskRequest(supported_task_types=known))
        except httpx.HTTPError:
            time.sleep(POLL_SECONDS)  # the SuperNode is busy, or ending
            continue
        if task.HasField("task") and task.token:
            retries = make_simple_http_retry_invoker()
            retries.max_time = RETRY_SECONDS
            tell(_one(_client(address, RuntimeTokenHttpInterceptor(task.token), retries=retries), site, sink))
        else:
            time.sleep(POLL_SECONDS)


def _one(client: Any, node: Node, sink: OnEvent) -> str:
    """Fetch one message, have the installed app answer it, send the reply; return in a line how that went."""
    beat = _Beat(client)
    start, name = time.monotonic(), "a message"
    try:
        message, context, run, _ = pull_task_input(client)  # the last is the run's own code: it is left packed
        here = replace(node, node_id=context.node_id)
        kind = printable(message.metadata.message_type, most=60)
        name = f"run {run.run_id}, {kind}, {job_name(message, here)}"
        with delivered_to(sink, {"run": run.run_id, "site": node.name}):
            on_event = emitter(job_name(message, here))
            outcome = attempt(_logged, message, here, run.run_id, on_event)
            beat.end()
            with acting_as(run.run_id, context.node_id):
                reply, how = _discreet(outcome, message, on_event, own=node.config)
        push_message(client, reply, context)
        push_task_output(client, context, "completed", "")
        return f"{name}: {how} ({time.monotonic() - start:.0f} s)"
    except KeyboardInterrupt:
        if not beat.given_up:
            raise
        return f"{name}: given up, for the run was stopped"
    except httpx.HTTPError as error:
        return f"{name}: lost, {error}"
    finally:
        beat.end()
        client.close()


def _logged(message: Message, here: Node, run_id: int, on_event: OnEvent) -> Message:
    """Answer a message when the log has it: what cannot be logged is not answered."""
    for event in request_events(message, run_id=run_id):
        on_event(event)
    on_event(Event("started", message=printable(message.metadata.message_type, most=60)))
    return answer(APP, message, here, {}, run_id)


def _discreet(
    outcome: Message | Failure, message: Message, on_event: OnEvent, *, own: Mapping[str, str | int | bool | float]
) -> tuple[Message, str]:
    """Return the reply without details of this site's machine and data, and the outcome in words.

    Only the site's own log gets the full error.

    A policy's refusal goes out as it is, but for where the site keeps its files; of an error, its kind.

    Args:
        outcome: the handler's reply, or its failure.
        message: the request.
        on_event: writes to the site's own log.
        own: what the site knows of itself.
    """
    if isinstance(outcome, Failure):
        refused, held = outcome.error in REFUSALS, outcome.error == "WaitsError"
        on_event(Event("waiting" if held else "refused" if refused else "failed", message=outcome.reason))
        line = _placeless(outcome.line, own) if refused else _outside(outcome.error)
        code = WAITS if held else outcome.code
        return Message(Error(code=code, reason=line), reply_to=message), printable(outcome.line)
    reply = outcome
    how = []
    if message.metadata.message_type == RELEASE and reply.has_content():
        for record in reply.content.config_records.values():
            if record.get("error"):
                line, trace = str(record["error"]), str(record["trace"])
                on_event(Event("failed", message=f"{line}\n\n{trace}"))
                record["error"], record["trace"] = _outside(class_of(line)), ""
                how.append(line)
            elif record.get("waits"):
                on_event(Event("waiting", message=str(record["waits"])))
                how.append(str(record["waits"]))
            elif record.get("refused"):
                on_event(Event("refused", message=str(record["refused"])))
                how.append(str(record["refused"]))
                record["refused"] = _placeless(str(record["refused"]), own)
    on_event(Event("answered"))
    return reply, printable("; ".join(dict.fromkeys(how)) or "answered", most=1000)


def _placeless(text: str, own: Mapping[str, str | int | bool | float]) -> str:
    """Return a refusal without the site's paths.

    >>> _placeless("The ledger /ward/ledger.jsonl cannot be read.", {"ledger": "/ward/ledger.jsonl", "data-root": ""})
    'The ledger (a path of the site) cannot be read.'
    """
    for path in sorted((str(own[name]) for name in PATHS if own.get(name)), key=len, reverse=True):
        text = text.replace(path, "(a path of the site)")
    return text


def _outside(error: str) -> str:
    """Return what others are told of an error.

    >>> _outside("DataError")
    'DataError at the site, whose own log says more'
    """
    return f"{error} at the site, whose own log says more"


class _Beat:
    """Says that the work goes on, until it ends; interrupts it where nobody waits for it.

    Attributes:
        given_up: whether it did.
    """

    def __init__(self, client: Any) -> None:
        self.given_up = False
        self._client, self._ended = client, threading.Event()
        threading.Thread(target=self._go_on, daemon=True).start()

    def end(self) -> None:
        self._ended.set()

    def _go_on(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                wanted = self._client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success
            except httpx.HTTPError:
                continue  # the SuperNode beside may be slow; where it has ended, that is seen after the work
            if not wanted and not self._ended.is_set():
                self.given_up = True
                _thread.interrupt_main()
                return


def _client(address: str, *interceptors: Any, retries: Any) -> Any:
    return RuntimeHttpClient.from_server_address(
        server_address=address,
        insecure=True,  # within one machine; who may fetch messages is settled by the secret
        root_certificates=None,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="fedistill"), *interceptors],
        retry_invoker=retries,
    )


def _sink_to(path: Path) -> OnEvent:
    path.parent.mkdir(parents=True, exist_ok=True)

    return lambda event: append_line(path, event.as_json())
