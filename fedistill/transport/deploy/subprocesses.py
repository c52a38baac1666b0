"""Processes beside ours: started with a quiet Flower, watched, and ended with us."""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedistill.core.files import PRIVATE_FILE, private_file, private_folder, write_atomic
from fedistill.transport.backend.runtime import QUIET

LINES = 12
GRACE_SECONDS = 8.0


class Child:
    """A process whose output goes to a file.

    Args:
        log: that file; begun anew, its owner's alone.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        private_file(log)
        with open(log, "wb", opener=lambda path, flags: os.open(path, flags, PRIVATE_FILE)) as out:
            self.process = subprocess.Popen(
                [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment
            )

    @property
    def status(self) -> int | None:
        """Return the exit status; None while it runs."""
        return self.process.poll()

    def said(self) -> str:
        """Return everything the process has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def last_words(self) -> str:
        """Return the end of its output, for an error message."""
        lines = [line.rstrip() for line in self.said().splitlines() if line.strip()]
        return "\n    ".join(lines[-LINES:])

    def end(self) -> None:
        """Ask it to end; make it, where it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def flower(command: str, arguments: Sequence[str], log: Path, home: Path) -> Child:
    """Start a Flower command that ends with this process."""
    words = ["-P", "-m", "fedistill.transport.deploy.flower_child", str(os.getpid()), command, *arguments]
    return Child(words, log, quiet(home))


def quiet(home: Path) -> dict[str, str]:
    """Return an environment in which Flower writes to a folder of ours and sends nothing anywhere."""
    # Flower starts commands of its own by name, which lie beside this Python whether or not its environment is active.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    private_folder(home)
    return {**QUIET, **os.environ, "PATH": path, "FLWR_HOME": str(home)}


@contextmanager
def secret_file(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Create a file with a secret that child processes share; remove it at the end of the block."""
    secret, path = secrets.token_bytes(32), folder / f".secret-{os.getpid()}"
    write_atomic(path, secret, mode=PRIVATE_FILE)
    try:
        yield path, secret
    finally:
        path.unlink(missing_ok=True)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
