"""Instance norm, ReLU and pooling in one: the formulas against autograd, Triton's kernels against the formulas."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from fedistill.models import build, fused, objective
from fedistill.models.fused import norm_relu_pool

F64 = torch.float64


def apart(x, bias, gain, shift):
    """The three operations, as PyTorch has them."""
    return F.avg_pool2d(F.relu(F.group_norm(x + bias[:, None, None], len(gain), gain, shift)), 2)


def arguments(*, n=2, channels=3, height=4, width=6):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, channels, height, width, generator=g, dtype=F64)
    return [x, *(torch.randn(channels, generator=g, dtype=F64) for _ in range(3))]


def test_it_is_the_three_operations():
    torch.testing.assert_close(norm_relu_pool(*arguments()), apart(*arguments()))


def test_first_and_second_derivatives_are_autograd_s():
    """In the map, gain, shift and the cotangent, along random directions; a bias has no effect, and gradient 0."""
    results = []
    for function in (norm_relu_pool, apart):
        g = torch.Generator().manual_seed(1)
        leaves = [a.requires_grad_() for a in arguments()]
        y = function(*leaves)
        cotangent = torch.randn(y.shape, generator=g, dtype=F64, requires_grad=True)
        first = torch.autograd.grad((y * cotangent).sum(), leaves, create_graph=True)
        along = [torch.randn(f.shape, generator=g, dtype=F64) for f in first]
        inner = sum((f * a).sum() for f, a in zip(first, along, strict=True))
        second = torch.autograd.grad(inner, [leaves[0], leaves[2], leaves[3], cotangent], materialize_grads=True)
        results.append([*first, *second])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert all(r.abs().max() > 0.1 for r in (*results[0][:1], *results[0][2:6], results[0][7]))


def test_derivatives_against_finite_differences():
    leaves = [a.requires_grad_() for a in arguments(n=1, channels=2, height=2, width=4)]
    assert torch.autograd.gradcheck(norm_relu_pool, leaves)
    x, bias, *rest = leaves
    assert torch.autograd.gradgradcheck(lambda x, *rest: norm_relu_pool(x, bias, *rest), (x, *rest))


@pytest.mark.parametrize("size", [28, 16])
def test_a_convnet_of_it_is_the_convnet(size, monkeypatch):
    """What a GPU computes, on this processor: logits, gradients, and gradients of these."""
    network = build("convnet", channels=3, classes=4, size=size, width=5)
    g = torch.Generator().manual_seed(0)
    params = tuple((p + 0.1 * torch.randn(p.shape, generator=g)).requires_grad_() for p in network.init(g, F64))
    x, y = torch.randn(6, 3, size, size, generator=g, dtype=F64, requires_grad=True), torch.arange(6) % 4

    def derivatives():
        loss = objective(network(params, x), y)
        first = torch.autograd.grad(loss, params, create_graph=True)
        return [loss, *first, *torch.autograd.grad(sum(f.square().sum() for f in first), x)]

    wanted = derivatives()
    monkeypatch.setattr(fused, "available", lambda *a: True)
    for a, b in zip(derivatives(), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


def test_a_processor_takes_the_operations_apart():
    assert not fused.available(torch.zeros(1, 3, 8, 8), 8, 8)


KERNELS = """
import torch
from fedistill.models import kernels
from fedistill.models.fused import Formulas
g = torch.Generator().manual_seed(0)
for n, c, h, w in ((2, 5, 4, 6), (3, 32, 8, 8), (2, 16, 14, 14)):
    for layout in (torch.contiguous_format, torch.channels_last):
        x, u = (torch.randn(n, c, h, w, generator=g).contiguous(memory_format=layout) for _ in range(2))
        gain, shift, a, b = (torch.randn(c, generator=g) for _ in range(4))
        dy = torch.randn(n, c, h // 2, w // 2, generator=g)
        _, mean, scale = Formulas.forward(x, gain, shift)
        back = (x, gain, shift, mean, scale, dy)
        for name, given in (("forward", back[:3]), ("backward", back), ("double_backward", (*back, (u, a, b)))):
            for one, other in zip(getattr(kernels, name)(*given), getattr(Formulas, name)(*given), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
print("equal")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton comes with PyTorch's builds for a GPU")
def test_kernels_compute_the_formulas():
    """In Triton's interpreter, which must be chosen before Triton is imported."""
    done = subprocess.run(
        [sys.executable, "-c", KERNELS],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == "equal", done.stderr
