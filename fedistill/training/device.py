"""Where networks are trained, and in which numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedistill.errors import PlanError


def device_for(gpus: float) -> torch.device:
    """Return the device of work that may use this share of a GPU: ``cpu`` for none, else ``cuda``.

    Raises:
        PlanError: a GPU is asked for and PyTorch sees none. It is never replaced in silence: its results would differ
            in their last bits from those that the store's keys promise.

    >>> device_for(0)
    device(type='cpu')
    """
    if gpus <= 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise PlanError(
            "A GPU is asked for, and there is none.",
            expected=f"a GPU that PyTorch can use, for gpus = {gpus:g}",
            found=f"PyTorch {torch.__version__} sees none",
            mend="set gpus = 0, or install a PyTorch built for the GPU; `nvidia-smi` says whether the driver sees it",
        )
    return torch.device("cuda")


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Let a GPU compute float32 as float32 within the block, and the same again each time."""
    with computing_in("float32", device):
        yield


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Let a GPU multiply float32 at this precision within the block, and give the same again each time.

    By default PyTorch rounds what goes into a convolution to ten bits (TF32) and what goes into a matrix product not at
    all, and cuDNN may choose algorithms that add in whatever order their threads finish, or by trying which is faster
    today. On a processor there is nothing to do.

    Args:
        precision: ``float32``, or ``tf32``, or ``bfloat16``, where the products that are left in float32 are TF32's.
        device: where the block computes.
    """
    if device.type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    rounded = matmul.allow_tf32
    matmul.allow_tf32 = rounds = precision != "float32"
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=rounds):
            yield
    finally:
        matmul.allow_tf32 = rounded
