"""The sites of a simulation as Flower sees them: a grid whose every message is a task of the backend."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flwr.app import Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from fedistill.errors import PlanError, RunError
from fedistill.transport.backend.base import Backend, BackendTask, ray_options
from fedistill.transport.backend.failure import CANCELLED, Failure
from fedistill.transport.backend.inline import InlineBackend
from fedistill.transport.backend.job import about, answer, job_name
from fedistill.transport.backend.nodes import Node
from fedistill.transport.flower_internals import Run, become_server, empty_run, stamped


@dataclass(frozen=True)
class Limits:
    """When a site's job is given up; nobody keeps these inline.

    Args:
        deadline_s: seconds a job may run, counted from its start, never from its sending; None for no limit. The
            process starts with the job, so its imports count: a few seconds for the first job of a worker.
        silence_s: seconds without any event after which a job is taken for hung, cancelled and tried once more.
    """

    deadline_s: float | None = None
    silence_s: float | None = 600.0


class SiteGrid(Grid):
    """A ``flwr.serverapp.Grid`` whose sites are tasks of a backend, one a message.

    So the same ServerApp, ClientApp and Flower strategies run on it unchanged.

    - Every message gets exactly one reply; what goes wrong becomes a reply with an error, never a missing one.
    - Replies are sorted by (site, order of sending), never by arrival.
    - A site's handlers keep nothing between messages: ``context.state`` is empty at each.

    Args:
        client_app: the sites' ClientApp, or "module:attribute", which is all that Ray's workers can be told.
        backend: in this process unless given.
    """

    def __init__(
        self,
        client_app: ClientApp | str,
        nodes: Sequence[Node],
        run_config: Mapping[str, Any],
        *,
        backend: Backend | None = None,
        limits: Limits | None = None,
        run_id: int = 1,
    ) -> None:
        self._app, self._backend, self._limits = client_app, backend or InlineBackend(), limits or Limits()
        self._tasks: dict[str, BackendTask] = {}
        for node in nodes:
            options = ray_options(node.num_cpus, node.num_gpus, node.memory)
            self._backend.require_room(f"site {node.name!r}", options)
        self.nodes = {node.node_id: node for node in nodes}
        if len(self.nodes) != len(nodes):
            ids = [node.node_id for node in nodes]
            raise PlanError("Two sites have the same node id.", expected="each site its own", found=ids)
        self.run_config = dict(run_config)
        self._run = empty_run(run_id)
        self._place = {node_id: place for place, node_id in enumerate(self.nodes)}
        self._sent: dict[str, Message] = {}  # every message not yet pulled
        self._replies: dict[str, Message] = {}  # those of them that were answered
        self._count = 0
        become_server(run_id)

    @property
    def run(self) -> Run:
        """Return Flower's description of the run."""
        return self._run

    def set_run(self, run: Run) -> None:
        """Take another description of the run; messages created from now on carry its id."""
        self._run = run
        become_server(run.run_id)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message to a site, as ``flwr.app.Message(...)`` does."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> list[int]:
        """Return the sites' node ids, in the order of the sites."""
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Queue messages and return their ids, in order. Nothing need have started yet.

        Raises:
            RunError: for a message to a site that is not in this run.
        """
        messages = list(messages)
        for message in messages:
            if message.metadata.dst_node_id not in self.nodes:
                raise RunError(
                    "A message is addressed to no site of this run.",
                    expected=f"one of {self.get_node_ids()}",
                    found=message.metadata.dst_node_id,
                )
        pushed = []
        for message in messages:
            self._count += 1
            message_id = str(self._count)
            self._sent[message_id] = stamped(message, message_id)
            self._queue(message_id)
            pushed.append(message_id)
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that have arrived to these messages, each once. Waits a moment at most if it can.

        Ids whose replies were pulled before are passed over.

        Raises:
            RunError: for an id that was never handed out: its reply would be waited for without end.
        """
        wanted = list(dict.fromkeys(message_ids))
        for message_id in wanted:
            if not (message_id.isdecimal() and 0 < int(message_id) <= self._count):
                raise RunError("No message has this id.", found=repr(message_id))
        open_ids = [message_id for message_id in wanted if message_id in self._sent]
        if any(message_id not in self._replies for message_id in open_ids):
            self._backend.step()
        return self._hand_out(open_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push, then pull until every reply is there.

        After ``timeout`` seconds, queueing included, the rest is cancelled and answered with an error: nobody else
        knows those messages' ids, and a job without a reader would only hold up the next round.
        """
        ids = self.push_messages(messages)
        end = None if timeout is None else time.monotonic() + timeout
        while self._unanswered(ids):
            if end is not None and time.monotonic() >= end:
                self.cancel(ids, Failure(CANCELLED, f"no answer within the {timeout:g} s that the server waits"))
                break
            self._backend.step()
        return self._hand_out(ids)

    def cancel(self, message_ids: Iterable[str], failure: Failure | None = None) -> None:
        """Give up on messages; those not yet answered get an error as their reply."""
        for message_id in self._unanswered(message_ids):
            self._drop(message_id)
            self._finish(message_id, failure or Failure(CANCELLED, "cancelled by the server"))

    def _finish(self, message_id: str, outcome: Message | Failure) -> None:
        """Turn what came of a message into its reply."""
        sent = self._sent[message_id]
        if isinstance(outcome, Failure):
            reply = Message(Error(code=outcome.code, reason=outcome.reason), reply_to=sent)
        else:
            reply = outcome
        self._replies[message_id] = stamped(reply, f"{message_id}-reply")

    def _unanswered(self, message_ids: Iterable[str]) -> list[str]:
        return [each for each in message_ids if each in self._sent and each not in self._replies]

    def _hand_out(self, message_ids: Iterable[str]) -> list[Message]:
        ready = [each for each in message_ids if each in self._replies]
        ready.sort(key=lambda each: (self._place[self._sent[each].metadata.dst_node_id], int(each)))
        for each in ready:
            del self._sent[each]
        return [self._replies.pop(each) for each in ready]

    def _queue(self, message_id: str) -> None:
        """Put a sent message in line."""
        message = self._sent[message_id]
        node = self.nodes[message.metadata.dst_node_id]

        def done(outcome: Message | Failure) -> None:
            del self._tasks[message_id]
            self._finish(message_id, outcome)

        self._tasks[message_id] = BackendTask(
            # Evaluating takes moments, and a training chain waits for the answer.
            "question" if message.metadata.message_type.startswith("evaluate") else "site",
            job_name(message, node),
            answer,
            (self._app, message, node, self.run_config, self._run.run_id),
            done,
            num_cpus=node.num_cpus,
            num_gpus=node.num_gpus,
            memory=node.memory,
            threads=node.threads,
            about=about(message, node),
            app=self._app if isinstance(self._app, str) else "",
            deadline_s=self._limits.deadline_s,
            silence_s=self._limits.silence_s,
        )
        self._backend.submit(self._tasks[message_id])

    def _drop(self, message_id: str) -> None:
        """Take an unanswered message out of line, or stop its job."""
        self._backend.cancel(self._tasks.pop(message_id))
