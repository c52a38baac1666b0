"""The coordinator's server: a Flower SuperLink with TLS that only sites with known keys may connect to.

What it writes stays in the folder that `fedistill keys` has made; runs are submitted from the same machine alone.
"""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import tomli_w

from fedistill.errors import RunError, SettingError
from fedistill.federation.children import Child, flower
from fedistill.federation.control import Control, connection
from fedistill.files import write_atomic

CONNECTION = "server"
"""What Flower's configuration in this folder calls it."""
WATCH_SECONDS = 2.0
UP_SECONDS = 180.0


def run_server(
    folder: Path, *, host: str = "0.0.0.0", port: int = 9092, insecure: bool, tell: Callable[[str], None]
) -> None:
    """Serve until the process is ended. Keys put into ``sites/`` while it runs are known from then on.

    Args:
        folder: the ``server`` that `fedistill keys` has made.
        host, port: what to listen on.
        insecure: without TLS and keys; only by explicit word.
        tell: told in a line what happens.

    Raises:
        SettingError: keys are missing, or the port is taken.
        RunError: the SuperLink ended.
    """
    arguments = ["--host", host, "--port", str(port), "--disable-runtime-dependency-installation"]
    if insecure:
        folder.mkdir(parents=True, exist_ok=True)
        arguments.append("--insecure")
    else:
        arguments += [*_certificates(folder), "--enable-supernode-auth"]
    _require_free(host, port)
    write_connection(folder, port, insecure=insecure)
    link, control = flower("superlink", arguments, folder / "superlink.log", folder / "flower"), connection(str(folder))
    try:
        _await_up(link, control)
        tell(f"server: listening on {host}:{port}, {'without TLS and keys' if insecure else 'TLS and keys on'}")
        known: set[str] = set()
        while link.status is None:
            if not insecure:
                for name in sorted({path.stem for path in (folder / "sites").glob("*.pub")} - known):
                    control.register(folder / "sites" / f"{name}.pub", name)
                    known.add(name)
                    tell(f"server: {name} may connect")
            time.sleep(WATCH_SECONDS)
    finally:
        link.end()
    raise RunError("The SuperLink ended.", found=link.last_words(), mend=f"see {link.log.name} in {folder}")


def write_connection(folder: Path, port: int, *, insecure: bool) -> None:
    """Flower's configuration by which commands on this machine find the server."""
    about: dict[str, object] = {"address": f"127.0.0.1:{port}"}
    about |= {"insecure": True} if insecure else {"root-certificates": str((folder / "ca.crt").resolve())}
    content = tomli_w.dumps({"superlink": {"default": CONNECTION, CONNECTION: about}})
    write_atomic(folder / "flower" / "config.toml", content)


def _certificates(folder: Path) -> list[str]:
    words = []
    for option, name in (
        ("--ssl-ca-certfile", "ca.crt"),
        ("--ssl-certfile", "server.crt"),
        ("--ssl-keyfile", "server.key"),
    ):
        if not (folder / name).is_file():
            raise SettingError(
                f"There is no {name} in {folder}.",
                expected="the folder `server` that `fedistill keys DIR --sites NAME,NAME` makes in DIR",
                mend="make it, or give --insecure, which protects nothing",
            )
        words += [option, str(folder / name)]
    return words


def _require_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingError(f"Cannot listen on {host}:{port}.", found=error, mend="give another --port") from error


def _await_up(link: Child, control: Control) -> None:
    """Wait until the SuperLink answers."""
    end = time.monotonic() + UP_SECONDS
    while link.status is None and time.monotonic() < end:
        if control.is_up():
            return
        time.sleep(WATCH_SECONDS / 4)
    raise RunError("The SuperLink did not start.", found=link.last_words())
