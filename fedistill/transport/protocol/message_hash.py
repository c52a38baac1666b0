"""When are two messages the same? Points of a sweep ask sites many things alike, and once is enough."""

import hashlib
from typing import Any

from flwr.app import Array, Message


def likeness(message: Message) -> str:
    """Return the SHA-256, in hex, of a message's recipient and content, without the names in it that are for people.

    Sites of FeDistill answer from their data and the message alone, so that equal messages have equal answers.
    """
    digest = hashlib.sha256(repr((message.metadata.dst_node_id, message.metadata.message_type)).encode())
    for name in sorted(message.content):
        if name == "job":
            continue
        for key, value in message.content[name].items():
            digest.update(repr((name, key)).encode())
            _add(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    if isinstance(value, Array):
        digest.update(repr((value.dtype, value.shape, value.stype)).encode())
        digest.update(value.data)
    elif isinstance(value, bytes):
        digest.update(value)
    else:
        digest.update(repr(value).encode())
