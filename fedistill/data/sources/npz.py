"""The reader of every ``.npz`` in MedMNIST's layout: a hospital's own file or a downloaded one.

Required: ``train_images, train_labels, test_images, test_labels``. May be absent: ``val_images, val_labels``,
``train_groups, val_groups, test_groups`` (patients) and ``class_names``.

Nothing is unpickled, and what a file claims is checked from its headers before memory is given to it.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import IO, Self

import numpy as np
from numpy.lib import format as npy

from fedistill.data.facts import SPLITS
from fedistill.data.imageset import ImageSet
from fedistill.data.layout import (
    Header,
    check_groups,
    check_images,
    check_labels,
    check_names,
    check_sizes,
    name_classes,
)
from fedistill.data.sources.base import DatasetCard, DataSource
from fedistill.errors import DataError, nearest

LARGEST_ARRAY = 16 * 2**30  # bytes; PathMNIST at 224 pixels, the largest published, has 12.6 GiB
LARGEST_RATIO = 1100  # deflate cannot do better than 1032 : 1; a member that claims more lies about its size

LARGE = 2**30  # bytes; an array beyond it that packs better than LARGE_RATIO holds hardly anything
LARGE_RATIO = 200
LARGEST_TEXT = 400_000  # bytes, four a letter
LARGEST_HEADER = 10_000  # bytes, numpy's own limit; numpy compares only after it has read as many as the file claims
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy writes no other


SUFFIX = ".npz"


@dataclass(frozen=True)
class NpzFile(DataSource):
    """A user's own file: a path that ends in ``.npz``."""

    @classmethod
    def parse(cls, word: str) -> Self | None:
        """Return the file of a path; None if the word does not end in ``.npz``."""
        return cls(word) if word.endswith(SUFFIX) else None

    @classmethod
    def split_class(cls, entry: str) -> tuple[str, str | None] | None:
        """Split ``PATH.npz:CLASS``; the path and the class may contain colons."""
        if entry.strip().endswith(SUFFIX):
            return entry.strip(), None
        name, colon, label = entry.strip().partition(f"{SUFFIX}:")
        return (name + SUFFIX, label.strip()) if colon else None

    @property
    def one_size(self) -> bool:
        """Return True: a file has the size it has."""
        return True

    @property
    def path(self) -> Path:
        """Return the file's path."""
        return Path(self.name).expanduser()

    @property
    def short(self) -> str:
        """Return the file's name without ``.npz``."""
        return self.path.stem

    @property
    def slug(self) -> str:
        """Return the file's name without ``.npz``."""
        return self.path.stem

    def moved(self, folder: Path) -> Self:
        """Return the file with its whole path, resolved from a folder if the path is relative."""
        return replace(self, name=str((folder / self.path).resolve()))

    def phantom(self) -> str:
        """Raise DataError: a user's own file has no phantom."""
        raise DataError(
            f"There is no phantom of {self.name}: a phantom copies the numbers of a published set; "
            "this is your own file.",
            mend="name a phantom yourself, such as phantom:blood",
        )

    def load(
        self, split: str, *, size: int | None, data_root: str | Path | None, images: int | None, seed: int | None
    ) -> ImageSet:
        """Return one split of the file; DataError if it has images of another size."""
        loaded = read_npz(self.path, split)
        if size is not None and loaded.size != size:
            raise DataError(
                f"{self.name} has images of another size.",
                expected=f"{size} pixels",
                found=loaded.size,
                mend="leave out size: a file has the size it has",
            )
        return loaded

    def card(self, data_root: str | Path | None) -> DatasetCard:
        """Read the file and return its facts."""
        train, val, test = (read_npz(self.path, split) for split in SPLITS)
        lengths = (len(train), len(val), len(test))
        return DatasetCard(self.name, train.task, train.class_names, train.channels, lengths, "", (train.size,))

    def provenance(self, *, size: int | None, images: int | None, seed: int | None) -> tuple[str, str]:
        """Return the file's name without its folder, and its MD5 sum."""
        with self.path.open("rb") as file:
            return self.path.name, hashlib.file_digest(file, "md5").hexdigest()


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
    """Return one split of a file. Of the other splits only headers, labels and groups are read.

    Args:
        path: the file. Images uint8 and square, (N, S, S) or (N, S, S, C) with C = 1 or 3; labels integers from 0,
            (N,), (N, 1), or (N, L) of 0 and 1; groups integers or strings, (N,).
        split: ``train``, ``val`` or ``test``.
        class_names: default the file's own ``class_names``, else ``class 0``, ``class 1``, ...
        task: default from the labels: (N, L) is multi-label, two classes binary, more multi-class.
        name: of the set; default the file's name.
        source: see `ImageSet`; default the file's name.
        licence: see `ImageSet`.
        mirror: see `ImageSet`.

    Raises:
        DataError: the file is missing, damaged or laid out otherwise.
    """
    if split not in SPLITS:
        raise DataError(f"There is no split {split!r}.", mend=nearest(split, SPLITS))
    with _opened(path) as archive:
        headers = _headers(path, archive)
        check_sizes(path, headers)
        present = [s for s in SPLITS if f"{s}_images" in headers]
        shape = check_images(path, headers)
        labels = check_labels(path, headers, {s: _array(path, archive, f"{s}_labels") for s in present})
        grouped = [s for s in present if f"{s}_groups" in headers]
        groups = check_groups(path, headers, {s: _array(path, archive, f"{s}_groups") for s in grouped})
        if class_names is None and "class_names" in headers:
            class_names = check_names(path, _array(path, archive, "class_names"))
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


