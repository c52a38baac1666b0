"""The coordinator's server: a Flower SuperLink with TLS that only sites with known keys may connect to.

What it writes stays in the folder that `fedistill keys` has made, its owner's alone; runs are submitted from the same
machine, by who can read the token there. The process that computes runs is a child of ours beside the SuperLink, and
both know each other by a secret: started by the SuperLink itself, it would take work without one, and so would others.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import tomli_w

from fedistill.core.files import keep_private, private_folder, write_atomic
from fedistill.errors import RunError, SettingError
from fedistill.transport.deploy.control import Control, connection
from fedistill.transport.deploy.control_token import made_token
from fedistill.transport.deploy.keys import AUTHORITY, ROOT_KEY
from fedistill.transport.deploy.subprocesses import Child, flower, secret_file

CONNECTION = "server"
"""Name of the connection in this folder's Flower configuration."""
WATCH_SECONDS = 2.0
AGAIN_SECONDS = 60.0
"""Until a key that the SuperLink did not take is offered again."""
UP_SECONDS = 180.0


def run_server(
    folder: Path, *, host: str = "0.0.0.0", port: int = 9092, insecure: bool, tell: Callable[[str], None]
) -> None:
    """Serve until the process is ended. Keys put into ``sites/`` or taken out while it runs count from then on.

    Args:
        folder: the ``server`` that `fedistill keys` has made.
        host: address to listen at.
        port: to listen at.
        insecure: without TLS and keys; only by explicit word.
        tell: told in a line what happens.

    Raises:
        SettingError: keys or the token are missing or not as they should be, or the port is taken.
        RunError: the SuperLink ended.
    """
    arguments = ["--host", host, "--port", str(port), "--isolation", "process"]
    arguments.append("--disable-runtime-dependency-installation")
    trust = ["--insecure"] if insecure else ["--root-certificates", str(folder / "ca.crt")]
    _require_root_elsewhere(folder)
    if insecure:
        folder.mkdir(parents=True, exist_ok=True)
        arguments.append("--insecure")
    else:
        arguments += [*_certificates(folder), "--enable-supernode-auth"]
        private_folder(folder)
    keep_private()
    token = made_token(folder)
    _require_free(host, port)
    _warn_of_root(folder, tell)
    write_connection(folder, port, insecure=insecure)
    home, control = folder / "flower", connection(str(folder))
    with secret_file(folder) as (secret, _):
        known_by = ["--superexec-auth-secret-file", str(secret)]
        link = flower("superlink", [str(token), *arguments, *known_by], folder / "superlink.log", home)
        runner = None
        try:
            _await_up(link, control)
            work = ["--runtime-api-address", f"127.0.0.1:{port}", *trust, *known_by]
            runner = flower("superexec", work, folder / "superexec.log", home)
            tell(f"server: listening on {host}:{port}, {'without TLS and keys' if insecure else 'TLS and keys on'}")
            keys = Keys(folder / "sites", control, tell)
            while link.status is None and runner.status is None:
                if not insecure:
                    keys.look()
                time.sleep(WATCH_SECONDS)
            ended, what = (runner, "process that computes runs") if link.status is None else (link, "SuperLink")
            raise RunError(f"The {what} ended.", found=ended.last_words(), mend=f"see {ended.log.name} in {folder}")
        finally:
            if runner is not None:
                runner.end()
            link.end()


@dataclass
class Keys:
    """Keys of sites as the SuperLink knows them, kept in step with a folder.

    Args:
        folder: of ``NAME.pub``; control: of the SuperLink.
        tell: told in a line what changes.
    """

    folder: Path
    control: Control
    tell: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    _refused: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    _gone: set[bytes] = field(default_factory=set)

    def look(self) -> None:
        """Let in whose key has come, and nobody any more whose key has gone or is another."""
        there = self._there()
        for name, (key, node) in list(self._known.items()):
            if there.get(name) != key:
                self._put_out(name, key, node)
        for name, key in there.items():
            before, when = self._refused.get(name, (b"", 0.0))
            if name not in self._known and (key != before or self.clock() - when > AGAIN_SECONDS):
                self._let_in(name, key, again=key == before)
        self._refused = {name: about for name, about in self._refused.items() if name in there}

    def _there(self) -> dict[str, bytes]:
        keys = {}
        for path in sorted(self.folder.glob("*.pub")):
            try:
                keys[path.stem] = path.read_bytes()
            except OSError:
                continue  # it has gone since, or is half there
        return keys

    def _put_out(self, name: str, key: bytes, node: int) -> None:
        try:
            self.control.unregister(node)
        except RunError as error:
            self.tell(f"server: {name} could not be put out, and is tried again: {error}")
            return
        del self._known[name]
        self._gone.add(key)
        self.tell(f"server: {name} may not connect any more")

    def _let_in(self, name: str, key: bytes, *, again: bool) -> None:
        try:
            if key in self._gone:
                raise RunError(
                    "this key was taken out, and stays out for as long as the server runs",
                    mend="make another with `fedistill keys`, or start the server again",
                )
            self._known[name] = (key, self.control.register(key, name))
        except RunError as error:
            self._refused[name] = (key, self.clock())
            if not again:
                self.tell(f"server: {name} is not let in: {error}")
            return
        self.tell(f"server: {name} may connect")


def write_connection(folder: Path, port: int, *, insecure: bool) -> None:
    """Write Flower's configuration by which commands on this machine find the server."""
    about: dict[str, object] = {"address": f"127.0.0.1:{port}"}
    about |= {"insecure": True} if insecure else {"root-certificates": str((folder / "ca.crt").resolve())}
    content = tomli_w.dumps({"superlink": {"default": CONNECTION, CONNECTION: about}})
    write_atomic(private_folder(folder / "flower") / "config.toml", content)


def _require_root_elsewhere(folder: Path) -> None:
    """Refuse to serve where the key that signs servers lies beside what runs."""
    above = folder.resolve().parent
    for place in (folder.resolve(), above):
        if (place / ROOT_KEY).exists():
            raise SettingError(
                f"{ROOT_KEY} lies beside what the server runs: who breaks into one has the other, and can make servers "
                "that every site trusts.",
                expected=f"{ROOT_KEY} on no machine that others reach",
                found=place / ROOT_KEY,
                mend=f"move it off this machine; or at least `mkdir -m 700 -p {above / AUTHORITY}` and "
                f"`mv {place / ROOT_KEY} {above / AUTHORITY}`. Sites and the server need nothing of it to run",
            )


def _warn_of_root(folder: Path, tell: Callable[[str], None]) -> None:
    secret = folder.resolve().parent / AUTHORITY / ROOT_KEY
    if secret.exists():
        tell(f"server: {AUTHORITY}/{ROOT_KEY} is still on this machine; nothing here needs it: move it off")


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
