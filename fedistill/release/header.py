"""The header of a Release file, read as hostile input: bounded in size and depth, strict in form.

safetensors looks after the tensors. Its metadata are JSON within JSON, which Python reads more kindly than is safe: a
name given twice, ``NaN``, numbers without end, lists within lists to the depth of the stack, and a few bytes of text
for each hundred bytes of objects in memory.
"""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from fedistill.core.limits import require_shallow
from fedistill.errors import ReleaseError
from fedistill.training.packing import MOST

LARGEST_HEADER = 4 << 20
"""Bytes of a header; that of a set with ten thousand classes has less than one mebibyte."""

_TENSOR = re.compile(r"(?:all|ipc([1-9][0-9]{0,8}))\.(images|scale|offset|labels|lr|draw|soft)", re.ASCII)


def read_header(data: bytes) -> dict[str, Any]:
    """Read the description in a Release file's metadata.

    Raises:
        ReleaseError: the header is too large, or what it says is not in the form it should be.
        Exception: it is no such file at all; of many kinds, as parsers have them.
    """
    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= min(LARGEST_HEADER, len(data) - 8):
        what = "This is no Release: its header is not as long as a Release's."
        raise ReleaseError(what, expected=f"1 to {LARGEST_HEADER} bytes, all of them there", found=length)
    header = strict_json(data[8 : 8 + length])
    described: dict[str, Any] = strict_json(header["__metadata__"]["fedistill"])
    _require_kinds(described)
    return described


def strict_json(text: str | bytes) -> Any:
    """Parse JSON that every reader reads alike: unique names, 64-bit integers, finite floats, valid Unicode.

    Raises:
        ValueError: it is otherwise, or deeper than `fedistill.core.limits` allows.

    >>> strict_json('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    >>> strict_json('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: a name is given twice
    """
    read = json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number, parse_float=_finite)
    require_shallow(read, _parts)
    return read


def tensor_named(name: str) -> tuple[int | None, str]:
    """Return the budget and the part that a tensor's name stands for.

    Raises:
        ReleaseError: it is none of a Release's.

    >>> tensor_named("ipc10.images"), tensor_named("all.labels")
    ((10, 'images'), (None, 'labels'))
    """
    match = _TENSOR.fullmatch(name)
    if match is None:
        what = "This is no Release: it has a tensor that Releases do not have."
        raise ReleaseError(what, expected="ipcK.images, all.labels, ...", found=repr(name[:80]))
    return (None if match[1] is None else int(match[1])), match[2]


def _require_kinds(described: dict[str, Any]) -> None:
    kinds = {"format": int, "site": str, "scheme": str, "seed": int, "partition": int, "real": bool}
    kinds |= {"provenance": dict, "privacy": str}
    for name, kind in kinds.items():
        if type(described[name]) is not kind:  # exactly: True is an int as well
            raise TypeError(f"{name} is {type(described[name]).__name__}, not {kind.__name__}")
    packs = described.setdefault("pack", {})  # Releases of old have none
    if type(packs) is not dict or any(type(k) is not int or not 1 <= k <= MOST for k in packs.values()):
        raise TypeError(f"pack is no table of whole numbers, 1 to {MOST}")


def _parts(value: Any) -> Sequence[Any]:
    """Return the values directly within a value; check the value itself on the way."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, str):
        value.encode()  # half a surrogate pair can be neither printed nor written
    elif isinstance(value, int) and value.bit_length() > 63:
        raise ValueError("a number of more than 64 bits")
    return value if isinstance(value, list) else ()


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name is given twice")
    return table


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is beyond what a float holds")
    return value
