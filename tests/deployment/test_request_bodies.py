"""Bodies are counted while they come: what is too large, too much at once or too slow is answered and not read."""

import asyncio

import pytest

from fedistill.transport.deploy import request_bodies as bodies
from fedistill.transport.deploy.request_bodies import LARGEST, ORDINARY, SMALL, Bodies, whole

PUSH = "/v1/fleet/push-object"


class Sender:
    """A request whose parts are made as they are read; it counts what was."""

    def __init__(self, parts, *, path=PUSH, declared=None, delay=0.0):
        self.parts, self.read, self.sent, self.delay = iter(parts), 0, [], delay
        headers = [] if declared is None else [(b"content-length", str(declared).encode())]
        self.scope = {"type": "http", "path": path, "method": "POST", "headers": headers}

    async def receive(self):
        await asyncio.sleep(self.delay)
        part = next(self.parts, None)
        if part is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        self.read += len(part)
        return {"type": "http.request", "body": part, "more_body": True}

    async def send(self, message):
        self.sent.append(message)

    @property
    def status(self):
        return self.sent[0]["status"] if self.sent else None

    @property
    def words(self):
        return b"".join(message.get("body", b"") for message in self.sent).decode()


async def app(scope, receive, send):
    """Reads a body to its end as Flower does, and says how long it was."""
    body = await whole(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


def read(sender, *, known=False, through=None):
    through = through or Bodies(app, lambda scope: known)
    asyncio.run(through(sender.scope, sender.receive, sender.send))
    assert through.held == {False: 0, True: 0}, "what is over is no longer counted"
    return sender


def parts(total, size=1 << 16):
    return (bytes(size) for _ in range(total // size))


def test_small_ones_of_anybody_go_through_whole():
    assert read(Sender(parts(SMALL), declared=SMALL)).words == str(SMALL)
    assert read(Sender(parts(SMALL))).words == str(SMALL)


@pytest.mark.parametrize("declared", [SMALL + 1, 700 << 20, "9" * 30, "-1"])
def test_a_large_one_of_nobody_is_refused_before_a_byte_is_read(declared):
    sender = read(Sender(parts(700 << 20), declared=declared))
    assert (sender.status, sender.read) == (413, 0) and f"at most {SMALL} bytes" in sender.words
    assert (b"connection", b"close") in sender.sent[0]["headers"], "what is left of it is not waited for"


def test_one_that_does_not_say_how_long_it_is_is_read_to_the_limit():
    sender = read(Sender(parts(700 << 20)))
    assert sender.status == 413 and sender.read <= SMALL + (1 << 16) and len(sender.sent) == 2


def test_who_is_known_may_send_a_release():
    assert read(Sender(parts(20 << 20), declared=20 << 20), known=True).words == str(20 << 20)
    assert read(Sender(parts(20 << 20)), known=True).words == str(20 << 20)


@pytest.mark.parametrize(("path", "limit"), [(PUSH, LARGEST), ("/v1/fleet/push-messages", ORDINARY)])
def test_who_is_known_has_a_limit_too(path, limit):
    sender = read(Sender(parts(1 << 20), path=path, declared=limit + 1), known=True)
    assert (sender.status, sender.read) == (413, 0) and f"at most {limit} bytes" in sender.words


def test_a_release_of_any_study_at_this_size_fits():
    from fedistill.config import Job
    from fedistill.transport.server.release_validation import Expected, size_limit

    job = Job("north", "dc", 0, 0, (50,), {}, 1, "convnet", 8, "float32", 1, "float32")
    assert size_limit(job, Expected(channels=3, size=224, classes=11, multilabel=False)) < LARGEST


@pytest.mark.parametrize("known", [False, True])
def test_all_bodies_together_have_a_limit(monkeypatch, known):
    monkeypatch.setattr(bodies, "ROOM", {False: 3 * SMALL, True: 3 * SMALL})
    through = Bodies(app, lambda scope: known)
    senders = [Sender(parts(SMALL), delay=0.01) for _ in range(6)]

    async def at_once():
        await asyncio.gather(*[through(each.scope, each.receive, each.send) for each in senders])

    most = 0

    async def watched():
        nonlocal most
        task = asyncio.ensure_future(at_once())
        while not task.done():
            most = max(most, sum(through.held.values()))
            await asyncio.sleep(0)

    asyncio.run(watched())
    assert sorted(each.status for each in senders) == [200] * 3 + [503] * 3
    assert most <= 4 * SMALL and through.held == {False: 0, True: 0}
    assert "try again" in next(each.words for each in senders if each.status == 503)


def test_one_that_stops_is_given_up(monkeypatch):
    monkeypatch.setattr(bodies, "PAUSE_SECONDS", 0.05)
    sender = read(Sender(parts(SMALL), delay=5.0))
    assert sender.status == 408 and "in time" in sender.words


def test_one_that_drips_is_given_up():
    clock = iter(range(0, 1000, 10)).__next__
    sender = read(Sender(b"x" for _ in range(100)), through=Bodies(app, lambda scope: False, clock))
    assert sender.status == 408 and sender.read < 5


def test_after_the_end_nobody_is_hurried(monkeypatch):
    monkeypatch.setattr(bodies, "PAUSE_SECONDS", 0.05)

    async def slow(scope, receive, send):
        await whole(receive)
        await asyncio.sleep(0.2)
        await receive()  # as one that streams waits for the other side to hang up
        await send({"type": "http.response.start", "status": 200, "headers": []})

    sender = Sender([b"x"])
    asyncio.run(Bodies(slow, lambda scope: False)(sender.scope, sender.receive, sender.send))
    assert sender.status == 200


def test_what_the_app_raises_of_its_own_is_not_hidden():
    async def broken(scope, receive, send):
        raise RuntimeError("of the app")

    with pytest.raises(RuntimeError, match="of the app"):
        read(Sender([]), through=Bodies(broken, lambda scope: False))
