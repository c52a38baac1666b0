"""Where the noise of differential privacy comes from: a seed, in simulations, or the operating system's entropy."""

import math
import os
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.errors import SettingError

ENTROPIES = ("seeded", "system")

AT_ONCE = 1 << 16  # random numbers drawn in one piece


class Source(Protocol):
    """A source of noise and of samples."""

    def normal(self, shape: tuple[int, ...], *names: str | int) -> Tensor:
        """Draw standard normal numbers, float64; seeded ones by these names."""

    def uniform(self, n: int, *names: str | int) -> Tensor:
        """Draw numbers in [0, 1), float64 (n,)."""

    def generator(self, *names: str | int) -> torch.Generator:
        """Return a generator for numbers that protect nobody: the images' start."""


class Seeded:
    """Noise that can be drawn again, and therefore taken off again: for simulations."""

    def __init__(self, seed: int, *names: str | int) -> None:
        self._seed = seeds.spawn(seed, *names)

    def normal(self, shape: tuple[int, ...], *names: str | int) -> Tensor:
        """Draw standard normal numbers, float64, the same ones for the same names."""
        return torch.randn(shape, generator=self.generator("normal", *names), dtype=torch.float64)

    def uniform(self, n: int, *names: str | int) -> Tensor:
        """Draw numbers in [0, 1), float64 (n,), the same ones for the same names."""
        return torch.rand(n, generator=self.generator("uniform", *names), dtype=torch.float64)

    def generator(self, *names: str | int) -> torch.Generator:
        """Return the generator of these names."""
        return seeds.generator(self._seed, *names)


class System:
    """Noise from the operating system's entropy, kept nowhere.

    Every bit comes from there, with no generator in between whose state could be worked out. Normal numbers are half
    the sum of four, which leaves no pattern of floating-point numbers to tell the sum below by (Mironov, CCS 2012;
    Holohan & Braghin, ESORICS 2021).
    """

    def normal(self, shape: tuple[int, ...], *names: str | int) -> Tensor:
        """Draw standard normal numbers, float64; names mean nothing here."""
        numbers = np.empty(math.prod(shape))
        for at in range(0, numbers.size, AT_ONCE):
            part = numbers[at : at + AT_ONCE]
            part[:] = sum(_box_muller(part.size) for _ in range(4)) / 2
        return torch.from_numpy(numbers).view(shape)

    def uniform(self, n: int, *names: str | int) -> Tensor:
        """Draw numbers in [0, 1) with 53 random bits each, float64 (n,)."""
        return torch.from_numpy(_random_bits(n) * 2.0**-53)

    def generator(self, *names: str | int) -> torch.Generator:
        """Return a generator with a seed of 63 random bits."""
        return torch.Generator().manual_seed(int.from_bytes(os.urandom(8), "big") >> 1)


def source_for(entropy: str, seed: int, *names: str | int) -> Source:
    """Return noise of this kind: of the operating system, or of a seed, spawned by name.

    Raises:
        SettingError: no such entropy.
    """
    require_entropy(entropy)
    return System() if entropy == "system" else Seeded(seed, *names)


def require_entropy(entropy: str) -> None:
    """Raise SettingError where it is none of `ENTROPIES`."""
    if entropy not in ENTROPIES:
        raise SettingError(f"There is no entropy {entropy!r}.", expected=" or ".join(ENTROPIES))


def _random_bits(n: int) -> np.ndarray:
    """Draw whole numbers of 53 bits, uint64 (n,)."""
    return np.frombuffer(os.urandom(8 * n), np.uint64) >> np.uint64(11)


def _box_muller(n: int) -> np.ndarray:
    radius = np.sqrt(-2 * np.log((_random_bits(n) + 1.0) * 2.0**-53))
    return radius * np.cos(2 * np.pi * 2.0**-53 * _random_bits(n))
