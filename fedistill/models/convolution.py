"""A 3 x 3 convolution whose second derivatives are convolutions as well, for a GPU.

PyTorch's own derivative of a convolution's gradient takes images for kernels: convolutions with kernels as large as the
maps, which cuDNN has no fast algorithm for. With y = w * x, and dx and dw linear in dy, cotangents u of dx and v of dw
pass on

    to dy: w * u + v * x        to w: dw of (u, dy)        to x: dx of (v, dy)

which are one more forward pass each for u and v, and the two halves of a backward pass.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def convolution(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Return the convolution without bias, stride 1: (N, C, H, W), (O, C, K, K) -> (N, O, H', W')."""
    y: Tensor = _Convolution.apply(x, weight, padding)
    return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, padding=padding)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        dx, dw = _Backward.apply(dy, x, weight, ctx.padding, *ctx.needs_input_grad[:2])
        return dx, dw, None


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, padding: int, of_x: bool, of_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(dy, x, weight)
        ctx.padding = padding
        ctx.set_materialize_grads(False)
        dx, dw = _halves(dy, x, weight, padding, of_x, of_weight)
        return dx, dw

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor | None, v: Tensor | None) -> Any:
        dy, x, weight = ctx.saved_tensors
        by_dy = by_x = by_weight = None
        if u is not None:
            by_dy = F.conv2d(u, weight, padding=ctx.padding)
            if ctx.needs_input_grad[2]:
                _, by_weight = _halves(dy, u, weight, ctx.padding, False, True)
        if v is not None:
            along = F.conv2d(x, v, padding=ctx.padding)
            by_dy = along if by_dy is None else by_dy + along
            if ctx.needs_input_grad[1]:
                by_x, _ = _halves(dy, x, v, ctx.padding, True, False)
        return by_dy, by_x, by_weight, None, None, None


def _halves(
    dy: Tensor, x: Tensor, weight: Tensor, padding: int, of_x: bool, of_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients in the images and in the kernels; None for one that is not asked for."""
    dx, dw, _ = torch.ops.aten.convolution_backward(
        dy, x, weight, None, [1, 1], [padding, padding], [1, 1], False, [0, 0], 1, [of_x, of_weight, False]
    )
    return dx, dw
