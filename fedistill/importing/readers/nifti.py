"""NIfTI volumes, slice by slice, by nibabel: axial slices as a radiologist sees them, the patient's right on the left.

Slices are numbered from the feet to the head, whatever the order in the file.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedistill.importing.extras import optional
from fedistill.importing.picture import Picture, PictureHeader, Unreadable, require_sane

_UP = 2  # of the axes right, anterior, superior


class NiftiReader:
    """Reads NIfTI files; DataError where nibabel is not installed."""

    def __init__(self) -> None:
        self._nibabel = optional("nibabel", extra="nifti", purpose="Reading NIfTI")

    def facts(self, path: Path) -> PictureHeader:
        """Return what the header says."""
        volume, axes = self._opened(path)
        sizes = [volume.shape[axes[of][0]] for of in range(3)]
        require_sane(sizes[0], sizes[1], sizes[_UP])
        return PictureHeader(sizes[0], sizes[1], False, sizes[_UP])

    def pictures(self, path: Path, wanted: Sequence[int]) -> Iterator[Picture]:
        """Yield the slices of these numbers; a slice alone is read."""
        volume, axes = self._opened(path)
        (right, from_left), (front, from_back), (up, from_feet) = axes
        for number in wanted:
            at: list[Any] = [slice(None)] * 3 + [0] * (len(volume.shape) - 3)
            at[up] = number if from_feet else volume.shape[up] - 1 - number
            try:
                values = np.asarray(volume.dataobj[tuple(at)])
            except Exception as error:  # nibabel and gzip meet damage with errors of many kinds
                raise Unreadable(f"damaged ({str(error).partition(chr(10))[0][:80]})") from error
            values = values if right < front else values.T  # axes: right, anterior
            values = values if from_left else values[::-1]
            values = values if from_back else values[:, ::-1]
            # Rows from the front to the back; columns from the patient's right to the left.
            yield Picture(np.ascontiguousarray(values.T[::-1, ::-1]).astype(np.float32))

    def _opened(self, path: Path) -> tuple[Any, list[tuple[int, bool]]]:
        """Return the volume, unread, and for right, anterior and superior its axis and whether it grows that way."""
        try:
            volume = self._nibabel.load(path)
            shape = volume.shape
            if len(shape) < 3 or any(n != 1 for n in shape[3:]) or volume.get_data_dtype().kind not in "iuf":
                raise Unreadable(f"{volume.get_data_dtype()} of shape {shape} where a volume of numbers is expected")
            orientation = self._nibabel.io_orientation(volume.affine)
            if np.isnan(orientation).any():
                raise Unreadable("an orientation that leaves out an axis")
        except Unreadable:
            raise
        except Exception as error:
            raise Unreadable(f"no NIfTI file, or damaged ({str(error).partition(chr(10))[0][:80]})") from error
        axes = {int(to): (axis, bool(sign > 0)) for axis, (to, sign) in enumerate(orientation)}
        return volume, [axes[of] for of in range(3)]
