"""Whatever lies in an .npz, the reader gives images or a DataError, and no more memory than the file is worth."""

import io
import zipfile

import numpy as np
import pytest
from fuzz import fuzzed, letters, memory_within, spoilt, values
from hypothesis import given
from hypothesis import strategies as st

from fedistill.data.sources.npz import read_npz
from fedistill.errors import DataError


def whole(**changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, n in (("train", 4), ("test", 3)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(n, dtype=np.uint8) % 2
    arrays["class_names"] = np.array(["no", "yes"])
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}


def saved(arrays, save=np.savez):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


PLAIN, PACKED = saved(whole()), saved(whole(), np.savez_compressed)


def member(header, data=b"", version=(1, 0)):
    """An .npy with this text as its header."""
    text = header.encode("latin1", "replace")
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 if version == (1, 0) else 4, "little") + text + data


def with_member(name, content, compression=zipfile.ZIP_STORED):
    """The whole file with one member's content in the place of its own."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(PLAIN)) as there, zipfile.ZipFile(file, "w") as made:
        for info in there.infolist():
            if info.filename != f"{name}.npy":
                made.writestr(info.filename, there.read(info))
        made.writestr(f"{name}.npy", content, compression)
    return file.getvalue()


@pytest.fixture
def read(tmp_path):
    def read(data):
        """Whether it was taken."""
        path = tmp_path / "x.npz"
        path.write_bytes(data)
        try:
            x = read_npz(path)
        except DataError as error:
            str(error).encode(errors="strict")
            return False
        assert len(x) == len(x.labels) and x.labels.min() >= 0 and x.labels.max() < x.n_classes
        return True

    return read


def test_the_whole_one_is_taken(read):
    assert read(PLAIN) and read(PACKED)


@fuzzed
@given(st.one_of(spoilt(PLAIN), spoilt(PACKED)))
def test_spoilt_bytes(read, data):
    read(data)


HEADERS = st.one_of(
    letters,
    st.builds(lambda v: f"{v!r}", values),
    st.builds(
        lambda d, o, s: f"{{'descr': {d!r}, 'fortran_order': {o!r}, 'shape': {s!r}}}",
        st.one_of(values, st.sampled_from(["|u1", "<i8", "|O", "<U0", "|S0", "|V0", "<U4", "<M8[s]", "<c16"])),
        st.one_of(st.booleans(), values),
        st.one_of(values, st.lists(st.integers(-1, 2**70), max_size=4).map(tuple), st.just((4,))),
    ),
)


@fuzzed
@given(
    st.sampled_from([*whole(), "train_groups", "other"]),
    HEADERS,
    st.sampled_from([0, 1, 4, 12, 64]),
    st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]),
)
def test_any_header(read, name, header, length, version):
    with memory_within(16 << 20):
        read(with_member(name, member(header, b"\1" * length, version)))


@pytest.mark.parametrize(
    "header",
    [
        "[" * 3000,
        "-" * 9000,
        "(" * 9000,
        "{[]: 1}",
        "{1: 2, 'descr': 3}",
        "lambda: 0",
        "__import__('os')",
        "'" * 3,
        "\x00",
    ],
)
def test_headers_that_parsers_stumble_over(read, header):
    assert not read(with_member("train_labels", member(header)))


def test_a_header_that_claims_four_gigabytes(read):
    claimed = b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b" " * (64 << 20)
    bomb = with_member("train_labels", claimed, zipfile.ZIP_DEFLATED)
    with memory_within(4 << 20):
        assert not read(bomb)


@pytest.mark.parametrize("name", ["train_images", "train_labels", "class_names", "train_groups"])
def test_a_bomb_of_two_gigabytes_takes_no_memory(read, name):
    shape = {"train_images": (2**31 // 64, 8, 8)}.get(name, (2**31,))
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"
    start = member(header)
    # The archive's directory says the same as the array's header; there is nothing behind it but a megabyte of zeros.
    data = with_member(name, start + bytes(1 << 20), zipfile.ZIP_DEFLATED)
    at = data.rindex(f"{name}.npy".encode()) - 46
    lying = data[: at + 24] + (len(start) + 2**31).to_bytes(4, "little") + data[at + 28 :]
    with memory_within(16 << 20):
        assert not read(lying)


@pytest.mark.parametrize("dtype", ["<U0", "|S0", "|V0"])
def test_a_billion_elements_of_no_bytes(read, dtype):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': (1000000000,)}}"
    with memory_within(16 << 20):
        for name in ("class_names", "train_groups", "train_labels"):
            assert not read(with_member(name, member(header)))


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": np.array([str(i) for i in range(10_001)])},
        {"class_names": np.array(["x" * 1001, "y"])},
        {"train_groups": np.array(["x" * 1001] * 4)},
        {"train_labels": np.zeros((4, 10_001), np.uint8), "test_labels": np.zeros((3, 10_001), np.uint8)},
    ],
)
def test_no_labels_are_so_large(read, changes):
    assert not read(saved(whole(**changes), np.savez_compressed))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_numpy_never_writes(read, compression):
    with zipfile.ZipFile(io.BytesIO(PLAIN)) as archive:
        content = archive.read("train_labels.npy")
    assert read(with_member("train_labels", content)) and not read(with_member("train_labels", content, compression))


def test_a_name_twice(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(PLAIN)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("train_labels.npy", archive.read("train_labels.npy"))
    with pytest.raises(DataError, match="two arrays have this name"):
        read_npz(path)
