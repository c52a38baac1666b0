"""A grid of real nodes, as a study sees it: one message at a time to each, many jobs in it, and an end to waiting.

A message to a real node costs seconds, so items that wait for one node go out in one message, Releases alone.
A node that has died sends nothing, no error either; so what it does not answer in time is answered here, with an error
that names the time, and it is asked nothing more in this run unless it is heard of again.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from fedistill.transport.backend.failure import DEADLINE, RAISED
from fedistill.transport.flower_internals import Run, stamped
from fedistill.transport.protocol.messages import RELEASE, pack_outcomes, unpack_outcomes
from fedistill.transport.protocol.named import items_in, pack_named

EVERY_SECONDS = 0.5
LIVES_SECONDS = 3600.0
"""Time beyond its deadline for which Flower keeps a message, so that none expires on its way."""


@dataclass(frozen=True)
class SentMessage:
    """A message on its way.

    Args:
        node: to whom; parts: what was asked, each of which is owed a reply.
        until: by the clock, when it is given up; allowed: seconds from its sending until then.
    """

    node: int
    parts: tuple[Message, ...]
    until: float
    allowed: float


class DeadlineGrid(Grid):
    """A grid over Flower's own. Every message pushed gets exactly one reply.

    Args:
        grid: Flower's.
        deadline_s: seconds that a node has for each job of a message, or for a message of another kind.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grid, self._deadline, self._clock, self._sleep = grid, deadline_s, clock, sleep
        self._waiting: dict[int, deque[Message]] = {}
        self._sent: dict[str, SentMessage] = {}
        self._given_up: dict[str, int] = {}  # by message the node, for its reply may come all the same
        self._silent: dict[int, str] = {}
        self._done: dict[str, Message] = {}
        self._count = 0
        self._looked = -EVERY_SECONDS

    @property
    def run(self) -> Run:
        """Return Flower's description of the run."""
        return self._grid.run

    def set_run(self, run: Run) -> None:
        """Take another description of the run."""
        self._grid.set_run(run)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message to a node, as ``flwr.app.Message(...)`` does."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> list[int]:
        """Return the ids of the connected nodes."""
        return sorted(self._grid.get_node_ids())

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Put messages in line; they are sent when somebody pulls."""
        ids = []
        for message in messages:
            self._count += 1
            ids.append(f"waiting-{self._count}")
            part = stamped(message, ids[-1])
            self._waiting.setdefault(part.metadata.dst_node_id, deque()).append(part)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies that have arrived to these messages, each once. Waits a moment at most."""
        left = self._looked + EVERY_SECONDS - self._clock()
        if left > 0 and not any(each in self._done for each in message_ids):
            self._sleep(left)
        if self._looked + EVERY_SECONDS <= self._clock():
            self._looked = self._clock()
            self._take_in()
            self._give_up()
            self._send()
        return [self._done.pop(each) for each in message_ids if each in self._done]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push, then pull until every reply is there: each comes in time, if only as an error."""
        return self.await_replies(self.push_messages(messages))

    def await_replies(self, message_ids: list[str]) -> list[Message]:
        """Wait for the replies to pushed messages and return them in the order of arrival."""
        replies: list[Message] = []
        while len(replies) < len(message_ids):
            replies += self.pull_messages(message_ids)
        return replies

    def _take_in(self) -> None:
        for reply in self._grid.pull_messages([*self._sent, *self._given_up]):
            message_id = reply.metadata.reply_to_message_id
            if message_id in self._given_up:
                self._silent.pop(self._given_up.pop(message_id), None)  # late but alive: it gets work again
            else:
                for part, own in _parted(reply, self._sent.pop(message_id).parts):
                    self._done[part.metadata.message_id] = own

    def _give_up(self) -> None:
        now = self._clock()
        for message_id, sent in list(self._sent.items()):
            if now > sent.until:
                del self._sent[message_id]
                why = f"no answer within {sent.allowed:g} s: the site is silent (deadline_s = {self._deadline:g} a job)"
                self._given_up[message_id], self._silent[sent.node] = sent.node, why
                self._fail(sent.parts, why)
        for node, why in self._silent.items():
            waiting = self._waiting.pop(node, ())
            self._fail(waiting, why)

    def _fail(self, parts: Iterable[Message], why: str) -> None:
        for part in parts:
            self._done[part.metadata.message_id] = Message(Error(code=DEADLINE, reason=why), reply_to=part)

    def _send(self) -> None:
        busy = {sent.node for sent in self._sent.values()}
        for node, waiting in self._waiting.items():
            if not waiting or node in busy:
                continue
            parts, content, jobs = _together(waiting)
            allowed = self._deadline * jobs
            kind = parts[0].metadata.message_type
            message = Message(content, node, kind, ttl=allowed + LIVES_SECONDS)
            [message_id] = self._grid.push_messages([message])
            if message_id is None:
                self._fail(parts, "the server could not send the message")
                continue
            self._sent[message_id] = SentMessage(node, parts, self._clock() + allowed, allowed)


def _together(waiting: deque[Message]) -> tuple[tuple[Message, ...], RecordDict, int]:
    """Take from the queue what goes out in one message: the first, and with jobs all other jobs; and their number."""
    first = waiting.popleft()
    if first.metadata.message_type != RELEASE:
        return (first,), first.content, 1
    others = [message for message in waiting if message.metadata.message_type == RELEASE]
    for message in others:
        waiting.remove(message)
    parts = (first, *others)
    names = list(dict.fromkeys(name for part in parts for name in items_in(part)))
    return parts, pack_named(str(first.content["request"]["study"]), names), len(names)


def _parted(reply: Message, parts: tuple[Message, ...]) -> Iterable[tuple[Message, Message]]:
    """Yield each part of a joint request with a reply of its own."""
    if reply.has_error():
        for part in parts:
            yield part, Message(Error(code=reply.error.code, reason=reply.error.reason), reply_to=part)
        return
    if parts[0].metadata.message_type != RELEASE:
        yield parts[0], Message(reply.content, reply_to=parts[0])
        return
    try:
        outcomes = {outcome.job: outcome for outcome in unpack_outcomes(reply.content)}
    except Exception as error:  # whatever a reply may hold that is none
        outcomes, why = {}, f"a reply that cannot be read: {type(error).__name__}"
    else:
        why = "the site's reply says nothing of this job"
    for part in parts:
        names = items_in(part)
        if all(name in outcomes for name in names):
            yield part, Message(pack_outcomes([outcomes[name] for name in names]), reply_to=part)
        else:
            yield part, Message(Error(code=RAISED, reason=why), reply_to=part)
