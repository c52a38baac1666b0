"""Which numbers networks compute in: resolved once, from what the machine has, and recorded.

bfloat16 keeps float32's range and eight bits of its precision. Where the processor multiplies it natively (AVX512-BF16)
a width-128 matching step takes about half the time, and the gradients of real images keep a cosine above 0.999 with
those in float32. Networks below `NARROWEST` spend their time elsewhere: there it gains little or loses. What is
measured, chosen by, or released is always computed in float32.

A GPU multiplies float32 several times faster when it rounds what goes into a product to ten bits (TF32); sums stay in
float32. On one H200 at width 128 TF32 moved the gradient of a fresh network's weights by 3 % at most, bfloat16 by 9 %;
a step of SGD on 90 images took 0.47 and 0.42 ms. So TF32 is what a GPU computes in unless float32 or bfloat16 is named.
The weights themselves are float32 always.
"""

import platform
from pathlib import Path

from fedistill.errors import SettingError

CHOICES = ("auto", "float32", "tf32", "bfloat16")

# Measured on one core with AVX512-BF16, real gradient of 64 images and match of 10, float32 / bfloat16, milliseconds:
# width 32: 33 + 19 / 22 + 20, width 64: 85 + 47 / 54 + 32, width 128: 277 + 131 / 152 + 79.
NARROWEST = 64


def resolve(choice: str, *, width: int, device: str = "cpu") -> str:
    """Return ``float32``, ``tf32`` or ``bfloat16`` for networks of this width on this machine.

    Args:
        choice: one of `CHOICES`; ``auto`` takes tf32 on a GPU, and bfloat16 on a processor where it pays.
        width: channels of the networks' layers.
        device: ``cpu`` or ``cuda``, where the networks compute.

    Raises:
        SettingError: no such choice.

    >>> resolve("auto", width=16), resolve("auto", width=16, device="cuda")
    ('float32', 'tf32')
    """
    if choice not in CHOICES:
        raise SettingError(f"There is no precision {choice!r}.", expected=" or ".join(CHOICES), found=choice)
    if choice != "auto":
        return choice
    if device == "cuda":
        return "tf32"
    return "bfloat16" if width >= NARROWEST and has_bfloat16() else "float32"


def on(device: str, precision: str) -> str:
    """Return what a resolved precision means on a device: a processor has no TF32, and computes float32 in full.

    >>> on("cpu", "tf32"), on("cuda", "tf32"), on("cpu", "bfloat16")
    ('float32', 'tf32', 'bfloat16')
    """
    return "float32" if precision == "tf32" and device == "cpu" else precision


def of_training(device: str) -> str:
    """Return what the networks that are compared are trained in: float32 on a processor, tf32 on a GPU."""
    return on(device, "tf32")


def has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16 natively."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_of_processor("flags").split())


def processor() -> str:
    """Return the processor's model name; empty if the system does not say."""
    return _of_processor("model name") or platform.processor()


def _of_processor(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