def read_small(path: Path) -> tuple[dict[str, Header], dict[str, np.ndarray]]:
    """Return the headers of all arrays, and the arrays that are no images, as they are in the file.

    Raises:
        DataError: the file is missing or damaged, or an array other than images is larger than it can rightly be.
    """
    with _opened(path) as archive:
        headers = _headers(path, archive)
        check_sizes(path, headers)
        wanted = [name for name in headers if name.endswith(("_labels", "_groups")) or name == "class_names"]
        return headers, {name: _array(path, archive, name) for name in wanted}


def read_text(path: Path, name: str) -> str | None:
    """Return the text that a file holds under a name; None if it holds none.

    Raises:
        DataError: the file is missing or damaged, or the array is no short text.
    """
    with _opened(path) as archive:
        header = _headers(path, archive).get(name)
        if header is None:
            return None
        if header.shape != () or header.dtype.kind != "U" or header.dtype.itemsize > LARGEST_TEXT:
            raise DataError(f"{path}: the array {name} is no short text.", found=f"{header.dtype} {header.shape}")
        return str(_array(path, archive, name))


def _opened(path: Path) -> zipfile.ZipFile:
    if path.is_dir():
        raise DataError(f"{path} is a folder.", expected="an .npz file", mend="name the file in it")
    if not path.is_file():
        raise DataError(f"There is no file {path}.", mend="check the path")
    with _damage(f"{path} is not an .npz file, or is damaged.", expected="a zip archive as numpy.savez writes it"):
        return zipfile.ZipFile(path)


def _headers(path: Path, archive: zipfile.ZipFile) -> dict[str, Header]:
    """Read shape and dtype of every array from the first bytes of each member."""
    headers: dict[str, Header] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            continue
        _require_size(path, name, info)
        with _damage(f"{path} is damaged: the array {name} cannot be read."):
            if name in headers:
                raise ValueError("two arrays have this name")
            if info.compress_type not in COMPRESSIONS:
                raise ValueError(f"compression {info.compress_type}, which numpy never writes")
            with archive.open(info) as file:
                size, dtype, start = _header(file)
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


def _require_size(path: Path, name: str, info: zipfile.ZipInfo) -> None:
    """Raise DataError where an array claims to unpack to more than it can have been packed from."""
    packed, whole = max(info.compress_size, 1), info.file_size
    if whole > LARGEST_ARRAY or whole > LARGEST_RATIO * packed or (whole > LARGE and whole > LARGE_RATIO * packed):
        raise DataError(
            f"{path}: the array {name} claims a size that cannot be right.",
            expected=f"at most {LARGEST_ARRAY >> 30} GiB, {LARGEST_RATIO} times its compressed bytes, "
            f"and {LARGE_RATIO} times beyond {LARGE >> 30} GiB",
            found=f"{whole} bytes from {info.compress_size}",
        )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    """Read shape, dtype and the header's length in bytes from the beginning of a member."""
    magic = file.read(npy.MAGIC_LEN)
    version = npy.read_magic(io.BytesIO(magic))
    length_bytes = file.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(length_bytes, "little")
    if length > LARGEST_HEADER:
        raise ValueError(f"a header of {length} bytes")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    size, _, dtype = read(io.BytesIO(length_bytes + file.read(length)))
    # Elements of no bytes take none of the file however many they are, and no array has less than no elements.
    if dtype.itemsize == 0 or any(isinstance(n, bool) or not 0 <= n <= LARGEST_ARRAY for n in size):
        raise ValueError(f"{dtype} of shape {str(size)[:200]}")
    return size, dtype, len(magic) + len(length_bytes) + length


def _array(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with _damage(f"{path} is damaged: the array {name} cannot be read."), archive.open(f"{name}.npy") as file:
        array = npy.read_array(file, allow_pickle=False)
        file.read(1)  # zipfile compares the checksum only when it meets the end
        return array


@contextmanager
def _damage(what: str, expected: str = "a whole .npy member") -> Iterator[None]:
    try:
        yield
    # zipfile, zlib, tokenize and numpy stumble over damage with errors of a dozen kinds; the answer is the same.
    except Exception as error:
        raise DataError(what, expected=expected, found=error, mend="copy or download the file again") from error
