"""The server's look at a Release: everything a faulty or hostile site could send is refused by name."""

from dataclasses import asdict, replace

import pytest
import torch

from fedistill.config import Job
from fedistill.errors import ReleaseError
from fedistill.methods import METHODS, privacy_statement, settings_for
from fedistill.release.release import Packed, Release
from fedistill.transport.server.release_validation import Expected, size_limit, validate_release

JOB = Job("north", "dc", 0, 0, (1, 2), {}, 1, "convnet", 8, "float32", 1)
EXPECTED = Expected(channels=1, size=8, classes=3, multilabel=False)


def packed(n, **more):
    values = {
        "images": torch.zeros(n, 1, 8, 8, dtype=torch.uint8),
        "scale": torch.ones(1),
        "offset": torch.zeros(1),
        "labels": torch.arange(n) % 3,
    }
    return Packed(**{**values, **more})


def release(one=None, **more):
    scheme, sets = more.get("scheme", "dc"), more.get("sets", {1: None, 2: None})
    if scheme not in METHODS:
        scheme = "dc"
    made = {str(ipc): asdict(settings_for(scheme, ipc=ipc)) for ipc in sets}
    values = {
        "provenance": {"settings": made, "model": "convnet", "width": 8, "precision": "float32"},
        "privacy": privacy_statement(scheme, [settings_for(scheme, ipc=ipc) for ipc in sets]),
        "site": "north",
        "scheme": "dc",
        "seed": 0,
        "real": False,
        "sets": {1: packed(3) if one is None else one, 2: packed(6)},
    }
    return Release(**{**values, **more})


def test_a_good_one_is_taken():
    assert set(validate_release(release().to_bytes(), JOB, EXPECTED).sets) == {1, 2}


def test_a_site_without_some_class_is_fine():
    assert len(validate_release(release(packed(2)).to_bytes(), JOB, EXPECTED).sets[1]) == 2


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (release(site="south"), "another request"),
        (release(seed=1), "another request"),
        (release(scheme="full"), "another request"),
        (release(partition=1), "another request"),
        (release(real=True), "shares none"),
        (release(sets={1: packed(3)}), "other budgets"),
        (release(packed(4)), "number of images"),
        (release(packed(0)), "number of images"),
        (release(packed(3, images=torch.zeros(3, 1, 8, 8))), "images of ipc 1"),
        (release(packed(3, images=torch.zeros(3, 3, 8, 8, dtype=torch.uint8))), "images of ipc 1"),
        (release(packed(3, images=torch.zeros(3, 1, 9, 8, dtype=torch.uint8))), "images of ipc 1"),
        (release(packed(3, labels=torch.tensor([0, 1, 3]))), "label of ipc 1"),
        (release(packed(3, labels=torch.tensor([0, 1, -1]))), "label of ipc 1"),
        (release(packed(3, labels=torch.zeros(3, 1, dtype=torch.int64))), "labels of ipc 1"),
        (release(packed(3, labels=torch.zeros(3))), "labels of ipc 1"),
        (release(packed(3, scale=torch.tensor([float("nan")]))), "NaN"),
        (release(packed(3, offset=torch.tensor([float("inf")]))), "NaN or infinity"),
        (release(packed(3, scale=torch.tensor([-1.0]))), "pixel range"),
        (release(packed(3, scale=torch.tensor([1e9]))), "pixel range"),
        (release(packed(3, lr=torch.tensor([-0.1]))), "step size"),
        (release(packed(3, lr=torch.tensor([0.0]))), "step size"),
        (release(packed(3, draw=torch.tensor([0, 0, 1]))), "draws of ipc 1"),
        (release(packed(3, images=torch.zeros((), dtype=torch.uint8))), "images of ipc 1"),
        (release(packed(3, labels=torch.tensor(0))), "labels of ipc 1"),
        (release(packed(3, pack=2)), "packed otherwise"),
    ],
)
def test_what_is_refused(made, message):
    with pytest.raises(ReleaseError, match=message):
        validate_release(made.to_bytes(), JOB, EXPECTED)


def test_too_large_is_refused_before_it_is_read():
    with pytest.raises(ReleaseError, match="too large"):
        validate_release(b"\0" * (size_limit(JOB, EXPECTED) + 1), JOB, EXPECTED)


