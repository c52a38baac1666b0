"""The airlock: an answer waits at the site until a person there says yes. No byte of it leaves before.

The site's ledger is its memory: a line ``held`` gives an answer its number, ``approved`` or ``rejected`` decides it.
The rounds of one scheme are decided together, with the first of them; Releases and networks one by one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fedistill.consent.agreement import Agreement
from fedistill.consent.items import Item
from fedistill.errors import PolicyError, SettingError
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.accounting.ledger_lines import Entry, Noted

State = Literal["waits", "approved", "rejected"]


@dataclass(frozen=True)
class Held:
    """An answer in the airlock.

    Args:
        number: by which people there speak of it.
        agreement: HASH; what: the item, or the scheme whose rounds these are; scheme: its own.
        item: the first item that waits.
        sha256: of what would leave.
        state: what was decided; by: by whom; time: when it came here, in seconds since 1970.
    """

    number: int
    agreement: str
    what: str
    scheme: str
    item: str
    sha256: str
    state: State
    by: str
    time: float


def held(entries: Sequence[Entry]) -> list[Held]:
    """Return all that is or was in the airlock, by number."""
    decided = {
        int(entry.about["number"]): (entry.kind, str(entry.about["by"]))
        for entry in entries
        if entry.kind in ("approved", "rejected")
    }
    waiting = []
    for entry in entries:
        if entry.kind == "held":
            about, number = entry.about, int(entry.about["number"])
            kind, by = decided.get(number, ("waits", ""))
            state: State = "approved" if kind == "approved" else "rejected" if kind == "rejected" else "waits"
            waiting.append(
                Held(
                    number,
                    entry.occasion.agreement,
                    what=str(about["what"]),
                    scheme=entry.occasion.scheme,
                    item=str(about["item"]),
                    sha256=str(about["sha256"]),
                    state=state,
                    by=by,
                    time=entry.time,
                )
            )
    return waiting


def group_of(item: Item) -> str:
    """Return what is decided together with an item.

    The rounds of a scheme, of which each needs the one before, are one decision; so are a study's scores.
    """
    if item.kind == "scores":
        return item.kind
    return f"rounds of {item.scheme}" if item.kind == "round" else item.name


def passes(ledger: Ledger, agreement: Agreement, item: Item, digest: str, *, review: bool) -> str:
    """Return why an answer may not leave yet; empty if it may.

    Args:
        ledger: the site's.
        agreement: what it is an answer under.
        item: what was asked for.
        digest: SHA-256 of what would leave.
        review: the policy's.

    Raises:
        PolicyError: somebody there has said no.
    """
    if not review or item.scheme in agreement.standing:
        return ""
    group = group_of(item)
    earlier: list[Held] = []

    def hold(entries: list[Entry]) -> tuple[Noted, dict[str, Any]] | None:
        everything = held(entries)
        earlier.extend(each for each in everything if (each.agreement, each.what) == (agreement.hash, group))
        if earlier:
            return None
        about = {"number": len(everything) + 1, "agreement": agreement.hash, "what": group, "scheme": item.scheme}
        return "held", {**about, "item": item.name, "sha256": digest}

    ledger.decide(hold)
    state = earlier[-1].state if earlier else "waits"
    if state == "rejected":
        raise PolicyError("Somebody at the site has looked at it and said no (rule review).")
    return "" if state == "approved" else "it waits at the site until somebody there has looked at it (rule review)"


def decide(ledger: Ledger, number: int, decision: Literal["approved", "rejected"], *, by: str, why: str = "") -> Held:
    """Decide what waits under a number, once and for all; return it.

    Raises:
        SettingError: there is no such number, or it is decided.
        LedgerError: the ledger cannot be read or written.
    """
    chosen: list[Held] = []

    def choose(entries: list[Entry]) -> tuple[Noted, dict[str, Any]]:
        one = find(entries, number)
        if one.state != "waits":
            raise SettingError(f"Request {number} was {one.state} by {one.by}.", mend="what was decided stays decided")
        chosen.append(one)
        about = {"number": number, "agreement": one.agreement, "scheme": one.scheme, "item": one.item}
        return decision, {**about, "sha256": one.sha256, "by": by, **({"why": why} if why else {})}

    ledger.decide(choose)
    return chosen[0]


def find(entries: Sequence[Entry], number: int) -> Held:
    """Return what has a number.

    Raises:
        SettingError: nothing has.
    """
    everything = {each.number: each for each in held(entries)}
    if number not in everything:
        raise SettingError(
            f"There is no request {number}.",
            expected=f"1 to {len(everything)}" if everything else "none has come yet",
            mend="`fedistill requests` lists them",
        )
    return everything[number]


def digest_of(parts: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of what would leave: of a single part, its own, as of a Release's file."""
    if len(parts) == 1:
        return hashlib.sha256(next(iter(parts.values()))).hexdigest()
    digest = hashlib.sha256()
    for name in sorted(parts):
        digest.update(f"{len(name)}:{name}:{len(parts[name])}:".encode())
        digest.update(parts[name])
    return digest.hexdigest()
