"""The message to a deployed site: the HASH of a study, and the names of items of it. Nothing else.

Method, settings, budgets, model, seed: the site works them out from its own copy of the study. Beside the names there
is only what no study can say beforehand: the network of a round, other sites' Releases, networks to be scored.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from pydantic import AfterValidator, Field

from fedistill.core.ranges import AS_TUPLE
from fedistill.errors import PolicyError, SettingError
from fedistill.transport.protocol.codec import from_record, to_record
from fedistill.transport.protocol.messages import MOST_JOBS, RELEASE, SCORE
from fedistill.transport.protocol.round_messages import ROUND
from fedistill.transport.protocol.training_messages import ALONE

AGREED = "query.agreed"
"""The question whether a site has agreed to a study."""

MOST_TEXTS = 8
"""Studies of one name that a site tells of, the last ones, to a server that asks for another of that name."""

KINDS = {RELEASE: "release", ROUND: "round", ALONE: "networks", SCORE: "scores"}
"""Kinds of items by the type of the message that may ask for them."""

BESIDE: Mapping[str, Mapping[str, type]] = {
    RELEASE: {},
    ROUND: {"arrays": ArrayRecord},
    ALONE: {"releases": ConfigRecord},
    SCORE: {"networks": ArrayRecord},
}
"""Records that may lie beside the names, by the type of the message."""

LONGEST_NAME = 1000


@dataclass(frozen=True, eq=False)
class Named:
    """A message to a deployed site.

    Args:
        study: HASH; items: names.
        beside: the record that came with them; None where there is none.
        digest: SHA-256 of that record, by which a second, different question is known.
    """

    study: str
    items: tuple[str, ...]
    beside: Any = None
    digest: str = ""


def _each_once(items: tuple[str, ...]) -> tuple[str, ...]:
    if not 0 < len(items) <= MOST_JOBS or len(set(items)) < len(items):
        raise ValueError(f"1 to {MOST_JOBS} names, each once")
    return items


@dataclass(frozen=True)
class _NamedItems:
    study: str
    items: Annotated[tuple[Annotated[str, Field(max_length=LONGEST_NAME)], ...], AS_TUPLE, AfterValidator(_each_once)]


def pack_named(study: str, items: Sequence[str], beside: Mapping[str, Any] | None = None) -> RecordDict:
    """Pack the names of items of a study, with the record that goes with them."""
    return RecordDict({"request": to_record(_NamedItems(study, tuple(items))), **(beside or {})})


def items_in(message: Message) -> tuple[str, ...]:
    """Return the names of the items in a message that `pack_named` has packed; none in any other."""
    record: Mapping[str, Any] = message.content.config_records.get("request", {}) if message.has_content() else {}
    names = record.get("items", [])
    return tuple(map(str, names)) if isinstance(names, list) else ()


def unpack_named(message: Message) -> Named:
    """Read a message that somebody else wrote.

    Raises:
        PolicyError: it says anything but the HASH of a study and names of items.
    """
    kind = message.metadata.message_type
    content = message.content if message.has_content() else RecordDict()
    allowed = BESIDE.get(kind, {})
    record = content.get("request")
    strange = sorted(name for name in content if name != "request" and name not in allowed)
    strange += [name for name, wanted in allowed.items() if name in content and not isinstance(content[name], wanted)]
    if not isinstance(record, ConfigRecord) or strange:
        raise _other("a message that names a study and items of it, and says nothing else")
    try:
        asked = from_record(_NamedItems, record, "the message")
    except SettingError as error:
        raise _other("the HASH of a study, and names of items of it, each once") from error
    if len(asked.items) > 1 and kind != RELEASE:
        raise _other("1 name; of Releases several, each once")
    beside = next((content[name] for name in allowed if name in content), None)
    return Named(asked.study, asked.items, beside, "" if beside is None else digest_of(beside))


def digest_of(record: Any) -> str:
    """Return the SHA-256, in hex, of a record of arrays or of plain values."""
    digest = hashlib.sha256()
    for name in sorted(record):
        value = record[name]
        data = value.data if isinstance(record, ArrayRecord) else value if isinstance(value, bytes) else repr(value)
        head = (name, value.dtype, tuple(value.shape), value.stype) if isinstance(record, ArrayRecord) else (name,)
        data = data.encode() if isinstance(data, str) else data
        digest.update(f"{head!r}{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()


def _other(expected: str) -> PolicyError:
    return PolicyError(
        "The site answers items of studies that it has agreed to, and nothing else (rule agreement).",
        expected=expected,
        mend="run the same version of FeDistill everywhere",
    )
