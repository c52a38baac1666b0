"""What a case is: one piece of work that both sides do, at which sizes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Sampler

from benchmarks.plain.convnet import ConvNet
from fedistill.data import ImageSet
from fedistill.models import Network, Params, build

PLAIN, OURS, OURS_BF16 = "plain", "FeDistill", "FeDistill, bfloat16"


@dataclass(frozen=True)
class Sizes:
    """How much work the cases are; the defaults are the published sizes.

    Args:
        width: of the ConvNet.
        batch_real: real images of a class in a matching step.
        inner: epochs of training between two matching steps that are timed.
        unroll: synthetic steps in a timed iteration of MTT.
        unroll_memory: by side, the synthetic steps whose peak memory is taken.
        batch_expert: real images in an expert's step.
        pool: images an evaluation network is trained on.
        epochs: of that training that are timed.
        batch: images in one of its steps, at most the pool's.
    """

    width: int = 128
    batch_real: int = 256
    inner: int = 20
    unroll: tuple[int, ...] = (20, 60)
    unroll_memory: tuple[tuple[str, int], ...] = ((PLAIN, 20), (PLAIN, 60), (OURS, 20), (OURS, 80))
    batch_expert: int = 256
    pool: int = 200
    epochs: int = 4
    batch: int = 256


# Small enough to rehearse everything in a minute or two; what it measures means nothing.
QUICK = Sizes(
    width=8,
    batch_real=16,
    inner=3,
    unroll=(2, 3),
    unroll_memory=((PLAIN, 2), (PLAIN, 3), (OURS, 2), (OURS, 4)),
    batch_expert=8,
    pool=16,
    epochs=2,
    batch=8,
)


@dataclass(frozen=True, eq=False)
class Case:
    """One piece of work.

    Args:
        steps: how many steps a call makes; times are per step.
        sides: by side, a function that does the work from the same start whenever it is called, and returns what it
            made, so that the sides can be compared.
    """

    steps: int
    sides: Mapping[str, Callable[[], list[Tensor]]]


def network_for(images: ImageSet, sizes: Sizes) -> Network:
    """FeDistill's ConvNet for these images."""
    return build("convnet", channels=images.channels, classes=images.n_classes, size=images.size, width=sizes.width)


def plain_pixels(images: ImageSet) -> Tensor:
    """The images as a textbook loop holds them, float32 (N, C, H, W), row after row.

    PyTorch chooses its kernels by the layout in memory, and one grey channel fits several: a side that is handed the
    other's tensors would be timed in the other's layout.
    """
    return images.pixels().clone(memory_format=torch.contiguous_format)


def module_like(network: Network, params: Params) -> ConvNet:
    """The textbook module with the same weights, in their dtype."""
    module = ConvNet(network.channels, network.classes, width=network.width).to(params[0].dtype)
    reset(module, params)
    return module


def reset(module: ConvNet, params: Params) -> None:
    """Give the module these weights; both sides keep them in the same order."""
    with torch.no_grad():
        for mine, given in zip(module.parameters(), params, strict=True):
            mine.copy_(given)


class Order(Sampler[int]):
    """A DataLoader's shuffling that draws each epoch's order from a generator of ours, and nothing else from it."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.n, self.generator = n, generator

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.n, generator=self.generator).tolist())

    def __len__(self) -> int:
        return self.n
