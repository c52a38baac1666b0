"""A deployment on loopback: commands as a coordinator and hospitals type them, in processes that a test can kill."""

import os
import signal
import socket
import subprocess
import sys
import time

FEDISTILL = [sys.executable, "-m", "fedistill.cli"]


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Process:
    """`fedistill WORDS` in a session of its own; what it says goes to a file."""

    def __init__(self, log, *words):
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*FEDISTILL, *map(str, words)], stdout=out, stderr=out, cwd=log.parent, start_new_session=True
            )

    @property
    def said(self):
        return self.log.read_text()

    def wait(self, seconds):
        return self._process.wait(seconds)

    def until(self, words, seconds):
        """Wait until it has said that."""
        end = time.monotonic() + seconds
        while words not in self.said:
            assert self._process.poll() is None and time.monotonic() < end, f"not {words!r} but:\n{self.said}"
            time.sleep(0.2)

    def until_count(self, words, count, seconds):
        """Wait until it has said that so many times."""
        end = time.monotonic() + seconds
        while self.said.count(words) < count:
            assert self._process.poll() is None and time.monotonic() < end, f"not {count} x {words!r} but:\n{self.said}"
            time.sleep(0.2)

    def kill(self):
        """As a power cut would: it and all it has started, with no time to say so."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)

    def end(self):
        """As Ctrl-C would."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
