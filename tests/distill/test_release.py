"""Releases: what goes in comes out, real pixels exactly, and the same seed gives the same bytes."""

import numpy as np
import pytest
import torch

from fedistill.data import ImageSet
from fedistill.distill import SyntheticSet
from fedistill.distill.release import Release, pack, unpack
from fedistill.errors import ReleaseError


def synthetic(n=6, channels=3, **more):
    g = torch.Generator().manual_seed(0)
    return SyntheticSet(torch.randn(n, channels, 8, 8, generator=g) * 2, torch.arange(n) % 3, 2, **more)


def release(**more):
    sets = {2: pack(synthetic(lr=0.02, draw=torch.tensor([0, 0, 0, 1, 1, 1])), real=False)}
    return Release("north", "dc", 0, False, sets, provenance={"settings": {}}, privacy="none", **more)


def test_quantising_is_within_half_a_step():
    made = synthetic()
    back = unpack(pack(made, real=False), 2)
    step = (made.images.amax((0, 2, 3)) - made.images.amin((0, 2, 3))) / 255
    assert ((back.images - made.images).abs().amax((0, 2, 3)) <= step * 0.501).all()


def test_real_pixels_lose_nothing():
    images = np.random.default_rng(0).integers(256, size=(4, 8, 8, 3), dtype=np.uint8)
    x = ImageSet(images, np.array([0, 1, 0, 1]), ("a", "b"))
    packed = pack(SyntheticSet(x.pixels(), x.targets(), None), real=True)
    assert (packed.images.numpy() == images.transpose(0, 3, 1, 2)).all()
    torch.testing.assert_close(unpack(packed, None).images, x.pixels(), rtol=0, atol=1e-6)


def test_one_grey_value_throughout():
    made = SyntheticSet(torch.full((2, 1, 8, 8), 0.3), torch.tensor([0, 1]), 1)
    assert torch.equal(unpack(pack(made, real=False), 1).images, made.images)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_does_not_leave(bad):
    made = synthetic()
    made.images[1, 0, 0, 0] = bad
    with pytest.raises(ReleaseError, match="1 of 6 images"):
        pack(made, real=False)


def test_bytes_and_back():
    one = release()
    data = one.to_bytes()
    back = Release.from_bytes(data)
    assert (back.site, back.scheme, back.seed, back.real, back.privacy) == ("north", "dc", 0, False, "none")
    assert back.to_bytes() == data == release().to_bytes()
    assert float(back.sets[2].lr[0]) == pytest.approx(0.02)
    for name, value in one.sets[2].tensors().items():
        assert torch.equal(value, back.sets[2].tensors()[name])


def test_the_file_names_its_tensors_as_documented(tmp_path):
    from safetensors import safe_open

    path = tmp_path / "x.safetensors"
    path.write_bytes(release().to_bytes())
    with safe_open(path, "pt") as file:
        names = {"ipc2.images", "ipc2.scale", "ipc2.offset", "ipc2.labels", "ipc2.lr", "ipc2.draw"}
        assert set(file.keys()) == names
        assert list(file.metadata()) == ["fedistill"]


def test_one_draw_alone():
    one = release().only(2, draw=1)
    assert len(one.sets[2]) == 3 and one.sets[2].draw is None
    assert len(one.to_bytes()) < len(release().to_bytes())


@pytest.mark.parametrize(
    "data",
    [b"", b"junk", b"\x08\0\0\0\0\0\0\0{}      ", b"\xff" * 40, release().to_bytes()[:-5], release().to_bytes()[9:]],
)
def test_what_is_no_release(data):
    with pytest.raises(ReleaseError, match="no Release"):
        Release.from_bytes(data)


@pytest.mark.parametrize("seed", ["Infinity", "NaN", "1e999", "[]", "null"])
def test_numbers_that_are_none(seed):
    from safetensors.torch import save

    told = '{"format": 1, "site": "a", "scheme": "dc", "seed": %s, "partition": 0, "real": false, "provenance": {}, '
    described = told % seed + '"privacy": ""}'
    with pytest.raises(ReleaseError, match="no Release"):
        Release.from_bytes(save(pack(synthetic(), real=False).tensors(), metadata={"fedistill": described}))


def test_another_format_is_refused():
    data = release().to_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 2')
    with pytest.raises(ReleaseError, match="another format"):
        Release.from_bytes(data)
