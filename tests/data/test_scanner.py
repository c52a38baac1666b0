"""Scanners: held against one made by hand; what every setting must do, and what none may do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.scanner import scan

from fedistill.data import ImageSet, Scanner, acquire, load_dataset
from fedistill.data import scanner as module
from fedistill.errors import SettingError

ALL = Scanner(gain=1.2, gamma=0.8, contrast=0.9, blur=0.7, noise=0.03, resolution=0.5)
STAINED = Scanner(**{**vars(ALL), "stain": (0.05, -0.03, 0.02)})
EACH = [
    *[Scanner(gain=v) for v in (0.5, 1.5)],
    *[Scanner(gamma=v) for v in (0.8, 2.2)],
    *[Scanner(contrast=v) for v in (0.5, 1.6)],
    *[Scanner(blur=v) for v in (0.3, 2.5, 10.0)],
    *[Scanner(noise=v) for v in (0.03, 0.5)],
    *[Scanner(resolution=v) for v in (0.1, 0.5, 0.7)],
    ALL,
]


def noisy(n=4, height=12, width=12, channels=1, seed=0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    return ImageSet(pixels, np.arange(n) % 2, ("no", "yes"), groups=np.arange(n), name="noisy")


def flat(value=128, n=4, size=28, channels=1) -> ImageSet:
    return ImageSet(np.full((n, size, size, channels), value, np.uint8), np.zeros(n, np.int64), ("a",))


@pytest.mark.parametrize("scanner", EACH, ids=str)
@pytest.mark.parametrize("shape", [(12, 12, 1), (9, 14, 3)], ids=str)
def test_each_setting_is_what_it_is_by_hand(scanner, shape):
    images = noisy(2, *shape)
    expected = np.array([scan(image, scanner, 5) for image in images.images])
    assert np.array_equal(acquire(images, scanner, 5).images, expected)


@pytest.mark.parametrize("scanner", [STAINED, Scanner(stain=(1.0, -1.0, 0.1))], ids=str)
def test_stain_is_what_it_is_by_hand(scanner):
    images = noisy(2, channels=3)
    assert np.array_equal(acquire(images, scanner, 5).images, [scan(image, scanner, 5) for image in images.images])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_scanner_without_changes_changes_no_bit(channels):
    images = noisy(channels=channels)
    for nothing in (Scanner(), Scanner(stain=(0.0, 0, 0.0)) if channels == 3 else Scanner(gain=1)):
        assert acquire(images, nothing, 0).fingerprint() == images.fingerprint()


def test_settings_too_small_to_matter_change_no_bit():
    """Through all of the arithmetic, not around it."""
    images = noisy(channels=3)
    barely = Scanner(1 + 1e-9, 1 + 1e-9, 1 - 1e-9, 0.01, 1e-9, 0.99, (1e-9, 0.0, -1e-9))
    assert np.array_equal(acquire(images, barely, 0).images, images.images)


@pytest.mark.parametrize("scanner", [STAINED, Scanner(10, 0.1, 10, 10, 0.5, 0.1, (-1, 1, 0))], ids=str)
def test_only_pixels_change_and_stay_pixels(scanner):
    images = noisy(5, channels=3)
    before = images.images.copy()
    taken = acquire(images, scanner, 0)
    assert taken.images.dtype == np.uint8 and taken.images.shape == images.images.shape
    assert taken.images.flags["C_CONTIGUOUS"] and np.array_equal(images.images, before)
    assert np.array_equal(taken.labels, images.labels) and np.array_equal(taken.groups, images.groups)
    assert taken.fingerprint() != images.fingerprint() and taken.name == images.name
    assert len(acquire(images.take([]), scanner, 0)) == 0


@settings(max_examples=30, deadline=None)
@given(low=st.floats(0.1, 10), high=st.floats(0.1, 10), name=st.sampled_from(["gain", "gamma"]))
def test_more_gain_never_darkens_and_more_gamma_never_brightens(low, high, name):
    images = noisy(1)
    low, high = sorted((low, high))
    less, more = (acquire(images, Scanner(**{name: v}), 0).images.astype(int) for v in (low, high))
    assert (more >= less).all() if name == "gain" else (more <= less).all()


@settings(max_examples=30, deadline=None)
@given(
    gain=st.floats(0.1, 10),
    gamma=st.floats(0.1, 10),
    contrast=st.floats(0.1, 10),
    blur=st.floats(0, 10),
    resolution=st.floats(0.1, 1),
)
def test_a_device_without_noise_keeps_flat_images_flat_and_brighter_ones_brighter(**values):
    taken = [acquire(flat(v, 1, 10), Scanner(**values), 0).images for v in range(0, 256, 15)]
    assert all((image == image.flat[0]).all() for image in taken)
    assert (np.diff([int(image.flat[0]) for image in taken]) >= 0).all()


@settings(max_examples=20, deadline=None)
@given(blur=st.floats(0.05, 10), height=st.integers(1, 20), seed=st.integers(0, 99))
def test_blur_keeps_the_mean_and_takes_away_variance(blur, height, seed):
    images = noisy(2, height, 15, seed=seed)
    before, after = (x.images.astype(float).reshape(2, -1) for x in (images, acquire(images, Scanner(blur=blur), 0)))
    assert np.abs(after.mean(1) - before.mean(1)).max() < 0.5
    assert (after.std(1) <= before.std(1) + 0.5).all()


def test_contrast_turns_about_mid_grey():
    for value, expected in ((127, 127), (128, 128), (28, 78), (228, 178)):
        assert (acquire(flat(value, 1), Scanner(contrast=0.5), 0).images == expected).all()


def test_a_shift_of_density_by_a_third_of_a_decade_halves_the_light():
    taken = acquire(flat(200, 1, channels=3), Scanner(stain=(float(np.log10(2)), 0.0, -0.05)), 0).images
    assert taken[0, 0, 0].tolist() == [100, 200, 224]


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_has_the_deviation_asked_for(noise, channels):
    images = flat(n=40, channels=channels)
    # Equal images would have equal noise: each has a grey level of its own.
    pixels = images.images - np.arange(40, dtype=np.uint8).reshape(-1, 1, 1, 1)
    images = ImageSet(pixels, images.labels, images.class_names)
    error = acquire(images, Scanner(noise=noise), 0).images.astype(float) - pixels
    assert error.std() == pytest.approx(noise * 255, rel=0.02) and abs(error.mean()) < 0.01 * 255 * noise + 0.05
    flattened = error.reshape(40, -1)
    assert np.abs(np.corrcoef(flattened) - np.eye(40)).max() < 0.2  # every image draws its own


def test_the_same_image_has_the_same_noise_whatever_comes_with_it(monkeypatch):
    images, scanner = noisy(30, channels=3), Scanner(noise=0.1, blur=0.5)
    whole = acquire(images, scanner, 3).images
    assert np.array_equal(acquire(images, scanner, 3).images, whole)
    at = [17, 3, 29]
    assert np.array_equal(acquire(images.take(at), scanner, 3).images, whole[at])
    assert not np.array_equal(acquire(images, scanner, 4).images, whole)
    for chunk in (1, 12 * 12 * 3 * 7):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        assert np.array_equal(acquire(images, scanner, 3).images, whole)


def test_blur_covers_the_same_part_of_a_picture_at_every_size():
    """A picture of four times the pixels, averaged back, is the picture taken at its own size."""
    small = load_dataset("phantom:pneumonia", images=8)
    large = ImageSet(small.images.repeat(4, 1).repeat(4, 2), small.labels, small.class_names)
    here, there = (acquire(x, Scanner(blur=1.5), 0).images.astype(float) for x in (small, large))
    back = there.reshape(8, 28, 4, 28, 4, 1).mean((2, 4))
    assert np.abs(here - back).mean() < 0.1 * np.abs(here - small.images).mean()


def test_resolution_is_a_share_of_the_images_own_pixels():
    x = np.tile(np.array([0, 255], np.uint8), 14)
    stripes = ImageSet(np.tile(x, (1, 28, 1))[..., None], np.zeros(1, np.int64), ("a",))
    assert (acquire(stripes, Scanner(resolution=0.5), 0).images == 128).all()  # what half of them cannot show
    ramp = ImageSet(np.tile(np.arange(28, dtype=np.uint8) * 8, (1, 28, 1))[..., None], stripes.labels, ("a",))
    assert np.array_equal(acquire(ramp, Scanner(resolution=0.5), 0).images[:, :, 1:-1], ramp.images[:, :, 1:-1])


@pytest.mark.parametrize("blur", [5e-324, 1e-160, 1e-5])
def test_a_blur_of_next_to_nothing(blur):
    images = noisy(1)
    assert np.array_equal(acquire(images, Scanner(blur=blur), 0).images, images.images)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gain", 0.0, "gain is invalid.\n  expected: at least 0.1"),
        ("gain", "1", "gain is invalid.\n  expected: a number"),
        ("gamma", float("nan"), "gamma is invalid.\n  expected: a finite number"),
        ("contrast", -1.0, "contrast is invalid.\n  expected: at least 0.1"),
        ("blur", float("inf"), "blur is invalid.\n  expected: a finite number"),
        ("noise", 0.6, "noise is invalid.\n  expected: at most 0.5"),
        ("noise", True, "noise is invalid.\n  expected: a number"),
        ("resolution", 1.1, "resolution is invalid.\n  expected: at most 1"),
        ("stain", 0.1, "stain is invalid.\n  expected: a list"),
        ("stain", (0.1, 0.1), "'stain.2' is missing"),
        ("stain", (0.1, 0.1, 1.5), "stain.2 is invalid.\n  expected: at most 1"),
    ],
)
def test_a_device_that_cannot_be(name, value, message):
    with pytest.raises(SettingError, match=f"a scanner: {message}"):
        Scanner(**{name: value})


def test_grey_images_have_no_stain():
    with pytest.raises(SettingError, match="leave out stain"):
        acquire(noisy(), Scanner(stain=(0.1, 0.0, 0.0)), 0)
