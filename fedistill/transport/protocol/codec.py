"""The codec of all messages: plain values and tensors to Flower's records, and back with every value checked.

A message's plain values are the fields of a frozen dataclass. They travel as a record's own values, or as JSON in one
of them. What is read was written by somebody else: it is checked by the dataclass's annotations, and nothing is ever
unpickled.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from pydantic import Field
from torch import Tensor

from fedistill.core.ranges import detail
from fedistill.core.settings import checked
from fedistill.errors import ReleaseError, SettingError
from fedistill.models import Network, Params
from fedistill.transport.protocol.claims import LONGEST_SECONDS, MOST_EXAMPLES

T = TypeVar("T")

Seconds = Annotated[float, Field(ge=0, le=LONGEST_SECONDS)]
Examples = Annotated[int, Field(ge=0, le=MOST_EXAMPLES)]


def head(name: str) -> dict[str, ConfigRecord]:
    """Return the record, by its name, of what a job is called: for people and progress."""
    return {"job": ConfigRecord({"name": name})}


def to_text(value: Any, *, without: Iterable[str] = (), **more: Any) -> str:
    """Return a dataclass as JSON, without some fields, with other values beside."""
    return json.dumps(detail(value, without=without) | more)


def from_text(content: RecordDict, key: str, what: str, *, record: str = "request") -> Any:
    """Return what JSON says that somebody else wrote.

    Args:
        content: the message.
        key: where the text stands in the record.
        what: it is, for the error.
        record: name of the record.

    Raises:
        SettingError: there is none.
    """
    try:
        return json.loads(str(content.config_records[record][key]))
    except (KeyError, ValueError, RecursionError) as error:
        raise SettingError(f"{what} cannot be read.", expected=f"{key} as JSON") from error


def to_record(value: Any, *, without: Iterable[str] = ()) -> ConfigRecord:
    """Return a dataclass's plain fields as a record, without some of them."""
    plain = detail(value, without=without).items()
    return ConfigRecord({name: list(each) if isinstance(each, tuple) else each for name, each in plain})


def from_record(kind: type[T], record: Mapping[str, Any], what: str, **more: Any) -> T:
    """Build a dataclass from a record or table that somebody else wrote, with other fields beside.

    Raises:
        SettingError: a value that is missing, unknown, of another type or out of range.
    """
    if not isinstance(record, Mapping) or record.keys() & more.keys():
        raise SettingError(f"{what} is no table, or names what stands elsewhere.", expected=sorted(more))
    return checked(kind, {**record, **more}, what)


def arrays_of(params: Mapping[str, Tensor]) -> ArrayRecord:
    """Convert parameters by name to the record that Flower's strategies take."""
    return ArrayRecord({name: Array(value.detach().cpu().numpy()) for name, value in params.items()})


def tensors_of(arrays: ArrayRecord) -> dict[str, Tensor]:
    """Return the arrays of a record by name, not yet held against any network."""
    # A copy: what arrives in a message may be read-only memory, which PyTorch warns of.
    return {name: torch.from_numpy(value.numpy().copy()) for name, value in arrays.items()}


def params_of(arrays: ArrayRecord, network: Network, *, networks: int | None = None) -> Params:
    """Convert a record to the parameters of a network; check them against its shapes, for sites are not trusted.

    Args:
        arrays: the record.
        network: whose shapes the parameters must have.
        networks: how many there are, each tensor with a leading axis; None for one without.

    Raises:
        ReleaseError: another name, shape or type, or numbers that are not finite.
    """
    wanted = network.init(torch.Generator().manual_seed(0))
    if set(arrays) != set(network.names):
        raise ReleaseError("These are not the network's parameters.", expected=network.names, found=sorted(arrays))
    params, tensors = [], tensors_of(arrays)
    for name, like in zip(network.names, wanted, strict=True):
        value = tensors[name]
        shape = like.shape if networks is None else (networks, *like.shape)
        if value.shape != shape or value.dtype != like.dtype:
            raise ReleaseError(
                f"Invalid {name}.", expected=(like.dtype, tuple(shape)), found=(value.dtype, tuple(value.shape))
            )
        if not torch.isfinite(value).all():
            raise ReleaseError(f"{name} holds NaN or infinity.", expected="finite numbers")
        params.append(value)
    return tuple(params)
