"""Opens what a run computes on: sites and server work on Ray, or both in this process. Nothing else starts Ray."""

import logging
import os
import secrets
import signal
import socket
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedistill.core.events import OnEvent, ignore
from fedistill.errors import RunError, UserError
from fedistill.transport.backend.base import Backend
from fedistill.transport.backend.inline import InlineBackend
from fedistill.transport.backend.nodes import Node
from fedistill.transport.backend.server_work import ServerWork
from fedistill.transport.backend.site_grid import Limits, SiteGrid

if TYPE_CHECKING:
    from fedistill.transport.backend.dispatch import Dispatcher

_log = logging.getLogger(__name__)

OBJECT_STORE_BYTES = 512 * 1024**2
"""Shared memory Ray may take for messages and results under way; beyond it Ray moves them to disk."""

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Under `uv run` Ray would otherwise pack up the working directory and build the environment anew in each worker.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
"""Nothing is sent anywhere, and nothing is looked up. A variable the user has set is left alone."""

AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""By what Ray knows its own: whether it asks for a token, and which."""


class Runtime:
    """What a run computes on: a grid for the sites and the server's work, on one backend.

    Attributes:
        executor: of the server's own work.
        workers: CPUs they share; 1 inline.
        events: returns the events since its last call, oldest first. Each has ``time`` and ``job``.
        busy: the seconds that sites and server have computed so far.
    """

    def __init__(self, grid: SiteGrid, backend: Backend) -> None:
        self.grid, self.executor = grid, ServerWork(backend)
        self.workers, self.events, self.busy = backend.workers, backend.events, backend.busy


@contextmanager
def open_runtime(
    engine: str,
    nodes: Sequence[Node],
    client_app_loader: str,
    run_config: Mapping[str, Any],
    *,
    workers: int | None = None,
    deadline_s: float | None = None,
    silence_s: float | None = 600.0,
    on_event: OnEvent | None = None,
) -> Iterator[Runtime]:
    """Open a runtime; on leaving, however that happens, everything still running is cancelled and Ray is stopped.

    Args:
        engine: "local" for Ray on this machine, "HOST:PORT" for a Ray cluster that is running, "inline" for no Ray.
        nodes: the sites.
        client_app_loader: "module:attribute" of the sites' ClientApp.
        run_config: Flower's ``context.run_config``.
        workers: CPUs of a local Ray; None for all this process may use. A cluster has its own number.
        deadline_s: seconds a site's job may run, from its start. Cannot be kept inline.
        silence_s: seconds without an event after which a site's job is cancelled, once tried again. Not inline.
        on_event: inline only: called with each event as it happens, since nobody can ask while a job runs here.

    Raises:
        RunError: when Ray cannot be started or reached.
        PlanError: when a site requests more than any machine has.
    """
    if engine == "inline":
        backend: Backend = InlineBackend(ignore if on_event is None else on_event)
        yield Runtime(SiteGrid(client_app_loader, nodes, run_config, backend=backend), backend)
        return
    with _ray(engine, workers) as dispatcher:
        limits, run_id = Limits(deadline_s, silence_s), uuid.uuid4().int >> 65
        grid = SiteGrid(client_app_loader, nodes, run_config, backend=dispatcher, limits=limits, run_id=run_id)
        yield Runtime(grid, dispatcher)


def _too_long(error: Exception) -> UserError:
    """Return the error for a TMPDIR that is too long: the paths of Ray's sockets are some 60 characters longer."""
    return UserError(
        "Ray's folder for temporary files has too long a path: it keeps sockets there, whose paths have a limit.",
        expected="a socket's path of at most 107 bytes, so a TMPDIR of at most some forty",
        found=" ".join(str(error).split())[:500],
        mend="export TMPDIR=/tmp, or run without Ray: --engine inline",
    )


