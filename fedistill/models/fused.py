"""Instance norm, ReLU and average pooling by 2 as one operation, twice differentiable, for a GPU.

Between two convolutions a ConvNet on a GPU spends its time on moving maps to and from memory. Taken apart, the three
operations read or write a map nine times forward and backward; together, four times. And a bias before an instance norm
does nothing, since the norm takes the mean away: it is left out, and its gradient is 0.

The derivatives, for one map x of one image and channel with N pixels, mean m, scale r = 1/sqrt(var + eps), normalised
values z = (x - m) r, gain g and shift s, y = pool(relu(g z + s)). Let <.> be the mean over the map and

    P v = v - <v> - z <v z>                             which is its own transpose.

With q = unpool(dy) where g z + s > 0, and 0 elsewhere (unpool gives each of four pixels a quarter):

    dx = g r P q            dg = N <q z>            ds = N <q>

And for cotangents u, a, b of dx, dg, ds, with w = a q - g r (u <q z> + q <u z>):

    of dy: pool(g r P u + a z + b where g z + s > 0)    of g: N r <u P q>    of x: r P w - g r^2 <u P q> z
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

EPS = 1e-5


def norm_relu_pool(x: Tensor, bias: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Return pool(relu(instance_norm(x + bias))): (N, C, H, W), (C,), (C,), (C,) -> (N, C, H/2, W/2), H and W even."""
    y: Tensor = _Fused.apply(x, bias, gain, shift)
    return y


def available(x: Tensor, height: int, width: int) -> bool:
    """Return whether `norm_relu_pool` can take maps of this size, made of x.

    It takes even sizes, on a GPU with Triton, not too large for a program's registers; and nothing under
    `torch.func`'s transforms, by which per-image gradients are computed.
    """
    if x.device.type != "cuda" or height % 2 or width % 2 or x.dtype == torch.float64:
        return False
    if torch._C._are_functorch_transforms_active():
        return False
    return _kernels() is not None and bool(_kernels().fits(height, width))


def _kernels() -> Any:
    """Return the module of Triton kernels; None where Triton is not installed."""
    try:
        from fedistill.models import kernels
    except ImportError:
        return None
    return kernels


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        y, mean, scale = _on(x).forward(x, gain, shift)
        ctx.save_for_backward(x, gain, shift, mean, scale)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gain, shift, mean, scale = ctx.saved_tensors
        dx, of_gain, of_shift = _FusedBackward.apply(x, gain, shift, mean, scale, dy)
        return dx, torch.zeros_like(shift), of_gain, of_shift


class _FusedBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, mean: Tensor, scale: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(x, gain, shift, mean, scale, dy)
        return _on(x).backward(x, gain, shift, mean, scale, dy)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *along: Tensor) -> Any:
        # The mean and the scale follow from x: what they pass on is in x's gradient.
        x, *rest = ctx.saved_tensors
        dx, of_gain, ddy = _on(x).double_backward(x, *rest, along)
        return dx, of_gain, None, None, None, ddy


class Formulas:
    """The formulas above in PyTorch, on any device and in any precision: what the kernels are held against."""

    @staticmethod
    def forward(x: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return y (N, C, H/2, W/2), and each map's mean and scale (N, C)."""
        mean = x.mean((2, 3))
        scale = (x.var((2, 3), correction=0) + EPS).rsqrt()
        z = _normalised(x, mean, scale)
        return F.avg_pool2d(F.relu(_each(gain) * z + _each(shift)), 2), mean, scale

    @staticmethod
    def backward(
        x: Tensor, gain: Tensor, shift: Tensor, mean: Tensor, scale: Tensor, dy: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return dx like x, and the gradients of gain and shift (C,)."""
        z = _normalised(x, mean, scale)
        q = _unpool(dy) * (_each(gain) * z + _each(shift) > 0)
        return _each(gain) * _each(scale) * _project(q, z), (q * z).sum((0, 2, 3)), q.sum((0, 2, 3))

    @staticmethod
    def double_backward(
        x: Tensor,
        gain: Tensor,
        shift: Tensor,
        mean: Tensor,
        scale: Tensor,
        dy: Tensor,
        along: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of <backward, along> in x, gain and dy."""
        u, a, b = along[0], _each(along[1]), _each(along[2])
        z, r, g = _normalised(x, mean, scale), _each(scale), _each(gain)
        passed = g * z + _each(shift) > 0
        q = _unpool(dy) * passed
        uq = _mean(u * _project(q, z))
        w = a * q - g * r * (u * _mean(q * z) + q * _mean(u * z))
        ddy = F.avg_pool2d(passed * (g * r * _project(u, z) + a * z + b), 2)
        pixels = x.shape[2] * x.shape[3]
        return r * _project(w, z) - g * r**2 * uq * z, (pixels * r * uq).sum((0, 2, 3)), ddy


def _on(x: Tensor) -> Any:
    return _kernels() if x.device.type == "cuda" else Formulas


def _each(of_channel: Tensor) -> Tensor:
    """Return (C,) or (N, C) with two axes more, to be multiplied with maps."""
    return of_channel[..., None, None]


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _normalised(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return (x - _each(mean)) * _each(scale)


def _project(v: Tensor, z: Tensor) -> Tensor:
    return v - _mean(v) - z * _mean(v * z)


def _unpool(dy: Tensor) -> Tensor:
    return dy.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
