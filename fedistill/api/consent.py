"""A hospital decides: what its data office's commands do, for the command line and for scripts."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedistill.config.site_file import OwnSite
from fedistill.consent.agreement import Agreement, Agreements, write
from fedistill.consent.airlock import held
from fedistill.consent.items import Item, answerable, items_of, schemes_of
from fedistill.consent.study import canonical, hash_of, load_study
from fedistill.consent.terms import forbidden, require_within, totals
from fedistill.consent.words import described, evidence, unanswered
from fedistill.core.files import keep_private
from fedistill.errors import PolicyError, SettingError, nearest
from fedistill.privacy.accounting.counter import counter_of
from fedistill.privacy.accounting.ledger import Ledger
from fedistill.privacy.policy.secret import ensure_secret
from fedistill.transport.site.held import Seen, look

DAYS = 365
"""For which an agreement holds unless it says otherwise."""


@dataclass(frozen=True)
class Offer:
    """A study as a hospital might agree to it.

    Args:
        text: canonical text of the study.
        lines: what it would send, in plain words.
        refused: schemes that it would take no part in, with the reason of each.
        standing: schemes whose answers need not be looked at first.
        until: the last day.
        evidence: what audits found.
    """

    text: str
    lines: tuple[str, ...]
    refused: dict[str, str]
    standing: tuple[str, ...]
    until: str
    evidence: tuple[str, ...]


def book_of(own: OwnSite) -> Ledger:
    """Return the ledger of a hospital, with the counter that its store keeps."""
    return Ledger(own.path(own.file.ledger), counter_of(own.path(own.file.store)))


def prepare(
    own: OwnSite,
    study: str,
    *,
    changes: Iterable[str] = (),
    phantom: bool = False,
    without: Sequence[str] = (),
    standing: Sequence[str] = (),
    until: str | None = None,
    evidence: Path | None = None,
) -> Offer:
    """Hold a study against a hospital's rules, and say what it would send.

    Args:
        own: the hospital.
        study: name or path of the study.
        changes: ``key=value``, as the coordinator gives ``--set``.
        phantom: put every data set's phantom in its place.
        without: schemes to take no part in.
        standing: schemes whose answers need not be looked at first.
        until: the last day, as ``2027-01-31``; default in a year.
        evidence: a run with an audit.

    Raises:
        PlanError: the study cannot be carried out, or has no such site.
        PolicyError: the rules leave nothing of it, or allow less than all of it together.
        SettingError: no such scheme or day, or no audit in the run.
    """
    simulation = load_study(study, changes=changes, phantom=phantom)
    policy = own.federation.policy_of(own.file.name)
    held_out = own.federation.held_out > 0
    whole = items_of(simulation, own.file.name)
    everything = answerable(whole, held_out=held_out)
    for name in (*without, *standing):
        if name not in simulation.scheme:
            raise SettingError(f"The study has no scheme {name!r}.", mend=nearest(name, simulation.scheme))
    refused = dict.fromkeys(without, "this hospital takes no part in it")
    items = {name: item for name, item in everything.items() if item.scheme not in refused}
    refused |= forbidden(items, policy, held_out=held_out)
    items = {name: item for name, item in items.items() if item.scheme not in refused}
    if not items:
        reasons = "; ".join(f"{scheme}: {why}" for scheme, why in refused.items())
        raise PolicyError("The site's policy leaves nothing of the study to agree to.", found=reasons or "no item")
    book = book_of(own)
    entries = book.entries()
    sums = totals(items, Agreements(own.agreements, entries), entries, policy, held_out=held_out)
    require_within(sums, policy)
    found = () if evidence is None else tuple(_evidence(evidence, items))
    text = canonical(simulation)
    lines = [
        *described(simulation, items, refused, sums, policy),
        *unanswered(len(whole) - len(everything)),
        *(f"Audit: {line}" for line in found),
        f"HASH {hash_of(text)}, until {_day(until)}.",
    ]
    return Offer(text, tuple(lines), refused, tuple(standing), _day(until), found)


def agreed_to(own: OwnSite, offer: Offer, *, by: str) -> Path:
    """Agree: write the agreement beside the site's file and enter it in the ledger; return its path.

    Raises:
        LedgerError: the ledger cannot be read or written; nothing was agreed.
    """
    keep_private()
    if own.file.secret:
        file = own.file
        ensure_secret(own.path(file.secret), store=own.path(file.store), ledger=own.path(file.ledger))
    at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    study, site = hash_of(offer.text), own.file.name
    agreement = Agreement(study, offer.text, site, by, at, offer.until, offer.refused, offer.standing, offer.evidence)
    book = book_of(own)
    book.entries()  # a ledger that cannot be trusted is found before the file is written
    digest = write(own.agreements, agreement)
    book.note("agreed", agreement=study, by=by, file=digest, name=agreement.study.name, until=offer.until)
    return own.agreements / f"{study}.toml"


def revoke_agreement(own: OwnSite, beginning: str, *, by: str) -> str:
    """Take an agreement back, and return its HASH; the file stays, for who wants to know what it was.

    Args:
        own: the hospital.
        beginning: of the HASH.
        by: who decides.

    Raises:
        SettingError: no agreement begins so, or several do.
        LedgerError: the ledger cannot be read or written.
    """
    book = book_of(own)
    study = Agreements(own.agreements, book.entries()).find(beginning)
    book.note("revoked", agreement=study, by=by)
    return study


def listed(own: OwnSite) -> list[tuple[object, ...]]:
    """Return a row for each agreement: HASH, study, by, until, state, and what was answered, sent, held and refused."""
    entries = book_of(own).entries()
    known = Agreements(own.agreements, entries)
    rows: list[tuple[object, ...]] = []
    for study in known.hashes():
        own_entries = [entry for entry in entries if entry.occasion.agreement == study]
        sent = {entry.about["item"] for entry in own_entries if entry.kind == "sent"}
        begun = {entry.about["item"] for entry in own_entries if entry.kind == "begun"}
        waits = sum(each.state == "waits" for each in held(entries) if each.agreement == study)
        no = sum(entry.kind == "refused" for entry in own_entries)
        about: tuple[object, ...] = ("", "", "")
        state, of = "holds", ""
        try:
            agreement = known.read(study)
            about = ("", agreement.by, agreement.until)
            known.require(study)
            about, of = (agreement.study.name, *about[1:]), f" of {len(agreement.items())}"
        except PolicyError as error:
            state = "revoked" if known.revoked(study) else error.what
        rows.append((study[:12], *about, state, f"{len(begun)}{of}", len(sent), waits, no))
    return rows


def waiting(own: OwnSite) -> list[tuple[object, ...]]:
    """Return a row for each answer that waits, or was decided: number, study, what, state, by, and when it came."""
    rows: list[tuple[object, ...]] = []
    for each in held(book_of(own).entries()):
        when = dt.datetime.fromtimestamp(each.time, dt.UTC).strftime("%Y-%m-%d %H:%M")
        rows.append((each.number, each.agreement[:12], each.what, each.state, each.by, when))
    return rows


def show(own: OwnSite, number: int) -> Seen:
    """Return what waits under a number: figures in words, and its images beside the nearest real ones.

    Raises:
        SettingError: there is no such number.
        DataError: the site's images cannot be read.
    """
    return look(own.node_config(), book_of(own).entries(), number)


def _evidence(folder: Path, items: dict[str, Item]) -> list[str]:
    return evidence(folder, schemes_of(items))


def _day(until: str | None) -> str:
    today = dt.datetime.now(dt.UTC).date()
    if until is None:
        return (today + dt.timedelta(days=DAYS)).isoformat()
    try:
        day = dt.date.fromisoformat(until)
    except ValueError as error:
        raise SettingError("--until is no day.", expected="such as 2027-01-31", found=until) from error
    if day < today:
        raise SettingError("--until is a day that has passed.", expected=f"{today} or later", found=until)
    return day.isoformat()
