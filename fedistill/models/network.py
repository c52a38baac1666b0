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
        """Names of the parameters, each once."""

    @property
    def activations(self) -> int:
        """Numbers that its layers before the last put out for one image: how many images fit in memory, and steps."""

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Fresh parameters, on the generator's device."""

    def embed(self, params: Params, x: Tensor) -> Tensor:
        """Features before the last layer: (N, C, H, W) -> (N, features)."""

    def maps(self, params: Params, x: Tensor) -> list[Tensor]:
        """Features at every depth: maps (N, C, H, W), and last the features (N, features) as `embed` gives them."""

    def __call__(self, params: Params, x: Tensor) -> Tensor:
        """Logits: (N, C, H, W) -> (N, classes)."""
