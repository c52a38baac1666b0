"""The server's validation of every Release on arrival; it trusts nothing that a site sends."""

from dataclasses import dataclass

import torch

from fedistill.config import Job
from fedistill.errors import ReleaseError
from fedistill.methods import METHODS, labels_for
from fedistill.release.release import ENCODINGS, Packed, Release
from fedistill.transport.protocol.claims import pack_asked, require_as_asked

OVERHEAD_BYTES = 1 << 20
FULL_BYTES = 2 << 30
"""Largest Release of a scheme without a budget."""

ROUNDING = 1e-3
"""How far an image's probabilities may be from 1 in all."""

LARGEST_SCALE, LARGEST_OFFSET = 1e3, 1e5
LARGEST_PIXEL = LARGEST_OFFSET + 255 * LARGEST_SCALE
"""Largest absolute value of a pixel, in any encoding."""


@dataclass(frozen=True)
class Expected:
    """The image shape and label space of a simulation, from the server's test split."""

    channels: int
    size: int
    classes: int
    multilabel: bool


def size_limit(job: Job, expected: Expected) -> int:
    """Return the largest size in bytes of a reply to this job: all images of all budgets, labels, and overhead."""
    if not METHODS[job.method].budget:
        return FULL_BYTES
    labels = sum(4 * expected.classes * pack_asked(job, ipc) ** 2 * ipc for ipc in job.ipcs) if _soft(job) else 0
    labels *= expected.classes * job.draws
    image = _dtype(job).itemsize * expected.channels * expected.size**2 + 4 * max(2, expected.classes) + 8
    return OVERHEAD_BYTES + sum(job.ipcs) * expected.classes * job.draws * image + labels


def validate_release(data: bytes, job: Job, expected: Expected) -> Release:
    """Read and validate the Release that a site sent for a job.

    Raises:
        ReleaseError: the Release is invalid, or does not answer the job.
    """
    limit = size_limit(job, expected)
    if len(data) > limit:
        raise ReleaseError("The Release is too large.", expected=f"at most {limit} bytes", found=len(data))
    release = Release.from_bytes(data)
    requested = {"site": job.site, "scheme": job.scheme, "seed": job.seed, "partition": job.partition}
    answered = {name: getattr(release, name) for name in requested}
    if requested != answered:
        raise ReleaseError("The Release answers another request.", expected=requested, found=answered)
    if release.real and not METHODS[job.method].real:
        raise ReleaseError(f"The Release declares real images; {job.scheme!r} shares none.")
    if METHODS[job.method].real and not release.real:
        raise ReleaseError(f"The Release declares no real images; {job.scheme!r} shares only real ones.")
    budgets = job.ipcs or (None,)
    if set(release.sets) != set(budgets):
        raise ReleaseError("The Release has other budgets.", expected=list(budgets), found=list(release.sets))
    for ipc, packed in release.sets.items():
        _check(packed, ipc, job, expected)
    require_as_asked(release, job)
    return release


def _soft(job: Job) -> bool:
    return labels_for(job.method, job.settings).soft


def _dtype(job: Job) -> torch.dtype:
    """Return the dtype of the job's images; real images have eight bits in every encoding."""
    return torch.uint8 if METHODS[job.method].real else ENCODINGS[job.encoding]


def _check(packed: Packed, ipc: int | None, job: Job, expected: Expected) -> None:
    where = "the Release" if ipc is None else f"ipc {ipc}"
    pack = pack_asked(job, ipc)
    if packed.pack != pack:
        raise ReleaseError(f"The images of {where} are packed otherwise.", expected=f"pack {pack}", found=packed.pack)
    n = len(packed.images) if packed.images.ndim else 0
    most = None if ipc is None else ipc * expected.classes * job.draws
    labels_shape = (n, expected.classes) if expected.multilabel else (n,)
    wanted = {
        "images": (_dtype(job), (n, expected.channels, expected.size, expected.size)),
        "scale": (torch.float32, (expected.channels,)),
        "offset": (torch.float32, (expected.channels,)),
        "labels": (torch.float32 if expected.multilabel else torch.int64, labels_shape),
        "lr": (torch.float32, (1,)),
        "draw": (torch.int64, (n,)),
        "soft": (torch.float32, (n * pack * pack, expected.classes)),
    }
    for name, (dtype, shape) in wanted.items():
        value = getattr(packed, name)
        if value is None and name == "lr":
            continue
        if name == "draw" and (value is None) != (job.draws == 1):
            raise ReleaseError(f"Invalid draws of {where}.", expected=f"{job.draws} draws")
        if name == "soft" and (value is not None) != _soft(job):
            asked = "soft" if _soft(job) else "hard"
            raise ReleaseError(f"The labels of {where} are not those asked for.", expected=f"{asked} labels")
        if value is None:
            continue
        actual = (value.dtype, tuple(value.shape))
        if actual != (dtype, shape):
            raise ReleaseError(f"Invalid {name} of {where}.", expected=(dtype, shape), found=actual)
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ReleaseError(f"{name} of {where} holds NaN or infinity.", expected="finite numbers")
    if n == 0 or (most is not None and n > most):
        raise ReleaseError(f"Invalid number of images of {where}.", expected=f"1 to {most}", found=n)
    top = 1 if expected.multilabel else expected.classes - 1
    if packed.labels.min() < 0 or packed.labels.max() > top:
        found_range = f"{packed.labels.min().item()}..{packed.labels.max().item()}"
        raise ReleaseError(f"A label of {where} is out of range.", expected=f"0..{top}", found=found_range)
    if packed.soft is not None and (packed.soft.min() < 0 or (packed.soft.sum(1) - 1).abs().max() > ROUNDING):
        raise ReleaseError(f"The soft labels of {where} are no probabilities.", expected="at least 0, and 1 in all")
    _check_range(packed, where)
    if packed.lr is not None and not 0 < float(packed.lr[0]) <= 10:
        raise ReleaseError(f"Invalid step size of {where}.", expected="above 0, at most 10", found=float(packed.lr[0]))
    if packed.draw is not None:
        if packed.draw.min() < 0 or packed.draw.max() >= job.draws:
            raise ReleaseError(f"A draw of {where} is out of range.", expected=f"0..{job.draws - 1}")
        if ipc is not None and torch.bincount(packed.draw).max() > ipc * expected.classes:
            raise ReleaseError(f"A draw of {where} has too many images.", expected=ipc * expected.classes)


def _check_range(packed: Packed, where: str) -> None:
    scale, offset = packed.scale, packed.offset
    if packed.images.is_floating_point():
        if (scale != 1).any() or (offset != 0).any() or packed.images.abs().max() > LARGEST_PIXEL:
            expected = f"pixels to {LARGEST_PIXEL:g} in size, scale 1, offset 0"
            raise ReleaseError(f"Invalid pixel range of {where}.", expected=expected)
    elif (scale < 0).any() or scale.max() > LARGEST_SCALE or offset.abs().max() > LARGEST_OFFSET:
        expected = f"scale 0..{LARGEST_SCALE:g}, |offset| to {LARGEST_OFFSET:g}"
        raise ReleaseError(f"Invalid pixel range of {where}.", expected=expected)
