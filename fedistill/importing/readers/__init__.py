"""Readers, one for each kind of file; which one reads a file is decided here, by its name or its first bytes."""

from functools import cache
from pathlib import Path

from fedistill.importing.picture import Reader

RASTER = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".pgm", ".ppm", ".pnm", ".jp2")
DICOM = (".dcm", ".dicom")
NIFTI = (".nii", ".nii.gz")
LEFT_OUT = ("DICOMDIR", "THUMBS.DB", "DESKTOP.INI")
"""Files that lie beside images and are none."""


def kind_of(path: Path) -> str:
    """Return ``raster``, ``dicom``, ``nifti``, or nothing for what is no image.

    A file without a known ending is DICOM if the standard's mark stands at its byte 128.

    >>> kind_of(Path("a.PNG")), kind_of(Path("x.nii.gz")), kind_of(Path("DICOMDIR"))
    ('raster', 'nifti', '')
    """
    name = path.name.lower()
    if path.name.upper() in LEFT_OUT:
        return ""
    if name.endswith(RASTER):
        return "raster"
    if name.endswith(NIFTI):
        return "nifti"
    if name.endswith(DICOM):
        return "dicom"
    try:
        with path.open("rb") as file:
            return "dicom" if file.read(132)[128:] == b"DICM" else ""
    except OSError:
        return ""


@cache
def reader(kind: str) -> Reader:
    """Return the reader of a kind.

    Raises:
        DataError: the package that it needs is not installed; the message names it.
    """
    if kind == "dicom":
        from fedistill.importing.readers.dicom import DicomReader

        return DicomReader()
    if kind == "nifti":
        from fedistill.importing.readers.nifti import NiftiReader

        return NiftiReader()
    from fedistill.importing.readers.raster import RasterReader

    return RasterReader()
