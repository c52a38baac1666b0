"""DICOM, by pydicom: rescaled to true units, with the window that the file asks for and its colours as RGB.

Of the tags, PatientID alone is used, to keep a patient's images together; what goes into the data set is a keyed hash
of it. No other tag leaves this file but as a warning that counts files.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedistill.importing.extras import optional
from fedistill.importing.picture import LARGEST, Picture, PictureHeader, Unreadable, require_sane

DEFLATED = "1.2.840.10008.1.2.1.99"
"""A transfer syntax that inflates a whole file before anything in it can be checked; hardly anybody writes it."""


class DicomReader:
    """Reads DICOM files; DataError where pydicom is not installed."""

    def __init__(self) -> None:
        self._pydicom = optional("pydicom", extra="dicom", purpose="Reading DICOM")
        self._pixels = optional("pydicom.pixels", extra="dicom", purpose="Reading DICOM")

    def facts(self, path: Path) -> PictureHeader:
        """Return what the header says, and notes on text that may be burned in."""
        header = self._header(path)
        try:
            return self._facts(header)
        except Unreadable:
            raise
        except Exception as error:  # a tag whose value is of no kind that it may be
            raise Unreadable(f"a header that cannot be read ({_first_line(error)})") from error

    def _facts(self, header: Any) -> PictureHeader:
        rows, columns = int(header.get("Rows", 0) or 0), int(header.get("Columns", 0) or 0)
        frames = int(header.get("NumberOfFrames", 1) or 1)
        require_sane(columns, rows, frames)
        self._require_decoder(header)
        notes = []
        if str(header.get("BurnedInAnnotation", "")).upper() == "YES":
            notes.append("text burned into the pixels, says the tag BurnedInAnnotation: it may name the patient")
        if str(header.get("Modality", "")) in ("US", "SC", "OT") and "BurnedInAnnotation" not in header:
            notes.append("of a kind that often has text in its pixels, and no tag BurnedInAnnotation that denies it")
        colour = str(header.get("PhotometricInterpretation", "")).upper().startswith(("RGB", "YBR", "PALETTE"))
        return PictureHeader(
            columns, rows, colour, frames, str(header.get("PatientID", "") or "").strip(), tuple(notes)
        )

    def pictures(self, path: Path, wanted: Sequence[int]) -> Iterator[Picture]:
        """Yield the pictures of these numbers."""
        header = self._header(path)
        several = int(header.get("NumberOfFrames", 1) or 1) > 1
        for number in wanted:
            try:
                values = self._pixels.pixel_array(path, index=number if several else None)
                yield self._picture(header, values)
            except Unreadable:
                raise
            except Exception as error:  # decoders stumble over damage with errors of many kinds
                raise Unreadable(f"pixels that cannot be decoded ({_first_line(error)})") from error

    def _header(self, path: Path) -> Any:
        """Return all tags but the pixels."""
        try:
            about = self._pydicom.filereader.read_file_meta_info(path)
            if str(about.get("TransferSyntaxUID", "")) == DEFLATED:
                raise Unreadable("deflated as a whole, which could be a decompression bomb; write it uncompressed")
            return self._pydicom.dcmread(path, stop_before_pixels=True)
        except Unreadable:
            raise
        except Exception as error:
            raise Unreadable(f"no DICOM file, or damaged ({_first_line(error)})") from error

    def _require_decoder(self, header: Any) -> None:
        syntax = header.file_meta.get("TransferSyntaxUID")
        if syntax is None:
            raise Unreadable("no transfer syntax in its header")
        try:
            decoder = self._pixels.get_decoder(syntax)
        except NotImplementedError as error:
            raise Unreadable(f"transfer syntax {syntax.name}, which pydicom does not read") from error
        if not decoder.is_available:
            packages = " or ".join(each.partition(" - ")[0] for each in decoder.missing_dependencies)
            needs = "; ".join(each.partition(" - requires ")[2] for each in decoder.missing_dependencies)
            raise Unreadable(f"compressed as {syntax.name}: to read it install {packages} ({needs})")

    def _picture(self, header: Any, values: np.ndarray) -> Picture:
        if values.ndim == 3 and values.shape[-1] == 3:
            return Picture(values)
        if values.ndim != 2 or values.size > LARGEST:
            raise Unreadable(f"pixels of shape {values.shape}")
        if str(header.get("PhotometricInterpretation", "")).upper() == "PALETTE COLOR":
            rgb = self._pixels.apply_color_lut(values, header)
            return Picture((rgb >> 8).astype(np.uint8) if rgb.dtype == np.uint16 else rgb)
        bits, signed = int(header.get("BitsStored", 8)), int(header.get("PixelRepresentation", 0))
        lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        inverted = str(header.get("PhotometricInterpretation", "")).upper() == "MONOCHROME1"
        if "VOILUTSequence" in header:
            shown = self._pixels.apply_voi_lut(self._pixels.apply_modality_lut(values, header), header)
            depth = int(header.VOILUTSequence[0].LUTDescriptor[2])
            return Picture(shown, (2 ** (depth - 1), 2.0**depth, "LINEAR_EXACT"), inverted)
        true = self._pixels.apply_modality_lut(values, header)
        slope, intercept = float(header.get("RescaleSlope", 1) or 1), float(header.get("RescaleIntercept", 0) or 0)
        depth_range = tuple(sorted((lowest * slope + intercept, highest * slope + intercept)))
        return Picture(true, _window(header), inverted, None if "ModalityLUTSequence" in header else depth_range)


def _window(header: Any) -> tuple[float, float, str] | None:
    """Return the first window of the tags, if it is one that can be used."""
    centre, width = header.get("WindowCenter"), header.get("WindowWidth")
    if centre is None or width is None or centre == "" or width == "":
        return None
    first = [float(each[0] if isinstance(each, list | tuple) or hasattr(each, "__iter__") else each)
             for each in (centre, width)]  # fmt: skip
    curve = str(header.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
    return (first[0], first[1], curve) if first[1] >= 1 and np.isfinite(first).all() else None


def _first_line(error: Exception) -> str:
    return (str(error).strip().partition("\n")[0] or type(error).__name__)[:120]
