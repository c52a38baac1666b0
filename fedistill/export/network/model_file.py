"""The model file: networks of one line of the table, what they take in, and their card; safetensors, never a pickle.

It is read as if its sender meant harm: its header is bounded, and no network is built before its numbers are checked.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from fedistill.core.ranges import AS_TABLE, AS_TUPLE, Count, among, known
from fedistill.core.seeds import generator
from fedistill.core.settings import checked
from fedistill.data.facts import LEAST_SIZE
from fedistill.data.layout import MOST_CLASSES
from fedistill.errors import DataError, FedistillError
from fedistill.importing.preprocessing import Preprocessing
from fedistill.models import MODELS, Network, Params, build
from fedistill.release.header import LARGEST_HEADER, strict_json

FORMAT = 1
WIDEST, LARGEST_SIZE, MOST_NETWORKS = 4096, 1024, 10_000
_TENSOR = re.compile(r"([0-9]{1,5})\.([0-9]{1,5})\.([\w.\-]{1,100})", re.ASCII)


@dataclass(frozen=True)
class Architecture:
    """An architecture: the name and sizes from which a network is built.

    Args:
        model: name of the architecture.
        width: of the network.
        channels, size: of its input.
        classes: of its output.
    """

    model: Annotated[str, known("model", MODELS)]
    width: Annotated[int, Field(ge=1, le=WIDEST)]
    channels: Annotated[int, among(1, 3)]
    size: Annotated[int, Field(ge=LEAST_SIZE, le=LARGEST_SIZE)]
    classes: Annotated[int, Field(ge=2, le=MOST_CLASSES)]

    def build(self) -> Network:
        """Return the network without its parameters."""
        return build(self.model, channels=self.channels, classes=self.classes, size=self.size, width=self.width)


@dataclass(frozen=True, eq=False)
class ModelFile:
    """The content of a model file.

    Args:
        architecture: of all networks.
        groups: parameters of each network; most have one member, an ensemble several, whose predictions are averaged.
        class_names: one per class (multi-label: per label).
        multilabel: whether each label has a probability of its own.
        preprocessing: what was done to the images it was trained and tested on; None where that is not known.
        card: scheme, guarantee, test figures and limits.
    """

    architecture: Architecture
    groups: tuple[tuple[Params, ...], ...]
    class_names: tuple[str, ...]
    multilabel: bool
    preprocessing: Preprocessing | None
    card: dict[str, Any]

    def to_bytes(self) -> bytes:
        """Return the bytes of the file; equal content gives equal bytes."""
        from safetensors.torch import save

        names = self.architecture.build().names
        tensors = {
            f"{i}.{j}.{name}": value.detach().contiguous().clone()
            for i, group in enumerate(self.groups)
            for j, params in enumerate(group)
            for name, value in zip(names, params, strict=True)
        }
        about = {
            "format": FORMAT,
            "architecture": asdict(self.architecture),
            "members": [len(group) for group in self.groups],
            "class_names": list(self.class_names),
            "multilabel": self.multilabel,
            "preprocessing": None if self.preprocessing is None else self.preprocessing.to_json(),
            "card": self.card,
        }
        return save(tensors, metadata={"fedistill-model": json.dumps(about, sort_keys=True)})


def read_model(path: Path) -> ModelFile:
    """Read a model file.

    Raises:
        DataError: there is none, or it is damaged or not what `ModelFile.to_bytes` writes.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read.", expected="a model file", found=error.strerror) from error
    try:
        return _parsed(data)
    except Exception as error:  # the parsers stumble over damage with errors of many kinds
        why = error.what if isinstance(error, FedistillError) else f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path} is no model file, or is damaged.",
            expected="what `fedistill train` writes",
            found=str(why)[:300],
            mend="write it again with `fedistill train RUN`",
        ) from error


def _parsed(data: bytes) -> ModelFile:
    from safetensors.torch import load

    length = int.from_bytes(data[:8], "little")
    if not 0 < length <= min(LARGEST_HEADER, len(data) - 8):
        raise ValueError("a header of impossible length")
    read = strict_json(strict_json(data[8 : 8 + length])["__metadata__"]["fedistill-model"])
    about = checked(_About, read, "its header", error=DataError)
    architecture, members = about.architecture, about.members
    if about.format != FORMAT or len(about.class_names) != architecture.classes or sum(members) > MOST_NETWORKS:
        raise ValueError("of another format, or with other classes or more networks than there can be")
    network = architecture.build()
    shapes = {name: p.shape for name, p in zip(network.names, network.init(generator(0, "shape")), strict=True)}
    tensors = load(data)
    wanted = {f"{i}.{j}.{name}" for i, n in enumerate(members) for j in range(n) for name in shapes}
    if set(tensors) != wanted:
        raise ValueError("tensors that are not those of its networks")
    for name, value in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None or value.dtype != torch.float32 or value.shape != shapes[match[3]]:
            raise ValueError(f"the tensor {name} does not fit the network")

    def params(i: int, j: int) -> tuple[Tensor, ...]:
        return tuple(tensors[f"{i}.{j}.{name}"] for name in network.names)

    groups = tuple(tuple(params(i, j) for j in range(n)) for i, n in enumerate(members))
    record = about.preprocessing
    how = None if record is None else Preprocessing.from_json(record)
    return ModelFile(architecture, groups, about.class_names, about.multilabel, how, about.card)


@dataclass(frozen=True)
class _About:
    """The header of a model file."""

    format: int
    architecture: Annotated[Architecture, AS_TABLE]
    members: Annotated[tuple[Count, ...], AS_TUPLE, Field(min_length=1)]
    class_names: Annotated[tuple[str, ...], AS_TUPLE]
    multilabel: bool
    preprocessing: str | None
    card: dict[str, Any]
