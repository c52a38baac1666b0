"""The consoles that commands print to: unprintable characters are replaced, and a lost display loses no work."""

import os
import sys
from contextlib import suppress
from typing import Any


def show_what_can_be() -> None:
    """Make standard output and error replace what their encoding has no character for, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


class Lasting:
    """Standard output or error as a file for a console: once it cannot be written any more, nothing is written.

    A run that has a reader who left (``| head``), a terminal that was closed or a full disk under its redirected output
    goes on: its results are in its folder.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, text: str) -> int:
        """Write a text where it can still be written."""
        with _Kept(self._stream):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the text written so far."""
        with _Kept(self._stream):
            self._stream.flush()

    @property
    def _stream(self) -> Any:
        stream = getattr(sys, self._name)
        # While a live display is on, Rich puts a file there that prints to the console, which would come back here.
        return getattr(stream, "rich_proxied_file", stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Kept:
    """Turns a stream whose file is gone into one to nowhere, so that its end is quiet as well."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        if not isinstance(error, OSError):
            return False
        with suppress(OSError, ValueError, AttributeError):  # a stream without a file of its own has none to replace
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        return True
