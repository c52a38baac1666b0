"""The server's side of the wire: ask sites, compute beside them, await answers. Asynchronous, one thread, no order.

A study is written as plain ``await``s; this file turns them into messages on a grid and items on an executor, and polls
both until everything has come.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedistill.errors import RunError
from fedistill.federation.events import Event
from fedistill.federation.executor import Executor
from fedistill.federation.grid import SimulatedGrid
from fedistill.federation.messages import (
    RELEASE,
    SCORE,
    WHO,
    Outcome,
    Question,
    pack_jobs,
    pack_question,
    unpack_outcomes,
    unpack_tallies,
)
from fedistill.plan import Job
from fedistill.training.metrics import Tally

NOBODY = (
    "no node says it is this site; with `flwr run .` start as many nodes as there are sites: "
    "--federation-config 'num-supernodes=N'"
)
IDLE_SECONDS = 0.02
WAIT_FOR_SITES_SECONDS = 60.0


class Coordinator:
    """Sites and server work, to be awaited.

    Args:
        grid: Flower's.
        executor: for the server's own work.
        sites: names in order.
        events: what has happened since it was last called.
        on_event: told of each event.
    """

    def __init__(
        self,
        grid: Grid,
        executor: Executor,
        sites: tuple[str, ...],
        *,
        events: Callable[[], list[Event]] = list,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._grid, self._executor, self._sites = grid, executor, sites
        self._events, self._on_event = events, on_event
        self._replies: dict[str, asyncio.Future[Message]] = {}
        self._results: dict[str, asyncio.Future[Any]] = {}
        self._nodes: dict[str, int] = {}

    def conduct(self, study: Awaitable[Any]) -> Any:
        """Run a study to its end, polling as long as it waits."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._conduct(study))
        with ThreadPoolExecutor(1) as thread:  # called from a notebook, whose own loop is running in this thread
            return thread.submit(asyncio.run, self._conduct(study)).result()

    async def _conduct(self, study: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            self._nodes = await self._who_is_who()
            return await study

        task = asyncio.ensure_future(whole())
        try:
            while not task.done():
                self._poll()
                # Let every continuation run that an answer has made ready, before waiting again.
                await asyncio.sleep(0 if self._replies or self._results else IDLE_SECONDS)
                await asyncio.sleep(0)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._poll_events()

    def _poll(self) -> None:
        if self._replies:
            for reply in self._grid.pull_messages(list(self._replies)):
                _settle(self._replies.pop(reply.metadata.reply_to_message_id), reply)
        for key, result in self._executor.poll():
            _settle(self._results.pop(key), result)
        self._poll_events()

    def _poll_events(self) -> None:
        for event in self._events():
            self._on_event(event)

    async def _who_is_who(self) -> dict[str, int]:
        """Node ids by site. On our own grids they are the sites' order; elsewhere the nodes are asked."""
        if isinstance(self._grid, SimulatedGrid):
            return {node.name: node_id for node_id, node in self._grid.nodes.items()}
        waited = 0.0
        while len(ids := list(self._grid.get_node_ids())) < len(self._sites) and waited < WAIT_FOR_SITES_SECONDS:
            await asyncio.sleep(0.5)
            waited += 0.5
        found = {}
        for node_id in ids:
            reply = await self._send(Message(RecordDict({"job": ConfigRecord({"name": "who"})}), node_id, WHO))
            if not reply.has_error():
                found[str(reply.content.config_records["who"]["site"])] = node_id
        return found

    async def _send(self, message: Message) -> Message:
        [message_id] = self._grid.push_messages([message])
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._replies[message_id] = future
        return await future

    async def release(self, job: Job) -> Outcome:
        """What became of a job. Whatever goes wrong becomes an Outcome that says so, never an exception."""
        if job.site not in self._nodes:
            return Outcome(job.name, job.site, error=NOBODY)
        reply = await self._send(Message(pack_jobs([job]), self._nodes[job.site], RELEASE))
        if reply.has_error():
            line, _, trace = (reply.error.reason or "no reason given").partition("\n\n")
            return Outcome(job.name, job.site, error=line, trace=trace)
        try:
            [outcome] = unpack_outcomes(reply.content)
        except (KeyError, TypeError, ValueError) as error:
            return Outcome(job.name, job.site, error=f"a reply that cannot be read: {error}")
        if (outcome.job, outcome.site) != (job.name, job.site):
            found = f"{outcome.site!r} for {outcome.job!r}"
            return Outcome(job.name, job.site, error=f"a reply of {found} came for {job.name!r}")
        return outcome

    async def score(self, site: str, question: Question) -> list[Tally] | str:
        """A tally a network of a site's validation images; or one line on why there is none."""
        if site not in self._nodes:
            return NOBODY
        reply = await self._send(Message(pack_question(question), self._nodes[site], SCORE))
        if reply.has_error():
            return (reply.error.reason or "no reason given").partition("\n\n")[0]
        try:
            return unpack_tallies(reply.content)
        except (KeyError, TypeError, ValueError) as error:
            return f"a reply that cannot be read: {error}"

    async def compute(self, key: str, function: Callable[..., Any], *args: Any, threads: int, gpus: float = 0.0) -> Any:
        """``function(*args)`` on the server's executor, with so many threads and such a share of a GPU.

        Raises:
            RunError: it raised.
        """
        if key in self._results:
            raise RunError(f"{key!r} is already being computed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._results[key] = future
        self._executor.submit(key, function, *args, num_gpus=gpus, threads=threads)
        return await future

    def share(self, value: Any) -> Any:
        """A large value that many computations take, handed over once."""
        return self._executor.share(value)


def _settle(future: "asyncio.Future[Any]", result: Any) -> None:
    """Hand an answer to who awaits it; nobody may, once another arm has failed."""
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
