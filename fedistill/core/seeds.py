"""Random numbers from one root, spawned by name: the same names give the same numbers, whoever asks and in what order.

Nothing in FeDistill touches the global random state of Python, NumPy or PyTorch.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def spawn(root: int, *names: str | int) -> int:
    """Derive a seed in 0..2**63-1 from a root and names; it depends on each of them and on their order.

    >>> spawn(0, "north", "dc", 1) == spawn(0, "north", "dc", 1)
    True
    >>> spawn(0, "north", "dc", 1) == spawn(0, "north", "dc1")
    False
    """
    # repr keeps 1 and "1" apart and quotes strings, so no two lists of names share an encoding.
    digest = hashlib.sha256(repr((root, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def rng(root: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator seeded from a root and names."""
    return np.random.default_rng(spawn(root, *names))


def generator(root: int, *names: str | int, device: str = "cpu") -> "torch.Generator":
    """Return a PyTorch generator seeded from a root and names."""
    import torch

    return torch.Generator(device=device).manual_seed(spawn(root, *names))
