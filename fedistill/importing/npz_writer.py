"""An ``.npz`` in MedMNIST's layout, written piece by piece from pixels that lie in a file: memory holds a piece."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

_PIECE = 1 << 22
"""Bytes of pixels in memory at once."""

_DATE = (1980, 1, 1, 0, 0, 0)  # no clock: the same images give the same file


def write_npz(
    path: Path,
    raw: IO[bytes],
    picked: Mapping[str, np.ndarray],
    small: Mapping[str, np.ndarray],
    *,
    shape: tuple[int, int, int],
    channels: int,
    on_progress: Callable[[int], None],
) -> None:
    """Write the file.

    Args:
        path: to write, in place of what is there.
        raw: uint8 (N, S, S, C) one after another, without a header.
        picked: for each split, the positions of its images in ``raw``, in order.
        small: all other arrays by name.
        shape: (S, S, C) of the images in ``raw``.
        channels: 1 or 3 that are written; of three alike, one may be.
        on_progress: told the number of images written.
    """
    each = int(np.prod(shape))
    step = max(1, _PIECE // each)
    written = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for split, at in picked.items():
            out = (len(at), *shape[:2]) if channels == 1 else (len(at), *shape[:2], channels)
            with archive.open(_member(f"{split}_images"), "w", force_zip64=True) as file:
                npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": out})
                for start in range(0, len(at), step):
                    piece = _read(raw, at[start : start + step], shape)
                    file.write(np.ascontiguousarray(piece[..., :channels]).tobytes())
                    written += len(piece)
                    on_progress(written)
        for name, array in small.items():
            with archive.open(_member(name), "w") as file:
                npy.write_array(file, np.asarray(array, order="C"), allow_pickle=False)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{name}.npy", _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    return info


def _read(raw: IO[bytes], at: Sequence[int] | np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return images by position, uint8 (n, S, S, C)."""
    each = int(np.prod(shape))
    images = np.empty((len(at), each), np.uint8)
    for row, position in zip(images, at, strict=True):
        raw.seek(int(position) * each)
        raw.readinto(row)  # type: ignore[attr-defined]
    return images.reshape(-1, *shape)


def read_images(raw: IO[bytes], at: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a few images by position, uint8 (n, S, S, C)."""
    return _read(raw, at, shape)
