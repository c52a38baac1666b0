"""A limit on request bodies: their bytes are counted while they arrive, before the sender is known.

A SuperLink reads a body to its end, and takes it apart, before it looks at who sent it. So whoever reaches the port
could fill the memory. Here a body has a limit, which is small until the sender is known; what bodies may be in memory
together has one too; and one that does not come to its end in time is given up. Nothing is kept: a chunk is handed on
as it comes, and what the limit refuses is never read.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

SMALL = 64 << 10
"""Bytes of a body from somebody not known: keys, signs of life and questions are a tenth of it."""
ORDINARY = 16 << 20
"""Bytes of a body from somebody known, unless it is an object: messages name their parts, and do not hold them."""
LARGEST = 512 << 20
"""Bytes of an object from somebody known. The largest is a Release: fifty images a class of eleven, in three colours of
224 x 224, as float32, are 331 MB."""
OBJECTS = ("/v1/fleet/push-object", "/v1/runtime/push-object")
ROOM = {False: 16 << 20, True: LARGEST}
"""Bytes of all bodies under way together: of those not known, and of those known."""
PATIENCE_SECONDS = {False: 30.0, True: 900.0}
"""Until a body has to have come to its end: of somebody not known, and of somebody known."""
PAUSE_SECONDS = 60.0
"""Without a byte, after which a body is given up."""


class Bodies:
    """Counts bodies, and answers in the app's place where one is too large, too many come at once, or one is too slow.

    Args:
        app: to hand on to.
        known: whether a request's sender is known, from its scope; asked where a body is larger than `SMALL`.
        clock: of a body's time.
    """

    def __init__(self, app: Any, known: Callable[[Any], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._known, self._clock = app, known, clock
        self.held = {False: 0, True: 0}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request while its body is counted (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(self, self._known, scope, receive, send, self._clock)
        try:
            if await body.admitted(_declared(scope)):
                await self._app(scope, body.receive, body.send)
        except Exception:
            if not body.refused:
                raise  # otherwise what the app says of a body that ended early: it has been answered
        finally:
            body.forget()


class _Body:
    """The body of one request, while it arrives."""

    def __init__(
        self,
        all_of_them: Bodies,
        known: Callable[[Any], bool],
        scope: Any,
        receive: Any,
        send: Any,
        clock: Callable[[], float],
    ) -> None:
        self._all, self._is_known, self._scope = all_of_them, known, scope
        self._receive, self._send, self._clock = receive, send, clock
        self._began, self._count, self._known, self._ended = clock(), 0, False, False
        self.refused = False

    async def admitted(self, declared: int) -> bool:
        """Return whether a body of so many bytes may arrive; reject the request if not."""
        self._known = declared > SMALL and await run_in_threadpool(self._is_known, self._scope)
        if declared > self._limit:
            await self._refuse(413, self._too_large(f"{declared}"))
        elif self._all.held[self._known] + declared > ROOM[self._known]:
            await self._refuse(503, "the server is reading as much as it can: try again")
        return not self.refused

    async def receive(self) -> Any:
        """Receive and count the next part."""
        if self.refused:
            return {"type": "http.disconnect"}
        if self._ended:
            return await self._receive()  # no more parts: it waits for the other side to hang up
        left = PATIENCE_SECONDS[self._known] - (self._clock() - self._began)
        try:
            async with asyncio.timeout(max(0.0, min(PAUSE_SECONDS, left))):
                message = await self._receive()
        except TimeoutError:
            return await self._refuse(408, "the body did not come to its end in time")
        if message["type"] != "http.request":
            return message
        self._ended = not message.get("more_body", False)
        self._add(len(message.get("body", b"")))
        if self._count > SMALL and not self._known:
            await self._look_again()
        if self._count > self._limit:
            return await self._refuse(413, self._too_large(f"{self._count} and more"))
        if self._all.held[self._known] > ROOM[self._known]:
            return await self._refuse(503, "the server is reading as much as it can: try again")
        return message

    async def send(self, message: Any) -> None:
        """Hand on what the app says; nothing, where it has been answered in its place."""
        if not self.refused:
            await self._send(message)

    def forget(self) -> None:
        """Release the body's bytes from the server's total when the request has ended."""
        self._all.held[self._known] -= self._count
        self._count = 0

    @property
    def _limit(self) -> int:
        if not self._known:
            return SMALL
        return LARGEST if self._scope["path"] in OBJECTS else ORDINARY

    def _too_large(self, size: str) -> str:
        who = "whom the server knows" if self._known else "whom the server does not know"
        return f"the body is too large: at most {self._limit} bytes of somebody {who}, not {size}"

    def _add(self, count: int) -> None:
        self._count += count
        self._all.held[self._known] += count

    async def _look_again(self) -> None:
        """Ask who it is, of a body that did not say how long it would be."""
        if await run_in_threadpool(self._is_known, self._scope):
            self._all.held[False] -= self._count
            self._all.held[True] += self._count
            self._known = True

    async def _refuse(self, status: int, words: str) -> Any:
        self.refused = True
        # What is left of the body is not read: the connection ends with this answer.
        answer = PlainTextResponse(words, status, {"connection": "close"})
        await answer(self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}


async def whole(receive: Any) -> bytes:
    """Receive a small body to its end; empty if the client has disconnected."""
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
    return b""


def _declared(scope: Any) -> int:
    """Return the number of bytes that the headers declare, 0 if none; the web server has refused what is no number."""
    said = Headers(scope=scope).get("content-length", "0")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 20 else 1 << 62 if said.strip() else 0
