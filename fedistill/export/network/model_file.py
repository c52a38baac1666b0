"""The model file: networks of one line of the table, what they take in, and their card; safetensors, never a pickle.

It is read as if its sender meant harm: its header is bounded, and no network is built before its numbers are checked.
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedistill.core.seeds import generator
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

    model: str
    width: int
    channels: int
    size: int
    classes: int

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
    about: dict[str, Any] = strict_json(strict_json(data[8 : 8 + length])["__metadata__"]["fedistill-model"])
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']}")
    architecture = _architecture(about["architecture"])
    names = about["class_names"]
    if not (isinstance(names, list) and len(names) == architecture.classes and all(isinstance(n, str) for n in names)):
        raise ValueError("class names that do not fit the network")
    members = about["members"]
    if not (isinstance(members, list) and members and all(type(n) is int and n > 0 for n in members)):
        raise ValueError("no networks")
    if sum(members) > MOST_NETWORKS or type(about["multilabel"]) is not bool or not isinstance(about["card"], dict):
        raise ValueError("values of another kind")
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
    record = about["preprocessing"]
    how = None if record is None else Preprocessing.from_json(record)
    return ModelFile(architecture, groups, tuple(names), about["multilabel"], how, about["card"])


def _architecture(read: dict[str, Any]) -> Architecture:
    built = Architecture(**read)
    whole = all(type(n) is int for n in (built.width, built.channels, built.size, built.classes))
    if not (
        whole
        and built.model in MODELS
        and 1 <= built.width <= WIDEST
        and built.channels in (1, 3)
        and LEAST_SIZE <= built.size <= LARGEST_SIZE
        and 2 <= built.classes <= MOST_CLASSES
    ):
        raise ValueError("a network of impossible size")
    return built