PIXELS = torch.linspace(-9, 9, 3 * 64).view(3, 1, 8, 8)


@pytest.mark.parametrize("sent", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("asked", ["uint8", "float16", "float32"])
def test_only_the_encoding_asked_for_is_taken(asked, sent):
    made = release(sets={ipc: packed(3, images=PIXELS.to(getattr(torch, sent))) for ipc in (1, 2)}).to_bytes()
    job = replace(JOB, encoding=asked)
    if asked == sent:
        assert validate_release(made, job, EXPECTED).sets[1].images.dtype == getattr(torch, asked)
    else:
        with pytest.raises(ReleaseError, match=f"images of ipc 1[\\s\\S]*{asked}[\\s\\S]*{sent}"):
            validate_release(made, job, EXPECTED)


@pytest.mark.parametrize("encoding", ["float16", "float32"])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"images": PIXELS * float("nan")}, "NaN"),
        ({"images": PIXELS * float("inf")}, "NaN or infinity"),
        ({"images": PIXELS, "scale": torch.full((1,), 2.0)}, "pixel range"),
        ({"images": PIXELS, "offset": torch.ones(1)}, "pixel range"),
        ({"images": PIXELS[:, :, :4]}, "images of ipc 1"),
    ],
)
def test_what_is_refused_of_floats(encoding, more, message):
    one = packed(3, **{**more, "images": more["images"].to(getattr(torch, encoding))})
    with pytest.raises(ReleaseError, match=message):
        validate_release(release(one).to_bytes(), replace(JOB, encoding=encoding), EXPECTED)


def test_a_float_far_out_of_range():
    made = release(packed(3, images=PIXELS * 1e9))
    with pytest.raises(ReleaseError, match="pixel range"):
        validate_release(made.to_bytes(), replace(JOB, encoding="float32"), EXPECTED)


def test_a_wider_pixel_may_take_its_bytes_and_no_more():
    images = sum(JOB.ipcs) * EXPECTED.classes * EXPECTED.channels * EXPECTED.size**2
    sizes = {name: size_limit(replace(JOB, encoding=name), EXPECTED) for name in ("uint8", "float16", "float32")}
    assert sizes["float16"] - sizes["uint8"] == images and sizes["float32"] - sizes["uint8"] == 3 * images
    real = replace(JOB, scheme="random")
    assert size_limit(replace(real, encoding="float32"), EXPECTED) == size_limit(real, EXPECTED)


def test_real_images_are_eight_bits_whatever_is_asked_for():
    job = replace(JOB, scheme="random", encoding="float32", ipcs=(1,))
    made = release(scheme="random", real=True, sets={1: packed(3)})
    assert validate_release(made.to_bytes(), job, EXPECTED).real
    floats = release(scheme="random", real=True, sets={1: packed(3, images=PIXELS)})
    with pytest.raises(ReleaseError, match="images of ipc 1"):
        validate_release(floats.to_bytes(), job, EXPECTED)


def test_draws_of_random():
    job = replace(JOB, scheme="random", draws=2, ipcs=(1,))
    draw = torch.tensor([0, 0, 0, 1, 1, 1])
    good = release(scheme="random", real=True, sets={1: packed(6, draw=draw)})
    assert len(validate_release(good.to_bytes(), job, EXPECTED).sets[1]) == 6
    for missing in (None, torch.tensor([0, 0, 0, 1, 1, 2])):
        with pytest.raises(ReleaseError, match="draw"):
            made = release(scheme="random", real=True, sets={1: packed(6, draw=missing)})
            validate_release(made.to_bytes(), job, EXPECTED)
    lopsided = release(scheme="random", real=True, sets={1: packed(6, draw=torch.zeros(6, dtype=torch.int64))})
    with pytest.raises(ReleaseError, match="too many images"):
        validate_release(lopsided.to_bytes(), job, EXPECTED)


def test_multilabel():
    expected = replace(EXPECTED, multilabel=True)
    labels = torch.tensor([[0.0, 1.0, 1.0]] * 3)
    made = release(packed(3, labels=labels), sets={1: packed(3, labels=labels), 2: packed(3, labels=labels)})
    assert len(validate_release(made.to_bytes(), JOB, expected).sets[1]) == 3