@contextmanager
def _ray(engine: str, workers: int | None) -> Iterator["Dispatcher"]:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if engine != "local":
        _require_listener(engine)
        with _started(engine, workers) as dispatcher:
            yield dispatcher
        return
    with _own_token(), _started(engine, workers) as dispatcher:
        yield dispatcher


@contextmanager
def _own_token() -> Iterator[None]:
    """Within the block a Ray that starts here asks everybody for a token that nobody else has, new each time.

    Ray listens on all of a machine's addresses, whatever it is told, and without a token it runs the code of whoever
    reaches it. The token is in the environment of Ray's processes, which their owner alone can read. Who has set
    Ray's variables is left with what was set; a token without a mode is meant to be used.
    """
    before = {name: os.environ.get(name) for name in AUTH}
    if before["RAY_AUTH_MODE"] is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        if before["RAY_AUTH_TOKEN"] is None and before["RAY_AUTH_TOKEN_PATH"] is None:
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    _read_again()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _read_again()


def _read_again() -> None:
    """Have Ray read its variables anew: it keeps what it read first for as long as the process lives.

    These are private names of Ray's; where a new Ray has not got them, a second run in one process says that it cannot
    be authenticated, and the Ray test fails.
    """
    _raylet: Any = import_module("ray._raylet")
    _raylet.Config.initialize("")
    _raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _started(engine: str, workers: int | None) -> Iterator["Dispatcher"]:
    import ray

    if ray.is_initialized():
        raise RunError(
            "this process already uses Ray",
            mend="call ray.shutdown() first, or pass the address of your cluster as the engine",
        )
    options: dict[str, Any] = {"address": engine}
    if engine == "local":
        # Without an address Ray would attach to whatever cluster last left its name in /tmp/ray.
        options |= {
            "num_cpus": workers,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    on_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            # It announces that jobs without a GPU will one day see all of them. We rely on today's way: they see none.
            warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
            ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
        if on_main and handler is not None:
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there, which ends the process without a word
    except Exception as error:
        ray.shutdown()
        if "AF_UNIX path length" in str(error):
            raise _too_long(error) from error
        raise RunError(
            "Ray did not start" if engine == "local" else f"cannot use the Ray cluster at {engine}",
            found=" ".join(str(error).split())[:500] or type(error).__name__,
            mend="free some memory and some space in /tmp and /dev/shm, or run without Ray: --engine inline"
            if engine == "local"
            else "a cluster needs the same Python and Ray as here, and this machine has to be one of its nodes "
            f"(`ray start --address {engine}`); where it asks for a token, "
            "its RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH are needed here too; `ray status` says whether it is up",
        ) from error
    try:
        from fedistill.transport.backend.dispatch import Dispatcher

        dispatcher = Dispatcher(attached=engine != "local")
        try:
            with _log_instead_of_print():
                yield dispatcher
        finally:
            dispatcher.close()
    finally:
        ray.shutdown()


@contextmanager
def _log_instead_of_print() -> Iterator[None]:
    """Send Ray's notices of dead workers and retries to the log: even with log_to_driver=False it prints them.

    Ray has no setting for it, so this replaces a private function of Ray's. Should a new Ray not have it, the notices
    are printed again and the Ray test says so.
    """
    import ray._private.worker as ray_worker

    printer = getattr(ray_worker, "print_to_stdstream", None)

    def note(data: dict[str, Any], *_: Any, **__: Any) -> None:
        for line in data.get("lines", []):
            _log.info("Ray: %s", line)

    if printer is not None:
        ray_worker.print_to_stdstream = note
    try:
        yield
    finally:
        if printer is not None:
            ray_worker.print_to_stdstream = printer


def _require_listener(engine: str) -> None:
    """Look whether anything answers at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = engine.rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(
            "There is no such engine.", expected="local, inline or HOST:PORT of a Ray cluster", found=repr(engine)
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise RunError(
            f"no Ray cluster answers at {engine}",
            found=error,
            mend="start one there with `ray start --head --port PORT`, or use --engine local",
        ) from error
