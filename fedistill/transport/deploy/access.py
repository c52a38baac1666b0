"""Access control of a SuperLink: nodes from anywhere, all else from its own machine, control by token.

Flower itself asks for no account where a run is started or a key registered. Its own processes, which compute a run,
know themselves by a secret of the server's and by a token for each piece of work: those paths are left to them.
Like ``identity.py``, this file uses private names of Flower; ``tests/deployment`` holds them against its versions.
"""

import binascii
import datetime as dt
import hmac
import io
import ipaddress
import tomllib
import zipfile
from base64 import b64decode
from typing import Any

from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.proto.control_pb2 import StartRunRequest
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER, TASK_TOKEN_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from fedistill.errors import UserError
from fedistill.transport.deploy.control import COMPONENTS, bundle
from fedistill.transport.deploy.control_token import HEADER
from fedistill.transport.deploy.request_bodies import whole

FLEET, RUNTIME, CONTROL = "/v1/fleet/", "/v1/runtime/", "/v1/control/"
START = f"{CONTROL}start-run"
ASKED = frozenset(
    CONTROL + name for name in ("start-run", "stop-run", "list-runs", "register-node", "unregister-node", "list-nodes")
)
"""All that FeDistill asks of a server. Others would have it fetch apps from elsewhere, or run them by the clock."""

FILES = {"pyproject.toml", ".info/CONTENT"}
LARGEST_FILE = 1 << 20


class Doors:
    """Refuses who may not ask: all but nodes from other machines, and here whoever does not have the token.

    Args:
        app: the SuperLink's.
        token: of control requests.
    """

    def __init__(self, app: Any, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or refuse it (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # nothing of ours comes another way
            return
        refused = self._refused(scope)
        if refused is not None:
            status, words = refused
            await PlainTextResponse(words, status, {"connection": "close"})(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Any) -> tuple[int, str] | None:
        path = scope["path"]
        if path.startswith(FLEET):
            return None
        if not is_here(scope.get("client")):
            return 403, "only from the server's own machine"
        if path.startswith(RUNTIME):
            return None  # by Flower's own secret and tokens
        given = Headers(scope=scope).getlist(HEADER)
        if len(given) != 1 or not hmac.compare_digest(given[0].encode(), self._token):
            return 401, "only with the token of the server's folder: name that folder, --engine superlink:DIR"
        return None if path in ASKED else (403, "FeDistill asks a server for nothing of the kind")


class OnlySettings:
    """Refuses runs that bring anything but settings: the server runs the FeDistill it has installed.

    Args:
        app: the SuperLink's, behind `Doors` and a limit on bodies.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request; refuse a bundle that contains code (ASGI)."""
        if scope["type"] != "http" or scope["path"] != START:
            await self._app(scope, receive, send)
            return
        body = await whole(receive)
        try:
            await run_in_threadpool(require_settings_alone, body)
        except UserError as error:
            await PlainTextResponse(str(error), 403, {"connection": "close"})(scope, receive, send)
            return
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return left.pop() if left else await receive()

        await self._app(scope, again, send)


def require_settings_alone(request: bytes) -> None:
    """Refuse a run that brings code, names an app kept elsewhere, or asks for anything beside.

    Args:
        request: what is sent to start it, as it came.

    Raises:
        UserError: it does.
    """
    mend = "start runs with `fedistill run FILE --engine superlink:DIR`, of the same version as the server"
    try:
        start = StartRunRequest.FromString(request)
        beside = {field.name for field, _ in start.ListFields()} - {"fab"}
        content = start.fab.content
        if beside or not content:
            raise UserError(
                "A run comes with its settings and nothing else.",
                expected="one bundle of settings",
                found=", ".join(sorted(beside)) or "none",
                mend=mend,
            )
        app = _app_of(content)
    except UserError:
        raise
    except Exception as error:  # parsers of what a stranger sent stumble in many ways
        raise UserError("This is no bundle of a run.", found=type(error).__name__, mend=mend) from error
    if app.get("components") != COMPONENTS:
        raise UserError(
            "A run's app is the one that the server has installed.",
            expected=COMPONENTS,
            found=str(app.get("components"))[:200],
            mend=mend,
        )
    config = app.get("config")
    plain = isinstance(config, dict) and all(isinstance(value, str | bool) for value in config.values())
    if not plain or bundle(config) != content:  # type: ignore[arg-type]
        raise UserError("The bundle is not what `fedistill run` makes of its settings.", mend=mend)


def _app_of(content: bytes) -> dict[str, Any]:
    """Read a bundle's description of its app."""
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        names = packed.namelist()
        if sorted(names) != sorted(FILES):
            more = sorted(set(names) - FILES) or names
            raise UserError(
                "A run carries no code: its bundle has settings in it and nothing else.",
                expected=", ".join(sorted(FILES)),
                found=", ".join(map(repr, more[:5]))[:300],
                mend="have the same version of FeDistill installed at the server, whose code runs",
            )
        with packed.open("pyproject.toml") as file:
            text = file.read(LARGEST_FILE + 1)
    if len(text) > LARGEST_FILE:
        raise UserError("The settings of a run are too large.", expected=f"at most {LARGEST_FILE} bytes")
    app: dict[str, Any] = tomllib.loads(text.decode())["tool"]["flwr"]["app"]
    return app


def is_here(client: Any) -> bool:
    """Return whether a (host, port) belongs to this machine.

    >>> is_here(("127.0.0.1", 4)), is_here(("::1", 4)), is_here(("10.0.0.7", 4)), is_here(None)
    (True, True, False, False)
    """
    try:
        host = ipaddress.ip_address(client[0])
    except (TypeError, ValueError):
        return False
    mapped = getattr(host, "ipv4_mapped", None)
    return bool((mapped or host).is_loopback)


def is_known(scope: Any) -> bool:
    """Return whether the headers of a request prove a client that the server knows; the body is not read.

    Flower asks the same, but of a request that it has read to its end.
    """
    path, headers = scope["path"], Headers(scope=scope)
    if path.startswith(CONTROL):
        return True  # `Doors` has seen its token
    try:
        state = scope["app"].state.linkstate_factory.state()
        if path.startswith(RUNTIME):
            token = headers.get(TASK_TOKEN_HEADER)
            return bool(token) and state.get_task_by_token(token) is not None
        key = b64decode(headers[FLEET_HTTP_PUBLIC_KEY_HEADER], validate=True)
        signature = b64decode(headers[FLEET_HTTP_SIGNATURE_HEADER], validate=True)
        said = headers[TIMESTAMP_HEADER]
        age = (now() - dt.datetime.fromisoformat(said)).total_seconds()
        if not -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE:
            return False
        registered = state.get_node_id_by_public_key(key) is not None
        return registered and bool(verify_signature(bytes_to_public_key(key), said.encode("ascii"), signature))
    except (KeyError, ValueError, TypeError, UnicodeError, binascii.Error):
        return False
