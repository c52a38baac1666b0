"""The server's side of the wire: ask sites, compute beside them, await answers. Asynchronous, one thread, no order.

A study is written as plain ``await``s; this file turns them into messages on a grid and items on an executor, and polls
both until everything has come.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedistill.config import Job
from fedistill.errors import ReleaseError, RunError
from fedistill.models import Network
from fedistill.training.metrics import Tally
from fedistill.transport.backend.events import Event
from fedistill.transport.backend.executor import Executor
from fedistill.transport.backend.grid import SimulatedGrid
from fedistill.transport.protocol.message_hash import likeness
from fedistill.transport.protocol.messages import (
    RELEASE,
    SCORE,
    WHO,
    EvalRequest,
    Outcome,
    pack_jobs,
    pack_question,
    shown_line,
    shown_trace,
    unpack_outcomes,
    unpack_tallies,
)
from fedistill.transport.protocol.traffic import Traffic, encoded_size
from fedistill.transport.protocol.training_messages import (
    ALONE,
    LocalTrainReply,
    LocalTrainRequest,
    pack_alone,
    unpack_learned,
)


@dataclass(frozen=True, eq=False)
class Exchange:
    """A message to a site and what came back.

    Args:
        why: one line on why there is no reply that can be used; then trace has the whole traceback where there is one.
        up, down: bytes of the reply and of the message, encoded.
        shared: whether another point of a sweep had asked the same, and this is the answer it got.
    """

    reply: Message
    why: str
    trace: str
    up: int
    down: int
    shared: bool = False


T = TypeVar("T")

NOBODY = (
    "no node says it is this site; with `flwr run .` start as many nodes as there are sites: "
    "--federation-config 'num-supernodes=N'"
)
UNREADABLE = (KeyError, TypeError, ValueError, OverflowError, RecursionError)
"""What reading a hostile reply stumbles over."""
AT_ONCE = 64
"""Messages with networks that are out at a time: packed for a thousand sites at once, they would fill the memory."""
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

    Attributes:
        traffic: bytes across the sites' boundaries.
        begun: work by its key in the store that is done once for all points of a sweep.
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
        self._point = ""
        self._asked: dict[str, asyncio.Task[Message]] = {}
        self._given: dict[str, Any] = {}
        self.begun: dict[str, asyncio.Task[Any]] = {}
        self._with_networks = asyncio.Semaphore(AT_ONCE)
        self.traffic = Traffic()

    def at(self, nodes: Mapping[str, int], point: str) -> "Coordinator":
        """The same wire for one point of a sweep, whose traffic is counted apart.

        Args:
            nodes: addresses of the point's sites.
            point: its label.
        """
        view = copy(self)
        view._nodes, view._point, view.traffic = dict(nodes), point, Traffic()
        return view

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
            self._nodes = self._nodes or await self._who_is_who()
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

    async def _answer(self, message: Message) -> tuple[Message, bool]:
        """The reply, and whether it is another's: what points of a sweep ask alike at one time is asked once."""
        if not self._point:
            return await self._send(message), False
        key = likeness(message)
        shared = key in self._asked
        if not shared:
            if "job" in message.content:
                message.content.config_records["job"]["point"] = self._point  # for people
            self._asked[key] = asyncio.ensure_future(self._send(message))
        try:
            reply = await asyncio.shield(self._asked[key])
        finally:
            self._asked.pop(key, None)
        return deepcopy(reply), shared  # whoever takes a reply may change it

    async def _send(self, message: Message) -> Message:
        [message_id] = self._grid.push_messages([message])
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._replies[message_id] = future
        return await future

    def node_of(self, site: str) -> int | None:
        """Flower's address of a site; None where no node says it is this site."""
        return self._nodes.get(site)

    async def exchange(self, site: str, message: Message, *, purpose: str) -> Exchange:
        """Send a message to a site and count what crosses its boundary, both ways."""
        down = encoded_size(message)
        self.traffic.count(purpose, site, "down", down)
        reply, shared = await self._answer(message)
        up = encoded_size(reply)
        self.traffic.count(purpose, site, "up", up)
        if reply.has_error():
            line, _, trace = (reply.error.reason or "no reason given").partition("\n\n")
            return Exchange(reply, shown_line(line), shown_trace(trace), up, down, shared)
        return Exchange(reply, "", "", up, down, shared)

    async def release(self, job: Job) -> Outcome:
        """What became of a job. Whatever goes wrong becomes an Outcome that says so, never an exception."""
        node = self.node_of(job.site)
        if node is None:
            return Outcome(job.name, job.site, error=NOBODY)
        came = await self.exchange(job.site, Message(pack_jobs([job]), node, RELEASE), purpose=job.scheme)
        if came.why:
            return Outcome(job.name, job.site, error=came.why, trace=came.trace)
        try:
            [outcome] = unpack_outcomes(came.reply.content)
        except UNREADABLE as error:
            return Outcome(job.name, job.site, error=f"a reply that cannot be read: {shown_line(error)}")
        if (outcome.job, outcome.site) != (job.name, job.site):
            found = shown_line(f"{outcome.site!r} for {outcome.job!r}")
            return Outcome(job.name, job.site, error=f"a reply of {found} came for {job.name!r}")
        # What another point has had computed is found here.
        return replace(outcome, found=len(outcome.seconds)) if came.shared else outcome

    async def score(self, site: str, question: EvalRequest) -> list[Tally] | str:
        """A tally for each network of the question; or one line on why there is none."""
        node = self.node_of(site)
        if node is None:
            return NOBODY
        purpose = "choosing recipes" if question.split == "val" else "evaluation at sites"
        async with self._with_networks:
            came = await self.exchange(site, Message(pack_question(question), node, SCORE), purpose=purpose)
        if came.why:
            return came.why
        try:
            return unpack_tallies(came.reply.content)
        except UNREADABLE as error:
            return f"a reply that cannot be read: {shown_line(error)}"

    async def alone(self, request: LocalTrainRequest, network: Network) -> LocalTrainReply | str:
        """Networks a site trained by itself; or one line on why there are none."""
        node = self.node_of(request.site)
        if node is None:
            return NOBODY
        came = await self.exchange(request.site, Message(pack_alone(request), node, ALONE), purpose=request.scheme)
        if came.why:
            return came.why
        try:
            return unpack_learned(came.reply.content, request, network)
        except ReleaseError as error:
            return f"refused by the server: {shown_line(error)}"
        except UNREADABLE as error:
            return f"a reply that cannot be read: {shown_line(error)}"

    async def compute(self, key: str, function: Callable[..., Any], *args: Any, threads: int, gpus: float = 0.0) -> Any:
        """``function(*args)`` on the server's executor, with so many threads and such a share of a GPU.

        Raises:
            RunError: it raised.
        """
        if key in self._results:
            raise RunError(f"{key!r} is already being computed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._results[key] = future
        about = {"point": self._point} if self._point else None
        self._executor.submit(key, function, *args, num_gpus=gpus, threads=threads, about=about)
        return await future

    def share_once(self, name: str, make: Callable[[], Any]) -> Any:
        """A large value that many computations take, handed over once for all points of a sweep.

        Args:
            name: of its content.
        """
        if name not in self._given:
            self._given[name] = self._executor.share(make())
        return self._given[name]

    def kept_once(self, name: str, value: T) -> T:
        """The value, or the equal one that another point of a sweep came with: large ones are in memory once.

        Args:
            name: of its content.
        """
        kept: T = self._given.setdefault(name, value)
        return kept


def _settle(future: "asyncio.Future[Any]", result: Any) -> None:
    """Hand an answer to who awaits it; nobody may, once another arm has failed."""
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
