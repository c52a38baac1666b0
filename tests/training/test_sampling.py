"""The gradient that input pixels collect is the one that PyTorch's output pixels hand out."""

import math

import pytest
import torch

from fedistill.training import augment, sampling
from fedistill.training.augment import ROTATE, SCALE

F64 = torch.float64


def maps(n, seed=0):
    """Every extreme, and others at random: scales by height and width, then turns."""
    g = torch.Generator().manual_seed(seed)
    theta = torch.zeros(2 * n, 2, 3, dtype=F64)
    factors = 1 / SCALE + (SCALE - 1 / SCALE) * torch.rand(n, 2, generator=g, dtype=F64)
    factors[:4] = torch.tensor([[SCALE, SCALE], [1 / SCALE, SCALE], [SCALE, 1 / SCALE], [1 / SCALE, 1 / SCALE]])
    theta[:n, 0, 0], theta[:n, 1, 1] = factors[:, 0], factors[:, 1]
    turns = math.radians(ROTATE) * (2 * torch.rand(n, generator=g, dtype=F64) - 1)
    turns[:2] = torch.tensor([1.0, -1.0]) * math.radians(ROTATE)
    theta[n:, 0, 0], theta[n:, 1, 1] = turns.cos(), turns.cos()
    theta[n:, 0, 1], theta[n:, 1, 0] = -turns.sin(), turns.sin()
    return theta


@pytest.mark.parametrize("shape", [(28, 28), (7, 7), (64, 64)])
def test_it_is_pytorchs_gradient(shape):
    theta, g = maps(12), torch.Generator().manual_seed(1)
    x = torch.randn(len(theta), 3, *shape, generator=g, dtype=F64, requires_grad=True)
    cotangent = torch.randn(x.shape, generator=g, dtype=F64)
    made, wanted = sampling.affine_sample(x, theta), sampling.forward(x, theta)
    assert torch.equal(made, wanted)
    [one], [other] = (torch.autograd.grad((y * cotangent).sum(), x) for y in (made, wanted))
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("op", ["scale", "rotate"])
@pytest.mark.parametrize("shared", [False, True])
def test_augmentations_take_it_on_a_gpu(op, shared, monkeypatch):
    g = torch.Generator().manual_seed(0)
    draw = next(d for d in (augment.draw(g, 5, size=16, mirror=True, shared=shared) for _ in range(99)) if d.op == op)
    x = torch.randn(5, 3, 16, 16, generator=g, dtype=F64, requires_grad=True)
    results = []
    for on_a_gpu in (False, True):
        monkeypatch.setattr("fedistill.training.graphs.used_on", lambda device, on_a_gpu=on_a_gpu: on_a_gpu)
        y = augment.apply(x, draw)
        results.append((y, torch.autograd.grad(y.square().sum(), x)[0]))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
