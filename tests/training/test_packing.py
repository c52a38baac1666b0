"""Packed images against their definition."""

import numpy as np
import pytest
import torch
from oracles import packing as oracle

from fedistill.errors import SettingError
from fedistill.training.packing import MOST, pack_images, pulled_back, repeated, require_pack, shown


def random_images(n, size, seed=0):
    return torch.randn(n, 2, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "pack"), [(8, 2), (28, 2), (28, 3), (9, 2), (8, 4)])
def test_unpacking_is_cropping_and_bilinear_interpolation(size, pack):
    x = random_images(2, size)
    wanted = np.concatenate([oracle.unpack(image.numpy(), pack) for image in x])
    np.testing.assert_allclose(shown(x, pack).numpy(), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("size", "pack"), [(8, 2), (28, 3), (9, 2)])
def test_packing_takes_means(size, pack):
    x = random_images(2 * pack**2, size)
    wanted = np.stack([oracle.pack(group.numpy(), pack) for group in x.split(pack**2)])
    np.testing.assert_allclose(pack_images(x, pack).numpy(), wanted, rtol=0, atol=1e-12)


def test_smooth_images_survive_being_packed():
    ramp = torch.linspace(-1, 1, 28, dtype=torch.float64).expand(1, 28, 28)
    images = torch.stack([ramp, ramp.mT, -ramp, ramp * 0.5])
    back = shown(pack_images(images, 2), 2)
    assert (back - images)[..., 2:-2, 2:-2].abs().max() < 1e-6
    assert (back - images).abs().max() < 0.05  # the rim is held


def test_gradients_are_those_of_finite_differences():
    x = random_images(1, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: shown(x, 2), (x,))
    assert torch.autograd.gradcheck(lambda x: pack_images(x, 2), (random_images(4, 6).requires_grad_(),))


@pytest.mark.parametrize("pack", [1, 2, 3])
def test_a_gradient_is_pulled_back_as_autograd_does(pack):
    x = random_images(2, 9).requires_grad_()
    weights = torch.randn_like(shown(x, pack))
    [wanted] = torch.autograd.grad((shown(x, pack) * weights).sum(), x)
    assert torch.equal(pulled_back(weights, pack), wanted)


def test_one_to_a_side_is_the_image_itself():
    x, y = random_images(3, 8), torch.arange(3)
    assert shown(x, 1) is x and pack_images(x, 1) is x and repeated(y, 1) is y
    assert repeated(y, 2).tolist() == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize("pack", [0, -1, MOST + 1, 2.0, True, "2"])
def test_numbers_that_cannot_be_are_refused(pack):
    with pytest.raises(SettingError, match="pack counts"):
        require_pack(pack, 28)
