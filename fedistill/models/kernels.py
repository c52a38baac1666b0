"""Triton kernels of `fedistill.models.fused`: instance norm, ReLU and 2 x 2 average pooling in one pass over memory.

Every program holds whole maps of one image, one channel (contiguous images) or a few neighbouring ones (channels last),
as four quarters: the pixels that pooling averages lie at the same place of the four. Sums over a map never leave the
program, and no two programs write to one address, so the same input gives the same bits every time.

Imported only where there is a GPU: Triton comes with PyTorch's builds for one.
"""

# mypy: disable-error-code="no-untyped-def"
# (A kernel's parameters have the types that Triton gives them.)

import torch
import triton
import triton.language as tl
from torch import Tensor

EPS = 1e-5

CHANNELS = 16
"""Neighbouring channels of a program where channels lie last: 64 bytes of float32, two sectors of memory."""

NUMBERS = 16384
"""Numbers of a map that a program may hold in registers, all its channels together."""


@triton.jit
def _places(n, c, sn, sc, sh, sw, W: tl.constexpr, PIXELS: tl.constexpr, PLACES: tl.constexpr, C):
    """Return the offset of the upper left pixel of every square (PLACES, channels), and which squares exist."""
    p = tl.arange(0, PLACES)
    i, j = p // (W // 2), p % (W // 2)
    to = n.to(tl.int64) * sn + c[None, :] * sc + (2 * i)[:, None] * sh + (2 * j)[:, None] * sw
    return to, (p < PIXELS)[:, None] & (c < C)[None, :]


