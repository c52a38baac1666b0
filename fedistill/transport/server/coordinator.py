"""The server's side of the wire: requests to sites and the server's own computations, asynchronous in one thread.

A study consists of plain ``await``s; this file turns them into messages on a grid and items on an executor, and polls
both until all results have arrived.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedistill.config import Job
from fedistill.core.events import Event, OnEvent, ignore, now
from fedistill.errors import ReleaseError, RunError
from fedistill.models import Network
from fedistill.training.metrics import Tally
from fedistill.transport.backend.failure import WAITS
from fedistill.transport.backend.server_work import ServerWork
from fedistill.transport.backend.site_grid import SiteGrid
from fedistill.transport.protocol.guided import GUIDED, GuidedRequest, pack_guided
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
from fedistill.transport.protocol.named import pack_named
from fedistill.transport.protocol.traffic import Traffic, encoded_size
from fedistill.transport.protocol.training_messages import (
    ALONE,
    LocalTrainReply,
    LocalTrainRequest,
    pack_alone,
    releases_record,
    unpack_learned,
)


@dataclass(frozen=True, eq=False)
class Exchange:
    """A message to a site and its reply.

    Args:
        reply: of the site, or Flower's error.
        why: one-line reason why the reply is unusable; empty if it is usable.
        trace: the traceback, if there is one.
        up, down: size in bytes of the encoded reply and message.
        shared: whether the reply answers an equal request of another point of a sweep.
    """

    reply: Message
    why: str
    trace: str
    up: int
    down: int
    shared: bool = False


T = TypeVar("T")

NOBODY = (
    "no connected node is this site; with `flwr run .` start as many nodes as there are sites: "
    "--federation-config 'num-supernodes=N'"
)
UNREADABLE = (KeyError, TypeError, ValueError, OverflowError, RecursionError)
"""Exceptions that reading a hostile reply may raise."""
AT_ONCE = 64
"""Most messages with networks in flight: messages to a thousand sites at once would fill the memory."""
IDLE_SECONDS = 0.02
REVIEW_SECONDS = 20.0
"""Between two questions whether people at a site have looked at an answer."""
WAIT_FOR_SITES_SECONDS = 60.0


class Coordinator:
    """Awaitable requests to sites and computations of the server.

    Args:
        grid: Flower's.
        executor: for the server's own work.
        sites: names, in the federation's order.
        events: returns the events since its last call.
        on_event: receives each event.
        study: HASH of the study that deployed sites agreed to, whose items they are asked for by name; empty in a
            simulation, whose sites are told what to do.
        review_s: seconds that a deployed site's people have to look at an answer, before the run goes on without it.
        notes: what sites said before the run, a line each.

    Attributes:
        traffic: bytes across the sites' boundaries.
        begun: work shared by all points of a sweep, by its key in the store.
    """

    study: str = ""
    notes: tuple[str, ...] = ()
    _review_s: float = 0.0

    def __init__(
        self,
        grid: Grid,
        executor: ServerWork,
        sites: tuple[str, ...],
        *,
        events: Callable[[], list[Event]] = list,
        on_event: OnEvent = ignore,
        study: str = "",
        review_s: float = 0.0,
        notes: Sequence[str] = (),
    ) -> None:
        self.notes = tuple(notes)
        self.study, self._review_s = study, review_s
        self._grid, self._executor, self._sites = grid, executor, sites
        self._events, self._on_event = events, on_event
        self._replies: dict[str, asyncio.Future[Message]] = {}
        self._results: dict[str, asyncio.Future[Any]] = {}
        self._nodes: dict[str, int] = {}
        self._point = ""
        self._pending: dict[str, asyncio.Task[Message]] = {}
        self._shared: dict[str, Any] = {}
        self.begun: dict[str, asyncio.Task[Any]] = {}
        self._with_networks = asyncio.Semaphore(AT_ONCE)
        self.traffic = Traffic()

    def at(self, nodes: Mapping[str, int], point: str) -> "Coordinator":
        """Return a coordinator on the same wire for one point of a sweep, with its own traffic.

        Args:
            nodes: Flower's node ids of the point's sites, by name.
            point: its label.
        """
        view = copy(self)
        view._nodes, view._point, view.traffic = dict(nodes), point, Traffic()
        return view

    def conduct(self, study: Awaitable[Any]) -> Any:
        """Run a study to its end, polling grid and executor while it waits; return its result."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._conduct(study))
        with ThreadPoolExecutor(1) as thread:  # a notebook's loop is running in this thread
            return thread.submit(asyncio.run, self._conduct(study)).result()

    async def _conduct(self, study: Awaitable[Any]) -> Any:
        async def whole() -> Any:
            self._nodes = self._nodes or await self._who_is_who()
            return await study

        task = asyncio.ensure_future(whole())
        try:
            while not task.done():
                self._poll()
                # Let every continuation that is ready run before waiting again.
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
        """Return node ids by site: as our own grids know them; on another grid, as the nodes say."""
        if isinstance(self._grid, SiteGrid):
            return {node.name: node_id for node_id, node in self._grid.nodes.items()}
        waited = 0.0
        while len(ids := list(self._grid.get_node_ids())) < len(self._sites) and waited < WAIT_FOR_SITES_SECONDS:
            await asyncio.sleep(0.5)
            waited += 0.5
        nodes = {}
        for node_id in ids:
            reply = await self._send(Message(RecordDict({"job": ConfigRecord({"name": "who"})}), node_id, WHO))
            if not reply.has_error():
                nodes[str(reply.content.config_records["who"]["site"])] = node_id
        return nodes

    async def _request(self, message: Message) -> tuple[Message, bool]:
        """Return the reply, and whether it is shared: equal requests of a sweep's points at one time are sent once."""
        if not self._point:
            return await self._send(message), False
        key = likeness(message)
        shared = key in self._pending
        if not shared:
            if "job" in message.content:
                message.content.config_records["job"]["point"] = self._point  # for people
            self._pending[key] = asyncio.ensure_future(self._send(message))
        try:
            reply = await asyncio.shield(self._pending[key])
        finally:
            self._pending.pop(key, None)
        return deepcopy(reply), shared  # callers may change their reply

    async def _send(self, message: Message) -> Message:
        [message_id] = self._grid.push_messages([message])
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._replies[message_id] = future
        return await future

    def node_of(self, site: str) -> int | None:
        """Return Flower's node id of a site; None if no connected node is this site."""
        return self._nodes.get(site)

    def content(self, items: Sequence[str], spelt: Callable[[], RecordDict], beside: Mapping[str, Any]) -> RecordDict:
        """Return what a message to a site says: the names of items to a deployed one, and to others what to do.

        Args:
            items: names of what is asked for.
            spelt: packs all of it, for a simulation.
            beside: record that goes with the names.
        """
        return pack_named(self.study, items, beside) if self.study else spelt()

    async def exchange(self, site: str, message: Message, *, purpose: str) -> Exchange:
        """Send a message to a site, await the reply, and count the bytes of both.

        While people at the site look at the answer, it is asked for again from time to time.
        """
        exchange = await self._exchange(site, message, purpose=purpose)
        until = time.monotonic() + self._review_s
        while waits(exchange.reply) and time.monotonic() < until:
            self._on_event(now("waiting", job=site, site=site, message=shown_line(waits(exchange.reply))))
            await asyncio.sleep(min(REVIEW_SECONDS, max(0.0, until - time.monotonic())))
            again = Message(message.content, message.metadata.dst_node_id, message.metadata.message_type)
            exchange = await self._exchange(site, again, purpose=purpose)
        return exchange

    async def _exchange(self, site: str, message: Message, *, purpose: str) -> Exchange:
        down = encoded_size(message)
        self.traffic.count(purpose, site, "down", down)
        reply, shared = await self._request(message)
        up = encoded_size(reply)
        self.traffic.count(purpose, site, "up", up)
        if reply.has_error():
            line, _, trace = (reply.error.reason or "no reason given").partition("\n\n")
            return Exchange(reply, shown_line(line), shown_trace(trace), up, down, shared)
        return Exchange(reply, "", "", up, down, shared)

    async def release(self, job: Job) -> Outcome:
        """Return the outcome of a job; a failure becomes an Outcome with its reason, never an exception."""
        node = self.node_of(job.site)
        if node is None:
            return Outcome(job.name, job.site, error=NOBODY)
        content = self.content([job.name], lambda: pack_jobs([job]), {})
        return await self._outcome(job, Message(content, node, RELEASE))

    async def guided_release(self, request: GuidedRequest) -> Outcome:
        """Return the outcome of one round of images, as `release` does. Only a simulation's sites answer it."""
        node = self.node_of(request.job.site)
        if node is None:
            return Outcome(request.job.name, request.job.site, error=NOBODY)
        async with self._with_networks:
            return await self._outcome(request.job, Message(pack_guided(request), node, GUIDED))

    async def _outcome(self, job: Job, message: Message) -> Outcome:
        exchange = await self.exchange(job.site, message, purpose=job.scheme)
        if exchange.why:
            return Outcome(job.name, job.site, error=exchange.why, trace=exchange.trace)
        try:
            [outcome] = unpack_outcomes(exchange.reply.content)
        except UNREADABLE as error:
            return Outcome(job.name, job.site, error=f"a reply that cannot be read: {shown_line(error)}")
        if (outcome.job, outcome.site) != (job.name, job.site):
            answered = shown_line(f"{outcome.site!r} for {outcome.job!r}")
            return Outcome(job.name, job.site, error=f"{job.name!r} was answered with a reply of {answered}")
        if outcome.waits:
            return replace(outcome, error=outcome.waits)
        # Another point of the sweep has had these budgets computed.
        return replace(outcome, found=len(outcome.seconds)) if exchange.shared else outcome

    async def score(self, site: str, question: EvalRequest) -> list[Tally] | str:
        """Return a tally for each network of the question; or a one-line reason why there is none."""
        node = self.node_of(site)
        if node is None:
            return NOBODY
        packed = pack_question(question)
        content = self.content([question.name], lambda: packed, {"networks": packed["networks"]})
        purpose = "choosing recipes" if question.split == "val" else "evaluation at sites"
        async with self._with_networks:
            exchange = await self.exchange(site, Message(content, node, SCORE), purpose=purpose)
        if exchange.why:
            return exchange.why
        try:
            return unpack_tallies(exchange.reply.content)
        except UNREADABLE as error:
            return f"a reply that cannot be read: {shown_line(error)}"

    async def train_locally(self, request: LocalTrainRequest, network: Network) -> LocalTrainReply | str:
        """Return the networks that a site trained to the end; or a one-line reason why there are none."""
        node = self.node_of(request.site)
        if node is None:
            return NOBODY
        content = self.content([request.name], lambda: pack_alone(request), releases_record(request.releases))
        exchange = await self.exchange(request.site, Message(content, node, ALONE), purpose=request.scheme)
        if exchange.why:
            return exchange.why
        try:
            return unpack_learned(exchange.reply.content, request, network)
        except ReleaseError as error:
            return f"refused by the server: {shown_line(error)}"
        except UNREADABLE as error:
            return f"a reply that cannot be read: {shown_line(error)}"

    async def compute(self, key: str, function: Callable[..., Any], *args: Any, threads: int, gpus: float = 0.0) -> Any:
        """Return ``function(*args)``, computed on the server's executor with these threads and this share of a GPU.

        Raises:
            RunError: the function raised.
        """
        if key in self._results:
            raise RunError(f"{key!r} is already being computed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._results[key] = future
        about = {"point": self._point} if self._point else None
        self._executor.submit(key, function, *args, num_gpus=gpus, threads=threads, about=about)
        return await future

    def share_once(self, name: str, make: Callable[[], Any]) -> Any:
        """Hand a large value to the workers once for all points of a sweep, and return its reference.

        ``name`` identifies the content; ``make`` computes it if it is new.
        """
        if name not in self._shared:
            self._shared[name] = self._executor.share(make())
        return self._shared[name]

    def kept_once(self, name: str, value: T) -> T:
        """Return this value, or the equal one of another point of a sweep, so that memory holds it once.

        ``name`` identifies the content.
        """
        kept: T = self._shared.setdefault(name, value)
        return kept


def waits(reply: Message) -> str:
    """Return why a deployed site's answer waits there; empty where it does not."""
    if reply.has_error():
        return str(reply.error.reason) if reply.error.code == WAITS else ""
    for name, record in reply.content.config_records.items():
        if name.startswith("outcome-") and record.get("waits"):
            return str(record["waits"])
    return ""


def _settle(future: "asyncio.Future[Any]", result: Any) -> None:
    """Set the result of a future, unless it was cancelled because another condition failed."""
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
