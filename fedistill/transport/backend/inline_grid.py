"""Sites in the driver's own process, one job at a time: ``--engine inline``. The readable twin of the Ray grid."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from flwr.clientapp import ClientApp

from fedistill.transport.backend.compute_time import Busy
from fedistill.transport.backend.events import Sink, delivered_to, emitter
from fedistill.transport.backend.failure import Failure
from fedistill.transport.backend.grid import SimulatedGrid
from fedistill.transport.backend.job import about, answer, attempt, job_name, load
from fedistill.transport.backend.nodes import Node


class InlineGrid(SimulatedGrid):
    """A grid that runs the oldest waiting message in this process, one at each pull.

    Between two pulls the driver can report and train.

    A job cannot be interrupted from within its own process, so there are no deadlines here: a handler that hangs,
    hangs the run. GPUs and memory are not set aside.

    Args:
        client_app: the sites' ClientApp, or "module:attribute".
        sink: called with each event as it happens, while the job runs.
        busy: where the seconds that jobs compute are entered.
    """

    def __init__(
        self,
        client_app: ClientApp | str,
        nodes: Sequence[Node],
        run_config: Mapping[str, Any],
        *,
        sink: Sink = lambda event: None,
        busy: Busy | None = None,
        run_id: int = 1,
    ) -> None:
        super().__init__(nodes, run_config, run_id=run_id)
        self._app = client_app
        self._sink = sink
        self._busy = busy or Busy()

    def _queue(self, message_id: str) -> None:
        pass  # what was sent and not answered is the queue

    def _drop(self, message_id: str) -> None:
        pass

    def _advance(self, message_ids: Sequence[str]) -> None:
        message_id = min(self._unanswered(message_ids), key=int)
        message = self._sent[message_id]
        node = self.nodes[message.metadata.dst_node_id]
        said = about(message, node)
        with delivered_to(lambda event: self._sink({**said, **event})):
            emitter(job_name(message, node))({"stage": "started"})
            app = attempt(load, self._app) if isinstance(self._app, str) else self._app
            start = time.perf_counter()
            outcome = (
                app
                if isinstance(app, Failure)
                else attempt(answer, app, message, node, self.run_config, self._run.run_id)
            )
            self._busy.add("site", time.perf_counter() - start)
        self._finish(message_id, outcome)
