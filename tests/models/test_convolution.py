"""A convolution with second derivatives of its own: against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

from fedistill.models.convolution import convolution

F64 = torch.float64


def derivatives(function, padding, *, images, kernels):
    """The value, first derivatives along a cotangent, and the second ones along random directions."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 6, generator=g, dtype=F64, requires_grad=True)
    w = torch.randn(4, 3, 3, 3, generator=g, dtype=F64, requires_grad=True)
    y = function(x, w, padding)
    cotangent = torch.randn(y.shape, generator=g, dtype=F64, requires_grad=True)
    by = [leaf for leaf, wanted in ((x, images), (w, kernels)) if wanted]
    first = torch.autograd.grad((y * cotangent).sum(), by, create_graph=True)
    inner = sum((f * torch.randn(f.shape, generator=g, dtype=F64)).sum() for f in first)
    return [y, *first, *torch.autograd.grad(inner, [x, w, cotangent], materialize_grads=True)]


@pytest.mark.parametrize("padding", [1, 3])
@pytest.mark.parametrize(("images", "kernels"), [(True, True), (True, False), (False, True)])
def test_derivatives_are_pytorchs(padding, images, kernels):
    def own(x, w, padding):
        return F.conv2d(x, w, padding=padding)

    made = derivatives(convolution, padding, images=images, kernels=kernels)
    wanted = derivatives(own, padding, images=images, kernels=kernels)
    for a, b in zip(made, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)
    assert all(d.abs().max() > 0.1 for d in made[-1:])


def test_derivatives_against_finite_differences():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(1, 2, 4, 4, generator=g, dtype=F64, requires_grad=True)
    w = torch.randn(2, 2, 3, 3, generator=g, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: convolution(x, w, 1), (x, w))
    assert torch.autograd.gradgradcheck(lambda x, w: convolution(x, w, 1), (x, w))
