"""Protocol of stateless networks: hyper-parameters, and pure functions of parameters handed to them."""

from dataclasses import Field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

Params = tuple[Tensor, ...]


class Network(Protocol):
    """A network without its parameters, which are a tuple of tensors in the order of `names`.

    Distillation differentiates through the parameters themselves, and twice: a network keeps nothing between calls (so
    no batch norm, whose running statistics would also tell of patients), and all it does has a second derivative. It
    computes in the type of the parameters. It travels between processes, so it is its few numbers and no more: a
    dataclass, whose fields name it in a key.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    channels_last: ClassVar[bool]
    """Whether a GPU takes it faster when images and kernels have their channels last in memory."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the parameters' names, each once."""

    @property
    def activations(self) -> int:
        """Return how many numbers the layers before the last put out for one image; memory limits follow from it."""

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draw fresh parameters, on the generator's device."""

    def embed(self, params: Params, x: Tensor) -> Tensor:
        """Return the features before the last layer: (N, C, H, W) -> (N, features)."""

    def maps(self, params: Params, x: Tensor) -> list[Tensor]:
        """Return the features at every depth: maps (N, C, H, W), and last the features (N, features) of `embed`."""

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Return the logits: (N, C, H, W) -> (N, classes)."""
