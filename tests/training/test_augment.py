import pytest
import torch

from fedistill.errors import SettingError
from fedistill.training.augment import OPERATIONS, Draw, apply, apply_each, draw


def of(op, n, *, size=12, shared=False, seed=0):
    """A draw of one given operation."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        drawn = draw(generator, n, size=size, mirror=True, shared=shared)
        if drawn.op == op:
            return drawn


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shared", [False, True])
def test_every_operation_keeps_shape_and_dtype_and_repeats(op, channels, dtype, shared):
    x = torch.randn(5, channels, 12, 12, dtype=dtype, generator=torch.Generator().manual_seed(1))
    drawn = of(op, 5, shared=shared)
    out = apply(x, drawn)
    assert out.shape == x.shape and out.dtype == dtype
    assert torch.equal(out, apply(x, drawn))


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("shared", [False, True])
def test_gradient_is_exact(op, shared):
    x = torch.randn(3, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    drawn = of(op, 3, size=6, shared=shared)
    assert torch.autograd.gradcheck(lambda x: apply(x, drawn), x)


@pytest.mark.parametrize("op", OPERATIONS)
def test_shared_draw_is_the_per_image_draw_repeated(op):
    x = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    one = of(op, 4, shared=True)
    many = Draw(op, one.values.expand(4, -1))
    torch.testing.assert_close(apply(x, one), apply(x, many), rtol=1e-5, atol=1e-5)


def test_mirror_false_never_flips():
    generator = torch.Generator().manual_seed(0)
    assert {draw(generator, 1, size=8, mirror=False).op for _ in range(200)} == set(OPERATIONS) - {"flip"}
    assert {draw(generator, 1, size=8, mirror=True).op for _ in range(200)} == set(OPERATIONS)


def test_exact_values_on_a_tiny_image():
    x = torch.arange(1.0, 17).view(1, 1, 4, 4)
    flipped = apply(x, Draw("flip", torch.ones(1, 1)))
    assert torch.equal(flipped[0, 0, 0], torch.tensor([4.0, 3, 2, 1]))
    for shared in (1, 2):  # one row down, one column left, zeros coming in; by slices and by indices
        moved = apply(x.repeat(2, 1, 1, 1), Draw("crop", torch.tensor([[1.0, -1.0]]).repeat(shared, 1)))
        assert torch.equal(moved[1, 0], torch.tensor([[0.0, 0, 0, 0], [2, 3, 4, 0], [6, 7, 8, 0], [10, 11, 12, 0]]))
    cut = apply(x, Draw("cutout", torch.tensor([[1.0, 1.0]])))  # a hole of 2 x 2 around row 1, column 1
    assert torch.equal(cut[0, 0], torch.tensor([[0.0, 0, 3, 4], [0, 0, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16]]))
    same = torch.tensor([[0.0, 1.0, 1.0]])
    torch.testing.assert_close(apply(x, Draw("colour", same)), x)
    torch.testing.assert_close(apply(x, Draw("scale", torch.ones(1, 2))), x)
    torch.testing.assert_close(apply(x, Draw("rotate", torch.zeros(1, 1))), x, rtol=0, atol=1e-4)


def test_strengths_are_the_published_ones():
    # colour: brightness, saturation, contrast; scale: between 1 / 1.2 and 1.2; crop: an eighth of the side
    low, high = of("colour", 4000).values.aminmax(dim=0)
    torch.testing.assert_close(low, torch.tensor([-0.5, 0.0, 0.5]), atol=0.01, rtol=0)
    torch.testing.assert_close(high, torch.tensor([0.5, 2.0, 1.5]), atol=0.01, rtol=0)
    low, high = of("scale", 4000).values.aminmax()
    assert low == pytest.approx(1 / 1.2, abs=0.01) and high == pytest.approx(1.2, abs=0.01)
    assert of("crop", 4000, size=28).values.abs().max() == 4
    assert of("rotate", 4000).values.abs().max() == pytest.approx(0.2618, abs=0.01)
    assert of("flip", 4000).values.mean() == pytest.approx(0.5, abs=0.05)


def test_a_draw_for_another_batch_is_refused():
    with pytest.raises(SettingError, match="another batch"):
        apply(torch.zeros(3, 1, 8, 8), of("crop", 2))


@pytest.mark.parametrize("shared", [False, True])
def test_groups_at_once_are_the_groups_one_by_one(shared):
    g = torch.Generator().manual_seed(0)
    draws = [draw(g, 3, size=12, mirror=True, shared=shared) for _ in range(40)]
    assert {d.op for d in draws} == set(OPERATIONS)
    x = torch.randn(120, 2, 12, 12, generator=g, dtype=torch.float64)
    wanted = torch.cat([apply(part, d) for part, d in zip(x.split(3), draws, strict=True)])
    torch.testing.assert_close(apply_each(x, draws), wanted, rtol=1e-12, atol=1e-12)
