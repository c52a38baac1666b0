"""What networks share: first values of parameters, and norms."""

import pytest
import torch

from fedistill.models.parts import constant, instance_norm, layer, normal, scaled, uniform


def test_first_values_are_those_of_pytorchs_layers():
    torch.manual_seed(0)  # modules know no other generator
    like = torch.nn.Conv2d(3, 200, 5)
    made = [part.fill(torch.empty(part.shape), torch.Generator().manual_seed(0)) for part in layer("x", 200, 3, 5, 5)]
    for mine, theirs in zip(made, (like.weight, like.bias), strict=True):
        assert mine.shape == theirs.shape
        assert float(mine.abs().max()) == pytest.approx(75**-0.5, rel=0.05)
        assert float(mine.std()) == pytest.approx(float(theirs.detach().std()), rel=0.15)
    assert len(layer("x", 2, 3, bias=False)) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_fills_keep_to_their_bounds(dtype):
    empty, g = torch.empty(5000, dtype=dtype), torch.Generator().manual_seed(0)
    assert constant(3)(empty, g).unique().tolist() == [3]
    drawn = uniform(0.5)(empty, g).float()
    assert drawn.abs().max() <= 0.5 and drawn.std() == pytest.approx(1 / 12**0.5, rel=0.05)
    drawn = normal(0.5)(empty, g).float()
    assert drawn.abs().max() <= 1.0 and drawn.std() == pytest.approx(0.44, rel=0.05) and drawn.dtype == torch.float32


def test_instance_norm_looks_at_one_channel_of_one_image():
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gain, shift = torch.arange(1.0, 5, dtype=torch.float64), torch.arange(4.0, dtype=torch.float64)
    found = instance_norm(x, gain, shift)
    wanted = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(found, wanted * gain[:, None, None] + shift[:, None, None])


def test_sizes_go_with_the_width():
    assert [scaled(512, width) for width in (256, 128, 64, 32, 1)] == [1024, 512, 256, 128, 4]
    assert scaled(64, 1) == 1 and scaled(1, 1) == 1
