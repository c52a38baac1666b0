"""Traffic across a site's boundary, in bytes: a message's size as Flower encodes it, and counts of such sizes.

The figure is the length of the message in Protocol Buffers' encoding (https://protobuf.dev/programming-guides/encoding),
as ``flwr.proto.message_pb2.Message`` defines it: metadata, and the records or the error. Ids count as long as a
deployed SuperLink gives them, a message's 64 hexadecimal digits, a run's, node's and task's nine bytes: so the same
study has the same figures in one process, on Ray and between hospitals, in whatever order its messages were sent.

Not in it: the framing of TLS, HTTP/2 and gRPC (some 31 bytes in 16 KiB, and a connection's handshake); heartbeats,
acknowledgements, and what is sent again after a failure; and the heads and ids of the objects that Flower cuts a
message into (100 to 200 bytes each: the message, every record and array, and every 5 MiB of an array). Flower sends
equal objects once, so arrays that repeat one another may take less than they count.
"""

from typing import Any, Literal

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord

from fedistill.transport.flower_internals import (
    array_to_proto,
    config_record_to_proto,
    error_to_proto,
    metadata_to_proto,
    metric_record_to_proto,
)

_LONGEST_ID = (1 << 63) - 1  # a SuperLink draws ids of 63 bits
_MESSAGE_ID = "0" * 64  # SHA-256 of the message

Direction = Literal["up", "down"]
"""``up``: from a site to the server; ``down``: from the server to a site."""


def encoded_size(message: Message) -> int:
    """Return the bytes of a message as Flower encodes it, without a copy of its arrays.

    >>> from flwr.app import RecordDict
    >>> from fedistill.transport.flower_internals import become_server
    >>> become_server(1)
    >>> def size(n):
    ...     return encoded_size(Message(RecordDict({"all": ConfigRecord({"release": bytes(n)})}), 1, "query"))
    >>> size(70_000) - size(60_000)
    10000
    """
    size = _field(_metadata_size(message))
    if message.has_content():
        items = ((_text(name), _record_size(record)) for name, record in message.content.items())
        size += _field(sum(_field(name + _field(record)) for name, record in items))
    if message.has_error():
        size += _field(error_to_proto(message.error).ByteSize())
    return size


def _metadata_size(message: Message) -> int:
    proto = metadata_to_proto(message.metadata)
    proto.run_id = proto.src_node_id = proto.dst_node_id = proto.src_task_id = proto.dst_task_id = _LONGEST_ID
    proto.message_id = _MESSAGE_ID
    if proto.reply_to_message_id:
        proto.reply_to_message_id = _MESSAGE_ID
    return int(proto.ByteSize())


def _record_size(record: ArrayRecord | ConfigRecord | MetricRecord) -> int:
    if isinstance(record, MetricRecord):
        return int(metric_record_to_proto(record).ByteSize())
    if isinstance(record, ArrayRecord):
        return sum(_field(_text(name) + _field(_array_size(array))) for name, array in record.items())
    # A Release is one value of bytes. A value stands in an item, and bytes in a value: two lengths before them.
    large = {name: value for name, value in record.items() if isinstance(value, bytes)}
    small = ConfigRecord({name: value for name, value in record.items() if name not in large})
    size = int(config_record_to_proto(small).ByteSize())
    return size + sum(_field(_text(name) + _field(_field(len(value)))) for name, value in large.items())


def _array_size(array: Array) -> int:
    described = array_to_proto(Array(array.dtype, tuple(array.shape), array.stype, b""))
    return int(described.ByteSize()) + (_field(len(array.data)) if array.data else 0)


def _text(name: str) -> int:
    return _field(len(name.encode())) if name else 0  # an empty text is not written


def _field(length: int) -> int:
    """Return the bytes of a protobuf field of this length, with its tag and length. The relevant tags are short.

    >>> [_field(n) for n in (0, 127, 128, 16_384)]
    [2, 129, 131, 16388]
    """
    return 1 + max(1, -(-length.bit_length() // 7)) + length


class Traffic:
    """A count of messages and bytes by (purpose, site, direction).

    >>> traffic = Traffic()
    >>> for size in (10, 20):
    ...     traffic.count("dc", "north", "up", size)
    >>> traffic.rows()
    [{'purpose': 'dc', 'site': 'north', 'direction': 'up', 'messages': 2, 'bytes': 30}]
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, Direction], tuple[int, int]] = {}

    def count(self, purpose: str, site: str, direction: Direction, size: int) -> None:
        """Add one message of so many bytes."""
        messages, total = self._sums.get((purpose, site, direction), (0, 0))
        self._sums[purpose, site, direction] = messages + 1, total + size

    def rows(self) -> list[dict[str, Any]]:
        """Return rows ``purpose, site, direction, messages, bytes``, sorted by these columns."""
        return [
            {"purpose": purpose, "site": site, "direction": direction, "messages": messages, "bytes": total}
            for (purpose, site, direction), (messages, total) in sorted(self._sums.items())
        ]
