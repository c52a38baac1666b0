"""Control of a SuperLink: register a key, start and stop a run, and learn how it ended.

Like ``identity.py``, this file uses private names of Flower; ``tests/deployment`` holds them against its versions.
"""

import hashlib
import os
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import tomli_w
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import (
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from fedistill.core.text import printable
from fedistill.errors import RunError, SettingError, nearest
from fedistill.transport.deploy.control_token import HEADER, NAME, read_token

COMPONENTS = {"serverapp": "fedistill.app:server", "clientapp": "fedistill.app:client"}


@dataclass(frozen=True)
class Ended:
    """The end of a run.

    Args:
        well: whether it was completed; why: in words, where it was not.
    """

    well: bool
    why: str = ""


class ServerAwayError(RunError):
    """No server answers, or one that does not know the run: it was started again."""


class Control:
    """A SuperLink, as commands on its machine see it.

    Args:
        address: HOST:PORT.
        root: its root certificate; None without TLS.
        token: by which it knows who may ask; None where it asks for none, as Flower's own do not.
    """

    def __init__(self, address: str, root: Path | None, token: str | None = None) -> None:
        self.address = address
        self._client: Any = ControlHttpClient.from_server_address(
            server_address=address,
            insecure=root is None,
            root_certificates=None if root is None else root.read_bytes(),
            interceptors=[RuntimeVersionHttpInterceptor(component_name="fedistill"), *_shown(token)],
        )

    def register(self, public_key: bytes, name: str) -> int:
        """Let whoever holds the private key connect; the number it has as a node.

        Args:
            public_key: as in a file ``NAME.pub``.
            name: of the site.

        Raises:
            RunError: it is no key, or the SuperLink does not take it.
        """
        try:
            key = public_key_to_bytes(load_ssh_public_key(public_key))  # type: ignore[arg-type]
        except Exception as error:
            raise RunError(f"{name}.pub is no public key of a site.", found=error) from error
        request = RegisterNodeRequest(public_key=key, name=name)
        return int(self._asked("register the key", "RegisterNode", request).node_id)

    def unregister(self, node_id: int) -> None:
        """Let nobody connect any more with the key that was registered as this node.

        Raises:
            RunError: the SuperLink does not do it.
        """
        self._asked("take the key out", "UnregisterNode", UnregisterNodeRequest(node_id=node_id))

    def start(self, config: dict[str, str | bool]) -> int:
        """Start a run of the app as the server has it installed; its id."""
        content = bundle(config)
        fab = Fab(hashlib.sha256(content).hexdigest(), content, {})
        return int(self._asked("start the run", "StartRun", StartRunRequest(fab=fab_to_proto(fab))).run_id)

    def stop(self, run_id: int) -> None:
        """Stop a run."""
        self._asked("stop the run", "StopRun", StopRunRequest(run_id=run_id))

    def ended(self, run_id: int) -> Ended | None:
        """Return how the run ended; None while it goes on.

        Raises:
            ServerAwayError: no server answers, or it does not know the run.
        """
        try:
            answer = self._client.ListRuns(ListRunsRequest(run_id=run_id))
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (401, 403):
                raise self._refused("tell how the run is", error) from error
            raise ServerAwayError(f"No server at {self.address} knows of run {run_id}.", found=error) from error
        if run_id not in answer.run_dict:
            raise ServerAwayError(f"The server at {self.address} knows no run {run_id}.")
        status = answer.run_dict[run_id].status
        if status.status != "finished":
            return None
        return Ended(status.sub_status == "completed", status.details or status.sub_status)

    def is_up(self) -> bool:
        """Return whether the SuperLink answers."""
        try:
            self._client.ListRuns(ListRunsRequest(limit=1))
        except httpx.HTTPError:
            return False
        return True

    def _asked(self, what: str, method: str, request: Any) -> Any:
        try:
            return getattr(self._client, method)(request)
        except httpx.HTTPStatusError as error:
            raise self._refused(what, error) from error
        except httpx.HTTPError as error:
            raise RunError(
                f"No server answers at {self.address}.", found=error, mend="start it with `fedistill server`"
            ) from error

    def _refused(self, what: str, error: httpx.HTTPStatusError) -> RunError:
        reason = f"{error.response.status_code}: {printable(error.response.text, most=700)}"
        return RunError(f"The server at {self.address} did not {what}.", found=reason)


def _shown(token: str | None) -> list[Any]:
    """Return the interceptors that add the token to every request; none without a token."""

    class Shown:
        def intercept(self, context: Any, call_next: Any) -> Any:
            context.request.headers[HEADER] = token
            return call_next(context)

    return [] if token is None else [Shown()]


def connection(where: str) -> Control:
    """Connect to the SuperLink of ``--engine superlink:WHERE``.

    Args:
        where: the ``server`` folder it runs from, or the name of a connection in Flower's own configuration.

    Raises:
        SettingError: there is none, or its token cannot be read.
    """
    folder = Path(where).expanduser()
    home = Path(os.environ.get("FLWR_HOME") or Path.home() / ".flwr")
    own = (folder / "flower" / "config.toml").is_file()
    path = (folder / "flower" if own else home) / "config.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["superlink"] if path.is_file() else {}
        known = {name: table for name, table in tables.items() if isinstance(table, dict) and "address" in table}
    except (KeyError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{path} is no configuration of Flower's.", found=error) from error
    name = str(tables.get("default")) if own else where
    if name not in known:
        raise SettingError(
            f"There is no server {where!r}.",
            expected="the folder `server` that `fedistill server` runs from, or a connection in Flower's configuration",
            mend=nearest(name, known) if known else f"name one in {path}, or start a server",
        )
    table = known[name]
    root = table.get("root-certificates")
    if root is None and not table.get("insecure"):
        raise SettingError(f"The connection {name!r} has neither root-certificates nor insecure = true.", found=path)
    if root is not None and not (path.parent / root).is_file():
        raise SettingError(f"The root certificate of {name!r} is not there.", expected=path.parent / root)
    token = read_token(folder / NAME) if own else None
    return Control(str(table["address"]), None if root is None else path.parent / root, token)


def bundle(config: dict[str, str | bool]) -> bytes:
    """Build a Flower app that contains the run's settings and no code: server and sites have the code installed."""
    project = {"name": "fedistill", "version": version("fedistill"), "description": "runs the installed FeDistill"}
    app = {"publisher": "fedistill", "components": COMPONENTS, "config": config}
    content = tomli_w.dumps({"project": {**project, "license": "Apache-2.0"}, "tool": {"flwr": {"app": app}}})
    built: bytes = build_fab_from_files({"pyproject.toml": content.encode()})[0]
    return built
