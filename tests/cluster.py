"""A Ray cluster of several nodes on this machine, each with a name, to be killed one by one."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

UP_SECONDS = 240.0


class Cluster:
    """Nodes by name; the first is the head.

    Attributes:
        address: HOST:PORT of it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.address = f"127.0.0.1:{_free_port()}"

    def start(self, name: str, *, cpus: int = 1, env: Mapping[str, str] | None = None) -> None:
        """Start a node in a process group of its own.

        Args:
            env: variables that its workers have beside this process's.
        """
        port = self.address.rpartition(":")[2]
        if self._nodes:
            place = [f"--address={self.address}"]
        else:
            place = [
                "--head",
                f"--port={port}",
                f"--ray-client-server-port={_free_port()}",
                f"--temp-dir={self._folder}",
            ]
            place.append("--include-dashboard=false")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *place, f"--num-cpus={cpus}"]
        command += [f"--node-name={name}", "--object-store-memory=200000000", "--disable-usage-stats", "--block"]
        log = (self._folder / f"{name}.log").open("wb")
        self._nodes[name] = subprocess.Popen(
            command, env={**os.environ, **(env or {})}, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        self._wait(name)

    def kill(self, name: str) -> None:
        """SIGKILL of everything on a node, as when its power goes."""
        node = self._nodes.pop(name)
        for child in _descendants(node.pid):
            _kill(child)
        _kill(node.pid)
        node.wait()

    def close(self) -> None:
        """Kill what is left; the head last."""
        for name in reversed(list(self._nodes)):
            self.kill(name)

    def _wait(self, name: str) -> None:
        until = time.monotonic() + UP_SECONDS
        log = self._folder / f"{name}.log"
        while b"Ray runtime started" not in log.read_bytes():
            if self._nodes[name].poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Ray's node {name} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.2)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster to start nodes of; at the end all are killed."""
    # Short, for the path of a socket may have 107 characters; and not in the way of other clusters.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder))
        try:
            yield made
        finally:
            made.close()


def _descendants(pid: int) -> Sequence[int]:
    """Of a process, all generations: Ray puts its workers into groups of their own."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.split()
    parents = dict(zip(map(int, listed[::2]), map(int, listed[1::2]), strict=True))
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
