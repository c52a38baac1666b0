"""The form of FeDistill's work that a GPU takes, held against the readable one on the processor, at tiny sizes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import torch

from benchmarks.gpu import work
from benchmarks.gpu.work import TINY, Made, Site
from fedistill.core.precision import of_training
from fedistill.methods.dc import dsa

CLOSEST = 1e-3
"""Relative distance that float32 may put between two orders of the same sums, over a few steps of training."""

PARTS: dict[str, Callable[[Site], Made]] = {
    "DC, iterations": lambda site: work.dc_iterations(site, 2),
    "DSA, iterations": lambda site: work.dc_iterations(site, 2, dsa),
    "DM, iterations": lambda site: work.dm_iterations(site, 2),
    "SGD, steps": lambda site: work.steps(site, 6, 2),
    "real gradients": lambda site: work.real_gradients(site, 1),
    "expert, epochs": lambda site: work.expert(site, 2, augmented=True),
    "evaluation networks": work.evaluation,
    "MTT, gradient": lambda site: work.mtt_iterations(site, TINY.unroll[0], 2, augmented=True),
}


@dataclass(frozen=True)
class Found:
    """Of one part: the largest relative distance of a result from the readable form's, and whether a second run gave
    the same bits (on a GPU in TF32).
    """

    away: float
    again: bool

    @property
    def fine(self) -> bool:
        return self.away < CLOSEST and self.again


def compared(device: torch.device) -> dict[str, Found]:
    """Return what was found of each part on the device.

    On a processor graphs are replaced by their bodies and kernels by their formulas.
    """
    images = work.noise(TINY)
    found = {}
    for name, part in PARTS.items():
        readable = part(Site(images, TINY, torch.device("cpu"), "float32"))
        with as_on_a_gpu() if device.type == "cpu" else _nothing():
            made = part(Site(images, TINY, device, "float32"))
            once, twice = (part(Site(images, TINY, device, of_training(device.type))).tensors for _ in range(2))
        away = max(
            float((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-6))
            for a, b in zip(made.tensors, readable.tensors, strict=True)
        )
        found[name] = Found(away, all(torch.equal(a, b) for a, b in zip(once, twice, strict=True)))
    return found


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Within the block this processor takes the forms that a GPU takes."""
    with (
        mock.patch("fedistill.training.graphs.used_on", lambda device: True),
        mock.patch("fedistill.models.fused.available", lambda x, height, width: not (height % 2 or width % 2)),
    ):
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield
