"""Picture: what a reader gives of a file, before its values and its size are touched; and what it says beforehand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

LARGEST = 100_000_000
"""Pixels of one picture. Beyond it stand mistakes and decompression bombs: a mammogram has 15 million."""


class Unreadable(Exception):
    """A file, or a picture in it, that cannot be used; the message says why, in a few words."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with its values as they were stored, in true units where the file gives a rescaling.

    Args:
        values: uint8, uint16, other integers or float, (H, W) or (H, W, 3).
        window: centre and width that the file asks for, and the curve's name; or None.
        inverted: whether small values are white (DICOM's MONOCHROME1).
        depth: most and least value that could be stored; None where that is not known, as of floats.
    """

    values: np.ndarray
    window: tuple[float, float, str] | None = None
    inverted: bool = False
    depth: tuple[float, float] | None = None


@dataclass(frozen=True)
class PictureHeader:
    """The facts in a file's header.

    Args:
        width, height: of its pictures, in pixels, as they will be read.
        colour: whether they may have colours.
        frames: number of pictures.
        patient: who is shown, where the file says so; else empty.
        notes: reasons to look at the file, each a few words that many files share.
    """

    width: int
    height: int
    colour: bool
    frames: int = 1
    patient: str = ""
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """Reads one kind of file."""

    def facts(self, path: Path) -> PictureHeader:
        """Return what the header says; no pixel is decoded.

        Raises:
            Unreadable: the file is no such file, is damaged, or claims more than can be right.
        """

    def pictures(self, path: Path, wanted: Sequence[int]) -> Iterator[Picture]:
        """Yield the pictures of these numbers.

        Raises:
            Unreadable: it cannot be decoded.
        """


def require_sane(width: int, height: int, frames: int = 1) -> None:
    """Raise Unreadable where a header claims pictures that nobody took."""
    if width < 1 or height < 1 or frames < 1:
        raise Unreadable("a header without pixels")
    if width * height > LARGEST:
        raise Unreadable(f"claims more than {LARGEST // 1_000_000} million pixels: a decompression bomb, or a mistake")
