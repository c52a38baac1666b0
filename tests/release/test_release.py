"""Releases: what goes in comes out as near as its encoding, real pixels exactly; the same seed, the same bytes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedistill.data import ImageSet
from fedistill.errors import ReleaseError, SettingError
from fedistill.methods import SyntheticSet
from fedistill.release.release import Release, pack, unpack


def synthetic(n=6, channels=3, **more):
    g = torch.Generator().manual_seed(0)
    return SyntheticSet(torch.randn(n, channels, 8, 8, generator=g) * 2, torch.arange(n) % 3, 2, **more)


def release(encoding="uint8", **more):
    sets = {2: pack(synthetic(lr=0.02, draw=torch.tensor([0, 0, 0, 1, 1, 1])), real=False, encoding=encoding)}
    return Release("north", "dc", 0, False, sets, provenance={"settings": {}}, privacy="none", **more)


def test_quantising_is_within_half_a_step():
    made = synthetic()
    back = unpack(pack(made, real=False), 2)
    step = (made.images.amax((0, 2, 3)) - made.images.amin((0, 2, 3))) / 255
    assert ((back.images - made.images).abs().amax((0, 2, 3)) <= step * 0.501).all()


def test_float16_is_within_2_to_the_minus_11_of_each_value():
    made = synthetic()
    made.images[0, 0, 0, :3] = torch.tensor([65504.0, -65504.0, 2.0**-20])
    error = (unpack(pack(made, real=False, encoding="float16"), 2).images - made.images).abs()
    assert (error <= torch.clamp(made.images.abs() * 2**-11, min=2**-25)).all()
    assert error.max() > 0 and error[0, 0, 0, :2].eq(0).all()


def test_float32_loses_nothing():
    made = synthetic(lr=0.02)
    packed = pack(made, real=False, encoding="float32")
    assert packed.scale.tolist() == [1, 1, 1] and packed.offset.tolist() == [0, 0, 0]
    back = unpack(packed, 2)
    assert torch.equal(back.images, made.images) and back.lr == pytest.approx(0.02)


def test_beyond_float16_does_not_leave():
    made = synthetic()
    made.images[1, 0, 0, 0] = -65505.0
    with pytest.raises(ReleaseError, match=r'at most 65504[\s\S]*65505[\s\S]*encoding = "uint8" or "float32"'):
        pack(made, real=False, encoding="float16")
    assert len(pack(made, real=False, encoding="float32")) == len(pack(made, real=False)) == 6


def test_no_such_encoding():
    with pytest.raises(SettingError, match="did you mean 'float16'"):
        pack(synthetic(), real=False, encoding="float61")


def test_real_pixels_lose_nothing():
    images = np.random.default_rng(0).integers(256, size=(4, 8, 8, 3), dtype=np.uint8)
    x = ImageSet(images, np.array([0, 1, 0, 1]), ("a", "b"))
    packed = pack(SyntheticSet(x.pixels(), x.targets(), None), real=True, encoding="float32")
    assert packed.images.dtype == torch.uint8  # whatever was asked for
    assert (packed.images.numpy() == images.transpose(0, 3, 1, 2)).all()
    torch.testing.assert_close(unpack(packed, None).images, x.pixels(), rtol=0, atol=1e-6)


def test_one_grey_value_throughout():
    made = SyntheticSet(torch.full((2, 1, 8, 8), 0.3), torch.tensor([0, 1]), 1)
    assert torch.equal(unpack(pack(made, real=False), 1).images, made.images)


@pytest.mark.parametrize("encoding", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_does_not_leave(bad, encoding):
    made = synthetic()
    made.images[1, 0, 0, 0] = bad
    with pytest.raises(ReleaseError, match="1 of 6 images"):
        pack(made, real=False, encoding=encoding)


@pytest.mark.parametrize("encoding", ["uint8", "float16", "float32"])
def test_bytes_and_back(encoding):
    one = release(encoding)
    data = one.to_bytes()
    back = Release.from_bytes(data)
    assert (back.site, back.scheme, back.seed, back.real, back.privacy) == ("north", "dc", 0, False, "none")
    assert back.to_bytes() == data == release(encoding).to_bytes()
    assert back.sets[2].images.dtype == getattr(torch, encoding)
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


def test_the_header_says_how_images_are_packed():
    made = synthetic()
    packed = replace(pack(made, real=False), pack=2)
    release = Release("north", "dm", 0, False, {1: pack(made, real=False), 2: packed})
    back = Release.from_bytes(release.to_bytes())
    assert (back.sets[1].pack, back.sets[2].pack) == (1, 2)
    assert back.only(2).sets[2].pack == 2 and unpack(back.sets[2], 2).pack == 2
    assert len(unpack(back.sets[2], 2).shown()) == 4 * len(made)
    plain = Release("north", "dm", 0, False, {1: pack(made, real=False)}).to_bytes()
    assert b"pack" not in plain and Release.from_bytes(plain).sets[1].pack == 1  # as Releases of old
