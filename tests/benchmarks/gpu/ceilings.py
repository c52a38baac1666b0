"""What the card can do at best: a large matrix product, and a 3 x 3 convolution of 128 channels."""

import time

import torch
import torch.nn.functional as F

from fedistill.training.device import computing_in

TYPES = {"bfloat16": torch.bfloat16, "tf32": torch.float32, "float32": torch.float32}


def ceilings(device: torch.device) -> dict[str, dict[str, float]]:
    """TFLOP/s by kind of work and precision, on random numbers: they run faster on zeros."""
    found: dict[str, dict[str, float]] = {"matrix product": {}, "3 x 3 convolution": {}}
    for precision, dtype in TYPES.items():
        with computing_in(precision, device):
            a, b = (torch.randn((8192, 8192), device=device, dtype=dtype) for _ in range(2))
            found["matrix product"][precision] = _rate(lambda a=a, b=b: a @ b, 2 * 8192**3)
            x = torch.randn((512, 128, 32, 32), device=device, dtype=dtype).to(memory_format=torch.channels_last)
            w = torch.randn((128, 128, 3, 3), device=device, dtype=dtype).to(memory_format=torch.channels_last)
            flops = 2 * 9 * 128 * 128 * 512 * 32 * 32
            found["3 x 3 convolution"][precision] = _rate(lambda x=x, w=w: F.conv2d(x, w, padding=1), flops)
    return found


def _rate(work, flops: int, repeats: int = 10) -> float:
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return flops * repeats / (time.perf_counter() - start) / 1e12
