"""The desk of a deployed site: it answers items of studies that the site agreed to, each once, and logs all of it.

The site works out from its own copy of the study what an item is. An answer is kept before it leaves, and asked for
again the same bytes leave. Everything that was asked, refused, held back or sent is a line of the site's ledger.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from flwr.app import ConfigRecord, Message, RecordDict

from fedistill.consent.agreement import Agreement, Agreements
from fedistill.consent.airlock import digest_of, passes
from fedistill.consent.items import SCORES, Item
from fedistill.core.text import printable
from fedistill.errors import PolicyError, nearest
from fedistill.privacy.accounting.ledger_lines import Entry, Noted
from fedistill.transport.protocol.named import KINDS, MOST_TEXTS, Named, unpack_named
from fedistill.transport.site.context import SiteContext
from fedistill.transport.site.kept import keep, kept, key_for, parts_of

Carry = Callable[[Any, SiteContext], RecordDict]
"""Has a scheme's request carried out, and packs the reply."""

MOST_NAMES = 5
"""Names of a message that are logged."""


class WaitsError(PolicyError):
    """An answer that is ready, and waits for a person at the site to look at it."""


class Desk:
    """The desk that a message to a deployed site comes to: it decides what the message may ask for.

    Args:
        message: as it came.
        site: the site.

    Raises:
        PolicyError: it names no study that the site agreed to.
        LedgerError: the ledger cannot be read or written.
    """

    def __init__(self, message: Message, site: SiteContext) -> None:
        assert site.agreements is not None
        self._kind = KINDS[message.metadata.message_type]
        site.book.note("asked", **_asked(message, site))
        with refusals_logged(site):
            self._named: Named = unpack_named(message)
            agreements = Agreements(site.agreements, site.book.entries())
            self._agreement: Agreement = agreements.require(self._named.study)
            self._items = self._agreement.items()
        self._site = replace(site, agreement=self._agreement.hash)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the items that are asked for, in the message's order."""
        return self._named.items

    def answer(self, name: str, carry: Carry) -> RecordDict:
        """Return the answer to one item, made now or kept from before.

        Args:
            name: of the item.
            carry: makes it.

        Raises:
            PolicyError: the agreement has no such item, or the site's rules forbid it.
            WaitsError: somebody there has to look at it first.
        """
        site = self._site
        with refusals_logged(site, agreement=self._agreement.hash, item=printable(name)):
            item = self._item(name)
            self._begin(item)
            key = key_for(self._agreement.hash, item.name)
            content = kept(site.store, key)
            if content is None:
                content = carry(item.build(self._named.beside), site)
                keep(site.store, key, content)
            digest = digest_of(parts_of(content))
            why = passes(site.book, self._agreement, item, digest, review=site.policy.review)
            if not why:
                about = {"to": site.recipient, "agreement": self._agreement.hash, "scheme": item.scheme}
                site.book.note("sent", **about, item=item.name, sha256=digest)
        if why:
            raise WaitsError(f"{item.name}: {why}")
        return content

    def _item(self, name: str) -> Item:
        item = self._items.get(name)
        if item is None:
            others = [each for each in self._agreement.refused if f" {each} " in name]
            others += [each for each in (SCORES,) if self._kind == "scores" and each in self._agreement.refused]
            if others:
                why = self._agreement.refused[others[0]]
                raise PolicyError(f"The site takes no part in {others[0]!r} of this study: {why}.")
            raise PolicyError(
                "The study that the site agreed to has no such item (rule agreement).",
                found=printable(name),
                mend=nearest(name, self._items),
            )
        if item.kind != self._kind:
            raise PolicyError(
                "The item is asked for by a message of another kind (rule agreement).",
                expected=item.kind,
                found=self._kind,
            )
        return item

    def _begin(self, item: Item) -> None:
        """Enter what came with the first question, and refuse a second one that differs."""
        study, digest = self._agreement.hash, self._named.digest

        def begin(entries: list[Entry]) -> tuple[Noted, dict[str, Any]] | None:
            for entry in entries:
                if entry.kind == "begun" and (entry.occasion.agreement, entry.about["item"]) == (study, item.name):
                    if entry.about["beside"] == digest:
                        return None
                    raise PolicyError(
                        f"{item.name!r} was asked for before, with something else beside it: an item is answered once "
                        "(rule once).",
                        expected=f"SHA-256 {entry.about['beside'][:12]}",
                        found=digest[:12],
                    )
            about = {"to": self._site.recipient, "agreement": study, "scheme": item.scheme}
            return "begun", {**about, "item": item.name, "beside": digest}

        self._site.book.decide(begin)


def agreed(message: Message, site: SiteContext) -> ConfigRecord:
    """Say whether the site has agreed to a study; where it agreed to another of that name, to which.

    Args:
        message: with a record ``request`` of ``study``, the HASH, and ``name``.
        site: the site.

    Returns:
        ``site``, ``agreed``, ``why`` not, and ``texts``, the canonical texts of its own studies of that name, the last
        ones.
    """
    assert site.agreements is not None
    record: Mapping[str, Any] = message.content.config_records.get("request", {}) if message.has_content() else {}
    study, name = printable(record.get("study", ""), most=80), printable(record.get("name", ""))
    book = site.book
    book.note("asked", **_asked(message, site))
    agreements = Agreements(site.agreements, book.entries())
    reply: dict[str, Any] = {"site": site.name, "agreed": True, "why": "", "texts": []}
    try:
        agreements.require(study)
    except PolicyError as refusal:
        own = [each.text for each in agreements.holding() if each.study.name == name]
        reply |= {"agreed": False, "why": str(refusal), "texts": own[-MOST_TEXTS:]}
    return ConfigRecord(reply)


@contextmanager
def refusals_logged(site: SiteContext, **about: str) -> Iterator[None]:
    """Within the block a refusal is entered in the site's ledger before it is raised."""
    try:
        yield
    except PolicyError as refusal:
        site.book.note("refused", to=site.recipient, **about, why=printable(refusal, most=1000))
        raise


def _asked(message: Message, site: SiteContext) -> dict[str, Any]:
    """Return who asks for what, cut to a few printable words: a stranger's message fills no ledger."""
    about: dict[str, Any] = {"to": site.recipient, "kind": printable(message.metadata.message_type, most=60)}
    about["from"] = message.metadata.src_node_id
    record = message.content.get("request") if message.has_content() else None
    if isinstance(record, ConfigRecord):
        named: Any = record.get("items", [])
        names = named if isinstance(named, list) else [named]
        about["agreement"] = printable(record.get("study", ""), most=80)
        about |= {"items": len(names), "names": [printable(each) for each in names[:MOST_NAMES]]}
    return about
