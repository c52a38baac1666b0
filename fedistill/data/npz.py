"""One reader for every ``.npz`` in MedMNIST's layout: a hospital's own file or a downloaded one.

Required: ``train_images, train_labels, test_images, test_labels``. May be absent: ``val_images, val_labels``,
``train_groups, val_groups, test_groups`` (patients) and ``class_names``.

Nothing is unpickled, and what a file claims is checked from its headers before memory is given to it.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from fedistill.data.facts import SPLITS
from fedistill.data.imageset import ImageSet
from fedistill.data.layout import Header, check_groups, check_images, check_labels, name_classes
from fedistill.errors import DataError, nearest

LARGEST_ARRAY = 16 * 2**30  # bytes; PathMNIST at 224 pixels, the largest published, has 12.6 GiB
LARGEST_RATIO = 1100  # deflate cannot do better than 1032 : 1; a member that claims more lies about its size

# What zipfile, zlib and numpy raise on damage; NotImplementedError is a compression that numpy never writes.
_DAMAGE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)


def read_npz(
    path: Path,
    split: str = "train",
    *,
    class_names: tuple[str, ...] | None = None,
    task: str | None = None,
    name: str = "",
    source: str = "",
    licence: str = "",
    mirror: bool = True,
) -> ImageSet:
    """One split of a file. Of the other splits only headers, labels and groups are read.

    Args:
        path: the file. Images uint8 and square, (N, S, S) or (N, S, S, C) with C = 1 or 3; labels integers from 0,
            (N,), (N, 1), or (N, L) of 0 and 1; groups integers or strings, (N,).
        class_names: default the file's own ``class_names``, else ``class 0``, ``class 1``, ...
        task: default from the labels: (N, L) is multi-label, two classes binary, more multi-class.

    Raises:
        DataError: the file is missing, damaged or laid out otherwise.
    """
    if split not in SPLITS:
        raise DataError(f"There is no split {split!r}.", mend=nearest(split, SPLITS))
    with _opened(path) as archive:
        headers = _headers(path, archive)
        present = [s for s in SPLITS if f"{s}_images" in headers]
        shape = check_images(path, headers)
        labels = check_labels(path, headers, {s: _array(path, archive, f"{s}_labels") for s in present})
        found = [s for s in present if f"{s}_groups" in headers]
        groups = check_groups(path, headers, {s: _array(path, archive, f"{s}_groups") for s in found})
        if class_names is None and "class_names" in headers:
            class_names = tuple(str(name) for name in _array(path, archive, "class_names").ravel())
        names, guess = name_classes(path, labels, class_names)
        if split in present:
            images = _array(path, archive, f"{split}_images").reshape(-1, *shape)
        else:  # only val may be absent; it is then empty
            images, labels[split] = np.zeros((0, *shape), np.uint8), labels["train"][:0]
            if "train" in groups:
                groups[split] = groups["train"][:0]
    return ImageSet(
        images,
        labels[split],
        names,
        groups=groups.get(split),
        task=task or guess,
        name=name or path.name,
        source=source or path.name,
        licence=licence,
        mirror=mirror,
    )


def _opened(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise DataError(f"There is no file {path}.", mend="check the path")
    with _damage(f"{path} is not an .npz file, or is damaged.", expected="a zip archive as numpy.savez writes it"):
        return zipfile.ZipFile(path)


def _headers(path: Path, archive: zipfile.ZipFile) -> dict[str, Header]:
    """Shape and dtype of every array, from the first bytes of each member."""
    headers = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            continue
        if info.file_size > LARGEST_ARRAY or info.file_size > LARGEST_RATIO * max(info.compress_size, 1):
            raise DataError(
                f"{path}: the array {name} claims a size that cannot be right.",
                expected=f"at most {LARGEST_ARRAY >> 30} GiB and {LARGEST_RATIO} times its compressed bytes",
                found=f"{info.file_size} bytes from {info.compress_size}",
            )
        with _damage(f"{path} is damaged: the array {name} cannot be read."), archive.open(info) as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            size, _, dtype = read(file)
            start = file.tell()
        if dtype.hasobject:
            raise DataError(
                f"{path}: the array {name} holds Python objects, which are never loaded because they can run code.",
                expected="numbers, or strings of fixed length",
                found=dtype,
                mend=f"save the file again with {name} as a plain array",
            )
        # The header decides how much memory is asked for: it must agree with the archive's directory.
        if prod(size) * dtype.itemsize + start != info.file_size:
            raise DataError(
                f"{path}: the array {name} is not as long as its header says.",
                expected=f"{dtype} {size}",
                found=f"{info.file_size - start} bytes",
                mend="copy or download the file again",
            )
        headers[name] = Header(size, dtype)
    return headers


def _array(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with _damage(f"{path} is damaged: the array {name} cannot be read."), archive.open(f"{name}.npy") as file:
        array = npy.read_array(file, allow_pickle=False)
        file.read(1)  # zipfile compares the checksum only when it meets the end
        return array


@contextmanager
def _damage(what: str, expected: str = "a whole .npy member") -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise DataError(what, expected=expected, found=error, mend="copy or download the file again") from error
