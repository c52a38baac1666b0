"""Whatever bytes a site sends, the server takes a sound Release or raises one of our own errors, in little memory."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from fuzz import fuzzed, letters, memory_within, spoilt, values
from hypothesis import given
from hypothesis import strategies as st

from fedistill.config import Job
from fedistill.errors import FedistillError, ReleaseError
from fedistill.methods import privacy_statement, settings_for
from fedistill.release.header import LARGEST_HEADER
from fedistill.release.release import Packed, Release
from fedistill.schemes.server.pool import build_pool
from fedistill.transport.server.release_validation import Expected, validate_release

JOB = Job("north", "dc", 0, 0, (1, 2), {}, 1, "convnet", 8, "float32", 1)
EXPECTED = Expected(channels=1, size=8, classes=3, multilabel=False)


def packed(n: int) -> Packed:
    pixels = torch.full((n, 1, 8, 8), 100, dtype=torch.uint8)
    return Packed(pixels, torch.ones(1), torch.zeros(1), torch.arange(n) % 3, torch.tensor([0.01]))


SETTINGS = {str(ipc): asdict(settings_for("dc", ipc=ipc)) for ipc in JOB.budgets}
ABOUT = {"settings": SETTINGS, "model": "convnet", "width": 8, "precision": "float32"}
PRIVACY = privacy_statement("dc")
GOOD = Release("north", "dc", 0, False, {1: packed(3), 2: packed(6)}, provenance=ABOUT, privacy=PRIVACY).to_bytes()
LENGTH = int.from_bytes(GOOD[:8], "little")
HEADER, TENSORS = json.loads(GOOD[8 : 8 + LENGTH]), GOOD[8 + LENGTH :]


def written(header: str | dict, tensors: bytes = TENSORS) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + tensors


def told(**changes: object) -> bytes:
    """A whole Release with another description."""
    described = {**json.loads(HEADER["__metadata__"]["fedistill"]), **changes}
    return written({**HEADER, "__metadata__": {"fedistill": json.dumps(described)}})


def taken_or_refused(data: bytes) -> bool:
    """Whether it was taken; then it is pooled and written again as any other is."""
    try:
        release = validate_release(data, JOB, EXPECTED)
    except FedistillError as error:
        str(error).encode()
        return False
    assert torch.isfinite(build_pool([release], 2, {}, classes=3).images).all()
    (release.privacy + json.dumps(dict(release.provenance), allow_nan=False)).encode()
    return True


def test_the_whole_one_is_taken():
    assert (
        taken_or_refused(GOOD)
        and taken_or_refused(written(HEADER))
        and taken_or_refused(told(privacy=f"{PRIVACY} None."))
    )


@pytest.mark.parametrize(
    "pack",
    [
        {"ipc1": 0},
        {"ipc1": 5},
        {"ipc1": 2**62},
        {"ipc1": True},
        {"ipc1": "2"},
        {"ipc1": 2.0},
        {"ipc3": 2},
        [2],
        2,
        None,
    ],
)
def test_impossible_packing_is_refused(pack):
    with pytest.raises(ReleaseError):
        Release.from_bytes(told(pack=pack))


@fuzzed
@given(spoilt(GOOD))
def test_spoilt_bytes(data):
    taken_or_refused(data)


@fuzzed
@given(st.binary(max_size=64), st.integers(0, 2**64 - 1))
def test_any_bytes(data, length):
    assert not taken_or_refused(data)
    assert not taken_or_refused(length.to_bytes(8, "little") + data)


@fuzzed
@given(st.sampled_from(sorted(json.loads(HEADER["__metadata__"]["fedistill"]))), values)
def test_any_description(name, value):
    taken_or_refused(told(**{name: value}))


@fuzzed
@given(
    st.sampled_from([name for name in HEADER if name != "__metadata__"]),
    st.sampled_from(["dtype", "shape", "data_offsets"]),
    st.one_of(
        values, st.lists(st.integers(0, 2**63), max_size=5), st.sampled_from("F16 BF16 F64 BOOL F8_E4M3".split())
    ),
)
def test_any_tensor(name, part, value):
    taken_or_refused(written({**HEADER, name: {**HEADER[name], part: value}}))


@fuzzed
@given(st.sampled_from([name for name in HEADER if name != "__metadata__"]), letters)
def test_any_name_of_a_tensor(name, other):
    header = {other if each == name else each: value for each, value in HEADER.items()}
    assert not taken_or_refused(written(header)) or other == name


@fuzzed
@given(st.integers(0, len(TENSORS) - 8), st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1.0]))
def test_any_number_in_a_tensor(at, value):
    data = bytearray(TENSORS)
    data[at - at % 4 : at - at % 4 + 4] = np.float32(value).tobytes()
    taken_or_refused(written(HEADER, bytes(data)))


@pytest.mark.parametrize(
    "name", ["ipc01.images", "ipc+1.images", "ipc1_0.images", "1.images", "ipc-1.images", "ipc١.lr"]
)
def test_a_budget_has_one_name(name):
    header = {name if each == "ipc1.images" else each: value for each, value in HEADER.items()}
    with pytest.raises(ReleaseError, match="a tensor that Releases do not have"):
        Release.from_bytes(written(header))


def test_an_unknown_tensor_and_one_twice():
    spare = {"dtype": "U8", "shape": [0], "data_offsets": [len(TENSORS), len(TENSORS)]}
    with pytest.raises(ReleaseError, match="a tensor that Releases do not have"):
        Release.from_bytes(written({**HEADER, "ipc1.payload": spare}))
    twice = json.dumps(HEADER)[:-1] + f', "ipc1.lr": {json.dumps(HEADER["ipc1.lr"])}' + "}"
    with pytest.raises(ReleaseError, match="given twice"):
        Release.from_bytes(written(twice))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"real": "false"}, "real is str, not bool"),
        ({"seed": 0.0}, "seed is float, not int"),
        ({"seed": True}, "seed is bool, not int"),
        ({"site": 1}, "site is int, not str"),
        ({"privacy": "\ud800"}, "surrogates not allowed"),
        ({"provenance": {"x": 10**400}}, "64 bits"),
        ({"provenance": {"x": float("nan")}}, "no number"),
    ],
)
def test_a_description_means_what_it_says(changes, why):
    with pytest.raises(ReleaseError, match=why):
        Release.from_bytes(told(**changes))


@pytest.mark.parametrize("depth", [25, 900, 100_000])
def test_depth_without_end(depth):
    described = HEADER["__metadata__"]["fedistill"][:-1] + ', "x": ' + "[" * depth + "]" * depth + "}"
    with pytest.raises(ReleaseError, match="no Release"):
        Release.from_bytes(written({**HEADER, "__metadata__": {"fedistill": described}}))


@pytest.mark.parametrize("length", [0, LARGEST_HEADER + 1, 2 << 30, 2**64 - 1])
def test_a_header_of_any_length_takes_no_memory(length):
    data = length.to_bytes(8, "little") + b"[[],[]," * (LARGEST_HEADER // 6)
    with memory_within(1 << 20), pytest.raises(ReleaseError, match="not as long as a Release's"):
        Release.from_bytes(data)


def test_more_bytes_than_were_asked_for_are_not_read():
    sent = bytes(2 << 20)
    with memory_within(1 << 16), pytest.raises(ReleaseError, match="too large"):
        validate_release(sent, JOB, EXPECTED)
