"""PNG, JPEG, TIFF and their like, by Pillow.

Transparent pixels are laid over black; palettes become what they stand for; a picture is turned as its EXIF tag says.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedistill.importing.picture import Picture, PictureHeader, Unreadable, require_sane

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000")
PAGED = ("TIFF", "GIF")
GREY = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION = 0x0112


class RasterReader:
    """Reads pictures that Pillow knows."""

    def facts(self, path: Path) -> PictureHeader:
        """Return what the header says."""
        with _Opened(path) as image:
            width, height = image.size
            if _orientation(image, path) in (5, 6, 7, 8):
                width, height = height, width
            frames = int(getattr(image, "n_frames", 1)) if image.format in PAGED else 1
            return PictureHeader(width, height, not image.mode.startswith(GREY), frames)

    def pictures(self, path: Path, wanted: Sequence[int]) -> Iterator[Picture]:
        """Yield the pictures of these numbers."""
        for number in wanted:
            with _Opened(path) as image:
                if number:
                    image.seek(number)
                    require_sane(*image.size)
                yield _picture(image)


def _orientation(image: Any, path: Path) -> int:
    """Return the EXIF tag that says how a picture is turned; of a PNG without decoding it, where that can be.

    Pillow decodes a whole PNG before it says that there is no EXIF, for EXIF may stand behind the pixels.
    """
    from PIL import Image

    if image.format == "PNG" and not _says_more_behind_its_pixels(path):
        return int(Image.Image.getexif(image).get(_ORIENTATION, 1))
    return int(image.getexif().get(_ORIENTATION, 1))


def _says_more_behind_its_pixels(path: Path) -> bool:
    """Return whether a PNG has chunks behind its pixels that may hold EXIF; a damaged one may have."""
    behind = False
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            kind = head[4:]
            if kind == b"IEND":
                return False
            behind = behind or kind == b"IDAT"
            if behind and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return True


class _Opened:
    """A picture file, whose damage of whatever kind is told as one error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Any:
        from PIL import Image

        try:
            self._image = Image.open(self._path, formats=FORMATS)
            require_sane(*self._image.size)
        except Unreadable:
            raise
        except Exception as error:  # Pillow meets damage with errors of a dozen kinds
            raise Unreadable(_why(error)) from error
        return self._image

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._image.close()
        if isinstance(error, Exception) and not isinstance(error, Unreadable):
            raise Unreadable(_why(error)) from error


def _why(error: Exception) -> str:
    name = type(error).__name__
    if name.startswith("DecompressionBomb"):
        return "claims more pixels than Pillow opens: a decompression bomb, or a mistake"
    if name == "UnidentifiedImageError":
        return "no picture, or of a kind that is not read"
    return f"damaged ({str(error).partition(chr(10))[0][:80] or name})"


def _picture(image: Any) -> Picture:
    from PIL import Image, ImageOps

    turned = ImageOps.exif_transpose(image) or image
    mode = turned.mode
    if mode.startswith("I;16"):
        return Picture(np.array(turned).astype(np.uint16))
    if mode in ("I", "F"):
        return Picture(np.array(turned))
    if mode == "1":
        return Picture(np.array(turned.convert("L")))
    if mode in ("LA", "La"):
        turned = turned.convert("LA")
        black = Image.new("LA", turned.size, (0, 255))
        return Picture(np.array(Image.alpha_composite(black.convert("RGBA"), turned.convert("RGBA")).convert("L")))
    if mode in ("RGBA", "RGBa", "PA") or "transparency" in turned.info:
        turned = turned.convert("RGBA")
        black = Image.new("RGBA", turned.size, (0, 0, 0, 255))
        flat = Image.alpha_composite(black, turned).convert("L" if mode == "L" else "RGB")
        return Picture(np.array(flat))
    if mode == "L":
        return Picture(np.array(turned))
    return Picture(np.array(turned.convert("RGB")))
