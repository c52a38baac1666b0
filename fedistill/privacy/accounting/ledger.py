"""A site's ledger: a file that only grows, of what was agreed to, asked for, charged, decided and released.

Every line is one JSON object. ``charged`` is written, and flushed to the disk, before any of the noise that it pays for
is drawn; ``released``, with the Release's SHA-256, before that leaves. So whatever stops a process, what may have been
seen is never missing here.

Every line carries ``chain``, the SHA-256 of its own content and the chain of the line before: a line that was changed,
taken out or put elsewhere is noticed. That whole lines were cut off at the end, or the file deleted, is noticed at a
deployed site by a counter, which its store keeps (`fedistill.privacy.accounting.counter`). If the ledger cannot be
read, verified, locked or written, every request is refused.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedistill.core.json_lines import append
from fedistill.core.locks import try_lock
from fedistill.errors import LedgerError
from fedistill.privacy.accounting.budget import Charge, already_paid, require_affordable
from fedistill.privacy.accounting.counter import Counter
from fedistill.privacy.accounting.ledger_lines import Entry, Noted, Occasion, link, read_again, remember
from fedistill.privacy.accounting.release_limits import Leaving, require_room

PATIENCE_SECONDS = 30.0
"""Longest wait for another process's lock on a ledger; each holds it for the time of a line."""


class Ledger:
    """The file at a path; made when something is first entered. Safe for several processes.

    >>> import tempfile
    >>> from fedistill.core.accounting import Mechanism, PrivacyCost
    >>> ledger = Ledger(Path(tempfile.mkdtemp()) / "north.jsonl")
    >>> cost = PrivacyCost(Mechanism(sigma=0.8), epsilon=6.0, delta=1e-5)
    >>> ledger.charge(Occasion("run 1", "dp-dm"), Charge("key", "", "images", "image", "system", cost, (8.0, 1e-5)))
    >>> ledger.release(Occasion("run 1", "dp-dm"), "a" * 64, ["key"])
    >>> [entry.sha256[:4] or entry.charge.cost.epsilon for entry in ledger.entries()]
    [6.0, 'aaaa']
    """

    def __init__(self, path: Path, counter: Path | None = None) -> None:
        self.path, self._counter = path, None if counter is None else Counter(counter, path)

    def entries(self) -> list[Entry]:
        """Return all lines; none if there is no file yet.

        Raises:
            LedgerError: it cannot be read, or is not as it was written.
        """
        return self._read()[0]

    def _read(self) -> tuple[list[Entry], str]:
        entries, chain = read_again(self.path)
        if self._counter is not None:
            self._counter.require(entries)
        return entries, chain

    def note(self, entry: Noted, **about: Any) -> None:
        """Enter what was agreed to, asked for, decided or sent; when this returns, it is on the disk.

        Args:
            entry: kind of the line.
            about: plain values; text of others is to be made printable before.

        Raises:
            LedgerError: the ledger cannot be read or written.
        """
        with self._held() as file:
            entries, chain = self._read()
            self._append(file, {"entry": entry, **about}, chain, entries)

    def decide(self, decision: Callable[[list[Entry]], tuple[Noted, dict[str, Any]] | None]) -> None:
        """Enter what a function makes of all lines so far, with nobody else writing between; None: nothing.

        Raises:
            LedgerError: the ledger cannot be read or written.
        """
        with self._held() as file:
            entries, chain = self._read()
            decided = decision(entries)
            if decided is not None:
                self._append(file, {"entry": decided[0], **decided[1]}, chain, entries)

    def charges(self) -> list[Charge]:
        """Return the charges, in order."""
        return [entry.charge for entry in self.entries() if entry.charge is not None]

    def require(self, charges: Sequence[Charge]) -> None:
        """Refuse what could not be paid, before any work for it; nothing is entered.

        Raises:
            PolicyError: the budget does not cover it.
            LedgerError: the ledger cannot be read.
        """
        require_affordable(self.charges(), charges)

    def require_room(self, leaving: Leaving) -> None:
        """Refuse, before any work for it, a Release beyond what may leave in all.

        Raises:
            PolicyError: names the rule.
            LedgerError: the ledger cannot be read.
        """
        require_room(self.entries(), leaving)

    def charge(self, occasion: Occasion, charge: Charge) -> None:
        """Enter a charge; when this returns, it is on the disk, and its noise may be drawn.

        Raises:
            PolicyError: the budget does not cover it; nothing was entered.
            LedgerError: the ledger cannot be read or written.
        """
        with self._held() as file:
            entries, chain = self._read()
            before = [entry.charge for entry in entries if entry.charge is not None]
            require_affordable(before, [charge])
            if not already_paid(before, charge):
                self._append(file, {"entry": "charged", **_plain(occasion), **asdict(charge)}, chain, entries)

    def release(
        self, occasion: Occasion, sha256: str, keys: Sequence[str] = (), leaving: Leaving | None = None
    ) -> None:
        """Enter what is about to leave; once for the same Release to the same recipient.

        Args:
            occasion: the run and the scheme.
            sha256: of the Release, in hex.
            keys: of the charges that it was made of.
            leaving: what it adds to all that has left, and how much may; None: it is not counted.

        Raises:
            PolicyError: more would leave than may; nothing was entered.
            LedgerError: the ledger cannot be read or written.
        """
        with self._held() as file:
            entries, chain = self._read()
            if leaving is not None:
                require_room(entries, leaving, sha256=sha256)
            if not any((entry.sha256, entry.occasion.to) == (sha256, occasion.to) for entry in entries):
                counted = {} if leaving is None else {"item": leaving.item, "per_class": leaving.per_class}
                about = {"entry": "released", **_plain(occasion), "sha256": sha256, "keys": list(keys), **counted}
                self._append(file, about, chain, entries)

    @contextmanager
    def _held(self) -> Iterator[int]:
        """Open the file for appending, locked against other processes."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            _lock(file, self.path)
            yield file
        finally:
            os.close(file)  # and the lock with it

    def _append(self, file: int, content: dict[str, Any], chain: str, entries: list[Entry]) -> None:
        """Append a line, and count it: a process that dies between leaves one uncounted line."""
        line = json.dumps({"time": time.time(), **content}, sort_keys=True)
        chained = link(chain, line)
        whole = line[:-1] + f', "chain": "{chained}"}}'
        try:
            append(file, whole, sync=True)
            _sync_folder(self.path.parent)
            if self._counter is not None:
                self._counter.write(len(entries) + 1, chained)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        remember(self.path, entries, whole, chain)


def _plain(occasion: Occasion) -> dict[str, Any]:
    return {name: value for name, value in asdict(occasion).items() if name != "agreement" or value}


def _lock(file: int, path: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        while not try_lock(file):
            if time.monotonic() > until:
                raise LedgerError(
                    f"Another process holds the ledger {path}.", found=f"for {PATIENCE_SECONDS:g} seconds"
                )
            time.sleep(0.01)
    except OSError as error:
        raise LedgerError(
            f"The ledger {path} cannot be locked.",
            found=error,
            mend="keep it on a file system with locks, such as a local disk",
        ) from error


def _sync_folder(folder: Path) -> None:
    """Flush a folder, so that a file just created in it is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> LedgerError:
    return LedgerError(
        f"The ledger {path} cannot be written, so nothing is released.",
        found=error,
        mend="let this user write there, or name another file in the site's configuration",
    )
