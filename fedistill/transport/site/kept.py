"""Answers as a site keeps them: the record that was sent, or would be, so that the same bytes go out again."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from fedistill.core.store import Store, key_of

KIND = "answer"
_RECORDS: dict[str, Any] = {"config": ConfigRecord, "metrics": MetricRecord}


def key_for(study: str, item: str) -> str:
    """Return the key of an item's answer in the site's store."""
    return key_of({"study": study, "item": item})


def keep(store: Store, key: str, content: RecordDict) -> None:
    """Keep a reply's content.

    Args:
        store: the site's.
        key: of `key_for`.
        content: records of arrays, of metrics, and of plain values, among which are files' bytes.
    """
    tensors: dict[str, Tensor] = {}
    note: list[dict[str, Any]] = []
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            arrays = []
            for each, array in record.items():
                tensors[_name(name, each)] = _bytes(array.data)
                arrays.append([each, array.dtype, list(array.shape), array.stype])
            note.append({"name": name, "kind": "arrays", "arrays": arrays})
            continue
        plain = {}
        for each, value in record.items():
            if isinstance(value, bytes):
                tensors[_name(name, each)] = _bytes(value)
            else:
                plain[each] = value
        kind = "metrics" if isinstance(record, MetricRecord) else "config"
        note.append({"name": name, "kind": kind, "order": list(record), "plain": plain})
    store.put(KIND, key, tensors, {"records": note})


def kept(store: Store, key: str) -> RecordDict | None:
    """Return the content that was kept; None where there is none."""
    found = store.get(KIND, key)
    if found is None:
        return None
    tensors, note = found
    content: dict[str, Any] = {}
    for record in note["records"]:
        name = record["name"]
        if record["kind"] == "arrays":
            arrays = {
                each: Array(dtype, tuple(shape), stype, tensors[_name(name, each)].numpy().tobytes())
                for each, dtype, shape, stype in record["arrays"]
            }
            content[name] = ArrayRecord(arrays)
            continue
        values = {
            each: record["plain"][each] if each in record["plain"] else tensors[_name(name, each)].numpy().tobytes()
            for each in record["order"]
        }
        content[name] = _RECORDS[record["kind"]](values)
    return RecordDict(content)


def parts_of(content: RecordDict) -> Mapping[str, bytes]:
    """Return what of a reply is made of patients' images, by name: a Release's file, networks, counts."""
    parts: dict[str, bytes] = {}
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            parts |= {_name(name, each): array.data for each, array in record.items()}
        elif isinstance(record, ConfigRecord):
            files = {_name(name, each): value for each, value in record.items() if isinstance(value, bytes) and value}
            parts |= files
            if name == "tallies":
                parts[name] = json.dumps(dict(record), sort_keys=True).encode()
    return parts


def _name(record: str, value: str) -> str:
    return f"{record}/{value}"


def _bytes(data: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