@triton.jit
def _forward(
    x, y, mean, scale, gain, shift, C, sn, sc, sh, sw, on, oc, oh, ow,
    H: tl.constexpr, W: tl.constexpr, PLACES: tl.constexpr, BLOCK: tl.constexpr, EPSILON: tl.constexpr,
):  # fmt: skip
    n, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    PIXELS: tl.constexpr = (H // 2) * (W // 2)
    place, there = _places(n, c, sn, sc, sh, sw, W, PIXELS, PLACES, C)
    a = tl.load(x + place, there, 0.0).to(tl.float32)
    b = tl.load(x + place + sw, there, 0.0).to(tl.float32)
    d = tl.load(x + place + sh, there, 0.0).to(tl.float32)
    e = tl.load(x + place + sh + sw, there, 0.0).to(tl.float32)
    m = tl.sum(a + b + d + e, 0) / (H * W)
    a = tl.where(there, a - m[None, :], 0.0)
    b = tl.where(there, b - m[None, :], 0.0)
    d = tl.where(there, d - m[None, :], 0.0)
    e = tl.where(there, e - m[None, :], 0.0)
    r = 1.0 / tl.sqrt(tl.sum(a * a + b * b + d * d + e * e, 0) / (H * W) + EPSILON)
    g = tl.load(gain + c, c < C, 0.0).to(tl.float32)
    s = tl.load(shift + c, c < C, 0.0).to(tl.float32)[None, :]
    k = (r * g)[None, :]
    total = tl.maximum(a * k + s, 0.0) + tl.maximum(b * k + s, 0.0)
    total += tl.maximum(d * k + s, 0.0) + tl.maximum(e * k + s, 0.0)
    p = tl.arange(0, PLACES)
    i, j = p // (W // 2), p % (W // 2)
    out = y + n.to(tl.int64) * on + c[None, :] * oc + i[:, None] * oh + j[:, None] * ow
    tl.store(out, (total * 0.25).to(y.dtype.element_ty), there)
    tl.store(mean + n * C + c, m, c < C)
    tl.store(scale + n * C + c, r, c < C)


@triton.jit
def _backward(
    x, dy, dx, sums, mean, scale, gain, shift, C, NC, sn, sc, sh, sw, on, oc, oh, ow,
    H: tl.constexpr, W: tl.constexpr, PLACES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    PIXELS: tl.constexpr = (H // 2) * (W // 2)
    place, there = _places(n, c, sn, sc, sh, sw, W, PIXELS, PLACES, C)
    m = tl.load(mean + n * C + c, c < C, 0.0)[None, :]
    r = tl.load(scale + n * C + c, c < C, 0.0)[None, :]
    g = tl.load(gain + c, c < C, 0.0).to(tl.float32)[None, :]
    s = tl.load(shift + c, c < C, 0.0).to(tl.float32)[None, :]
    a = tl.where(there, (tl.load(x + place, there, 0.0).to(tl.float32) - m) * r, 0.0)
    b = tl.where(there, (tl.load(x + place + sw, there, 0.0).to(tl.float32) - m) * r, 0.0)
    d = tl.where(there, (tl.load(x + place + sh, there, 0.0).to(tl.float32) - m) * r, 0.0)
    e = tl.where(there, (tl.load(x + place + sh + sw, there, 0.0).to(tl.float32) - m) * r, 0.0)
    p = tl.arange(0, PLACES)
    i, j = p // (W // 2), p % (W // 2)
    pooled = n.to(tl.int64) * on + c[None, :] * oc + i[:, None] * oh + j[:, None] * ow
    q = tl.load(dy + pooled, there, 0.0).to(tl.float32) * 0.25
    qa = tl.where(a * g + s > 0, q, 0.0)
    qb = tl.where(b * g + s > 0, q, 0.0)
    qd = tl.where(d * g + s > 0, q, 0.0)
    qe = tl.where(e * g + s > 0, q, 0.0)
    of_shift = tl.sum(qa + qb + qd + qe, 0)
    of_gain = tl.sum(qa * a + qb * b + qd * d + qe * e, 0)
    tl.store(sums + n * C + c, of_gain, c < C)
    tl.store(sums + NC + n * C + c, of_shift, c < C)
    k, u, v = g * r, (of_shift / (H * W))[None, :], (of_gain / (H * W))[None, :]
    to = dx + place
    kind = dx.dtype.element_ty
    tl.store(to, ((qa - u - a * v) * k).to(kind), there)
    tl.store(to + sw, ((qb - u - b * v) * k).to(kind), there)
    tl.store(to + sh, ((qd - u - d * v) * k).to(kind), there)
    tl.store(to + sh + sw, ((qe - u - e * v) * k).to(kind), there)


@triton.jit
def _double_backward(
    x, dy, along, dx, ddy, sums, mean, scale, gain, shift, along_gain, along_shift,
    C, sn, sc, sh, sw, on, oc, oh, ow,
    H: tl.constexpr, W: tl.constexpr, PLACES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    n, c = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    PIXELS: tl.constexpr = (H // 2) * (W // 2)
    place, there = _places(n, c, sn, sc, sh, sw, W, PIXELS, PLACES, C)
    m = tl.load(mean + n * C + c, c < C, 0.0)[None, :]
    r = tl.load(scale + n * C + c, c < C, 0.0)[None, :]
    g = tl.load(gain + c, c < C, 0.0).to(tl.float32)[None, :]
    s = tl.load(shift + c, c < C, 0.0).to(tl.float32)[None, :]
    vg = tl.load(along_gain + c, c < C, 0.0).to(tl.float32)[None, :]
    vs = tl.load(along_shift + c, c < C, 0.0).to(tl.float32)[None, :]
    a = tl.where(there, (tl.load(x + place, there, 0.0).to(tl.float32) - m) * r, 0.0)
    b = tl.where(there, (tl.load(x + place + sw, there, 0.0).to(tl.float32) - m) * r, 0.0)
    d = tl.where(there, (tl.load(x + place + sh, there, 0.0).to(tl.float32) - m) * r, 0.0)
    e = tl.where(there, (tl.load(x + place + sh + sw, there, 0.0).to(tl.float32) - m) * r, 0.0)
    p = tl.arange(0, PLACES)
    i, j = p // (W // 2), p % (W // 2)
    pooled = n.to(tl.int64) * on + c[None, :] * oc + i[:, None] * oh + j[:, None] * ow
    q = tl.load(dy + pooled, there, 0.0).to(tl.float32) * 0.25
    qa = tl.where(a * g + s > 0, q, 0.0)
    qb = tl.where(b * g + s > 0, q, 0.0)
    qd = tl.where(d * g + s > 0, q, 0.0)
    qe = tl.where(e * g + s > 0, q, 0.0)
    by = along + place
    ua = tl.load(by, there, 0.0).to(tl.float32)
    ub = tl.load(by + sw, there, 0.0).to(tl.float32)
    ud = tl.load(by + sh, there, 0.0).to(tl.float32)
    ue = tl.load(by + sh + sw, there, 0.0).to(tl.float32)
    N: tl.constexpr = H * W
    mu = (tl.sum(ua + ub + ud + ue, 0) / N)[None, :]
    mq = (tl.sum(qa + qb + qd + qe, 0) / N)[None, :]
    ux = (tl.sum(ua * a + ub * b + ud * d + ue * e, 0) / N)[None, :]
    qx = (tl.sum(qa * a + qb * b + qd * d + qe * e, 0) / N)[None, :]
    uq = (tl.sum(ua * qa + ub * qb + ud * qd + ue * qe, 0) / N)[None, :] - mu * mq - ux * qx  # mean of u P q
    tl.store(sums + n * C + c, tl.sum(r * uq, 0) * N, c < C)
    k = g * r
    # Back to the pooled gradient: what of each quarter's cotangent the ReLU lets through, averaged.
    back = tl.where(a * g + s > 0, k * (ua - mu - a * ux) + vg * a + vs, 0.0)
    back += tl.where(b * g + s > 0, k * (ub - mu - b * ux) + vg * b + vs, 0.0)
    back += tl.where(d * g + s > 0, k * (ud - mu - d * ux) + vg * d + vs, 0.0)
    back += tl.where(e * g + s > 0, k * (ue - mu - e * ux) + vg * e + vs, 0.0)
    tl.store(ddy + pooled, (back * 0.25).to(ddy.dtype.element_ty), there)
    # Back to the map, through the normalised values (w) and through the scale.
    wa = vg * qa - k * (ua * qx + qa * ux)
    wb = vg * qb - k * (ub * qx + qb * ux)
    wd = vg * qd - k * (ud * qx + qd * ux)
    we = vg * qe - k * (ue * qx + qe * ux)
    mw = (tl.sum(wa + wb + wd + we, 0) / N)[None, :]
    wx = (tl.sum(wa * a + wb * b + wd * d + we * e, 0) / N)[None, :] + k * uq
    to = dx + place
    kind = dx.dtype.element_ty
    tl.store(to, (r * (wa - mw - a * wx)).to(kind), there)
    tl.store(to + sw, (r * (wb - mw - b * wx)).to(kind), there)
    tl.store(to + sh, (r * (wd - mw - d * wx)).to(kind), there)
    tl.store(to + sh + sw, (r * (we - mw - e * wx)).to(kind), there)


def fits(height: int, width: int) -> bool:
    """Return whether a map of this size fits in a program's registers."""
    return 4 * triton.next_power_of_2((height // 2) * (width // 2)) <= NUMBERS


def forward(x: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `fedistill.models.fused.forward`."""
    n, c, h, w = x.shape
    y = torch.empty((n, c, h // 2, w // 2), dtype=x.dtype, device=x.device, memory_format=_layout(x))
    mean, scale = torch.empty((2, n, c), device=x.device).unbind()
    grid, options = _launch(x)
    _forward[grid](x, y, mean, scale, gain, shift, c, *x.stride(), *y.stride(), EPSILON=EPS, **options)
    return y, mean, scale


def backward(
    x: Tensor, gain: Tensor, shift: Tensor, mean: Tensor, scale: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """See `fedistill.models.fused.backward`."""
    n, c = mean.shape
    dy, dx = dy.contiguous(memory_format=_layout(x)), torch.empty_like(x)
    sums = torch.empty((2, n, c), device=x.device)
    grid, options = _launch(x)
    _backward[grid](
        x, dy, dx, sums, mean, scale, gain, shift, c, n * c, *x.stride(), *dy.stride(), **options
    )  # fmt: skip
    of_gain, of_shift = sums.sum(1).to(gain.dtype).unbind()
    return dx, of_gain, of_shift


def double_backward(
    x: Tensor,
    gain: Tensor,
    shift: Tensor,
    mean: Tensor,
    scale: Tensor,
    dy: Tensor,
    along: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """See `fedistill.models.fused.double_backward`."""
    n, c = mean.shape
    layout = _layout(x)
    dy, by = dy.contiguous(memory_format=layout), along[0].contiguous(memory_format=layout)
    dx, ddy, sums = torch.empty_like(x), torch.empty_like(dy), torch.empty((n, c), device=x.device)
    grid, options = _launch(x)
    _double_backward[grid](
        x, dy, by, dx, ddy, sums, mean, scale, gain, shift, along[1].contiguous(), along[2].contiguous(),
        c, *x.stride(), *dy.stride(), **options,
    )  # fmt: skip
    return dx, sums.sum(0).to(gain.dtype), ddy


def _layout(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _launch(x: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    """Return the grid over (images, channels), and how much one program holds."""
    n, c, h, w = x.shape
    places = triton.next_power_of_2((h // 2) * (w // 2))
    block = 1 if x.is_contiguous() else min(CHANNELS, triton.next_power_of_2(c), max(1, NUMBERS // (4 * places)))
    warps = max(1, min(8, 4 * places * block // 512))
    return (n, triton.cdiv(c, block)), {"H": h, "W": w, "PLACES": places, "BLOCK": block, "num_warps": warps}
