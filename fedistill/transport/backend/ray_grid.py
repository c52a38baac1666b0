"""Sites as Ray tasks, one per message, each with its own CPUs, GPUs and memory."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedistill.transport.backend.dispatch import Dispatcher
from fedistill.transport.backend.grid import SimulatedGrid
from fedistill.transport.backend.job import about, answer, job_name
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.ray_task import RayTask, ray_options


@dataclass(frozen=True)
class Limits:
    """When a job is given up.

    Args:
        deadline_s: seconds a job may run, counted from its start, never from its sending; None for no limit. The
            process starts with the job, so its imports count: a few seconds for the first job of a worker.
        silence_s: seconds without any event after which a job is taken for hung, cancelled and tried once more.
    """

    deadline_s: float | None = None
    silence_s: float | None = 600.0


class RayGrid(SimulatedGrid):
    """A grid over Ray tasks; see ``Dispatcher`` for retries, limits and how many run at once.

    Args:
        client_app_loader: "module:attribute" of the ClientApp, imported in the workers: nothing is sent by value.
    """

    def __init__(
        self,
        client_app_loader: str,
        nodes: Sequence[Node],
        run_config: Mapping[str, Any],
        *,
        dispatcher: Dispatcher,
        limits: Limits | None = None,
        run_id: int = 1,
    ) -> None:
        super().__init__(nodes, run_config, run_id=run_id)
        self._loader = client_app_loader
        self._dispatcher = dispatcher
        self._limits = limits or Limits()
        self._tasks: dict[str, RayTask] = {}
        for node in nodes:
            dispatcher.require_room(f"site {node.name!r}", ray_options(node.num_cpus, node.num_gpus, node.memory))

    def _queue(self, message_id: str) -> None:
        message = self._sent[message_id]
        node = self.nodes[message.metadata.dst_node_id]

        def payload() -> bytes:
            # Pickled when the task starts, so that only messages under way are in memory twice.
            return pickle.dumps((answer, (self._loader, message, node, self.run_config, self._run.run_id)))

        def done(outcome: Any) -> None:
            del self._tasks[message_id]
            self._finish(message_id, outcome)

        self._tasks[message_id] = RayTask(
            # Evaluating takes moments, and a training chain waits for the answer.
            lane="question" if message.metadata.message_type.startswith("evaluate") else "site",
            job=job_name(message, node),
            about=about(message, node),
            payload=payload,
            done=done,
            options=ray_options(node.num_cpus, node.num_gpus, node.memory),
            threads=node.threads,
            app=self._loader,
            deadline_s=self._limits.deadline_s,
            silence_s=self._limits.silence_s,
        )
        self._dispatcher.submit(self._tasks[message_id])

    def _advance(self, message_ids: Sequence[str]) -> None:
        self._dispatcher.step()

    def _drop(self, message_id: str) -> None:
        self._dispatcher.cancel(self._tasks.pop(message_id))
