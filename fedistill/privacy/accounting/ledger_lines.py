"""The lines of a ledger as they are read: each checked against its chain, none passed over."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from fedistill.core.accounting import Mechanism, PrivacyCost
from fedistill.core.json_lines import parse
from fedistill.errors import LedgerError
from fedistill.privacy.accounting.budget import Charge


@dataclass(frozen=True)
class Occasion:
    """When, and for what: the part that both kinds of entry have.

    Args:
        to: who asked: a Flower run, or ``simulation``.
        ipc: budgets in images per class; empty for schemes without.
        agreement: HASH of the study that the site agreed to; empty in a simulation.
    """

    to: str
    scheme: str
    ipc: tuple[int, ...] = ()
    agreement: str = ""


Noted = Literal["agreed", "revoked", "asked", "refused", "begun", "held", "approved", "rejected", "sent"]
"""Kinds of lines beside charges and Releases: what was agreed to, asked for, decided, and what went out."""

NOTED: frozenset[str] = frozenset(get_args(Noted))


@dataclass(frozen=True)
class Entry:
    """A line of a ledger.

    Args:
        time: seconds since 1970.
        charge: what was paid for; or
        sha256: of the Release that left, and the keys of the charges that it rests on.
        item: of the job it answered; per_class: images of a class in it, where no privacy budget bounds it.
        kind: ``charged``, ``released`` or one of `Noted`.
        about: of a line that is neither a charge nor a Release, everything that it says.
        chain: SHA-256 of the line and all before it.
    """

    time: float
    occasion: Occasion
    charge: Charge | None = None
    sha256: str = ""
    keys: tuple[str, ...] = ()
    item: str = ""
    per_class: int = 0
    kind: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    chain: str = ""


def read(path: Path) -> tuple[list[Entry], str]:
    """Read a ledger's entries, and the chain that the next one continues.

    Raises:
        LedgerError: it cannot be read, a line was changed, or the last one is torn.
    """
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be read.", found=error, mend="let this user read it") from error
    entries, chain = [], ""
    lines = data.split(b"\n")
    for number, raw in enumerate(lines, 1):
        if not raw and number == len(lines):
            break
        try:
            entry, chain = _entry(raw, chain)
        except UNREADABLE as error:
            torn = number == len(lines)
            raise _torn(path, number) if torn else _damaged(path, number, error) from error
        entries.append(entry)
    return entries, chain


UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""Exceptions that an invalid line raises when it is read."""


def _entry(raw: bytes, chain: str) -> tuple[Entry, str]:
    """Parse one line and return it with its chain; raise one of `UNREADABLE` if the line is invalid."""
    content, line = parse(raw), raw.decode()
    chained = content.pop("chain")
    body = line[: line.rindex(', "chain"')] + "}"
    if chained != link(chain, body):
        raise ValueError("its content, or the line before it, is not what was written")
    kind, when = content.pop("entry"), float(content.pop("time"))
    agreement = str(content.pop("agreement", ""))
    if kind in NOTED:
        occasion = Occasion(str(content.get("to", "")), str(content.get("scheme", "")), (), agreement)
        return Entry(when, occasion, kind=kind, about=content, chain=chained), chained
    occasion = Occasion(content.pop("to"), content.pop("scheme"), tuple(content.pop("ipc")), agreement)
    if kind == "released":
        counted = str(content.get("item", "")), int(content.get("per_class", 0))
        left = content["sha256"], tuple(content["keys"])
        return Entry(when, occasion, None, *left, *counted, kind, {}, chained), chained
    if kind != "charged":
        raise ValueError(f"there is no entry {kind!r}")
    cost = content.pop("cost")
    limit = content.pop("limit")
    paid = PrivacyCost(**{**cost, "mechanism": Mechanism(**cost["mechanism"])})
    charge = Charge(**content, cost=paid, limit=None if limit is None else tuple(limit))
    return Entry(when, occasion, charge, kind=kind, chain=chained), chained


def link(before: str, line: str) -> str:
    """Compute the chain of a line, from its own content and the chain of the line before."""
    return hashlib.sha256(f"{before}\n{line}".encode()).hexdigest()


def _damaged(path: Path, number: int, error: Exception) -> LedgerError:
    return LedgerError(
        f"The ledger {path} is damaged at line {number}, so nothing is released.",
        expected="every line as it was written",
        found=f"nothing called {error}" if isinstance(error, KeyError) else error,
        mend="put a good copy in its place; what was spent cannot be known from this one",
    )


def _torn(path: Path, number: int) -> LedgerError:
    return LedgerError(
        f"The last line of the ledger {path}, line {number}, is torn: a process was stopped while it wrote.",
        expected="a whole line",
        mend="look at the line and delete it: noise is drawn only after its charge is whole on the disk, so nothing "
        "was spent by a line that is not",
    )


_known: dict[Path, tuple[tuple[int, int, int], list[Entry], str]] = {}
"""Ledgers as this process last read or wrote them: a file that has not changed since is not checked line by line."""


def read_again(path: Path) -> tuple[list[Entry], str]:
    """Read a ledger as `read` does, from memory if nobody has written to it since.

    Raises:
        LedgerError: as `read`.
    """
    before, mark = _known.get(path), _mark(path)
    if before is None or before[0] != mark or mark is None:
        entries, chain = read(path)
        if mark is None or mark != _mark(path):
            return entries, chain
        before = _known[path] = mark, entries, chain
    return list(before[1]), before[2]


def remember(path: Path, entries: list[Entry], line: str, chain: str) -> None:
    """Remember a ledger to which this process, which holds it, has just appended a line.

    Args:
        path: of the ledger.
        entries: all lines before.
        line: the new one.
        chain: of the line before it.
    """
    mark = _mark(path)
    if mark is not None:
        entry, chained = _entry(line.encode(), chain)
        _known[path] = mark, [*entries, entry], chained


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        at = path.stat()
    except OSError:
        return None
    return at.st_ino, at.st_size, at.st_mtime_ns
