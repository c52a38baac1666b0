"""Preprocessing: how a picture of any size and depth becomes one of FeDistill's, recorded so that it can be repeated.

`fedistill import` writes it into the ``.npz``, `fedistill train` copies it into the model file, and `fedistill apply`
follows it: a network in use sees new images as it saw those it was trained on.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import numpy as np

from fedistill.core.ranges import AS_TUPLE, Count, Range, among, known
from fedistill.core.settings import checked, checked_table
from fedistill.data.facts import SIZES
from fedistill.errors import DataError, SettingError
from fedistill.importing.intensity import INTENSITIES, to_levels
from fedistill.importing.picture import Picture, Unreadable

FORMAT = 1
ARRAY = "preprocessing"
"""Name of the array of an ``.npz`` that holds it, as text."""


@dataclass(frozen=True)
class Preprocessing:
    """The steps that every picture goes through.

    Args:
        size: height and width of the result in pixels.
        fit: ``crop`` takes the largest square from the middle, ``pad`` puts black beside the shorter side; None takes
            pictures of one size alone, which must be square.
        taken: width and height of the pictures, where ``fit`` is None.
        channels: 1 or 3 of the result; None while it is still to be found.
        intensity: what of the values becomes black and white; see `fedistill.importing.intensity`.
        window: centre and width, where ``intensity`` is ``window``.
        frames: of a file with several pictures: ``middle``, ``all``, or so many at equal distances.

    Raises:
        SettingError: a value that cannot be.
    """

    size: Annotated[int, among(*SIZES)] = 28
    fit: Annotated[str, known("rule for sizes", ("crop", "pad"))] | None = None
    taken: Annotated[tuple[Count, Count], AS_TUPLE] | None = None
    channels: Annotated[int, among(1, 3)] | None = None
    intensity: Annotated[str, known("rule for intensities", INTENSITIES)] = "auto"
    window: Annotated[tuple[float, Annotated[float, Range(ge=1)]], AS_TUPLE] | None = None
    frames: Annotated[str, known("choice of frames", ("middle", "all"))] | Count = "middle"

    def __post_init__(self) -> None:
        checked_table(type(self), vars(self), "the preparation of pictures")
        if (self.window is not None) != (self.intensity == "window"):
            raise SettingError(
                "This window cannot be used.",
                expected="CENTRE,WIDTH with a width of at least 1, and intensity window",
                found=self.window,
            )

    def wanted(self, count: int) -> list[int]:
        """Return which of a file's pictures are taken.

        >>> Preprocessing().wanted(5), Preprocessing(frames="all").wanted(3), Preprocessing(frames=2).wanted(8)
        ([2], [0, 1, 2], [2, 6])
        """
        if self.frames == "all":
            return list(range(count))
        number = 1 if self.frames == "middle" else min(int(self.frames), count)
        return [int((k + 0.5) * count / number) for k in range(number)]

    def words(self) -> str:
        """Return what is done, as a sentence for people.

        >>> Preprocessing(size=64, fit="pad", channels=1).words()
        'padded to a square with black, brought to 64 x 64 pixels, grey'
        """
        shape = {
            "crop": "cut to the largest square in the middle",
            "pad": "padded to a square with black",
            None: "taken whole" + ("" if self.taken is None else f" ({self.taken[0]} x {self.taken[1]} pixels)"),
        }[self.fit]
        colour = {1: ", grey", 3: ", RGB", None: ""}[self.channels]
        return f"{shape}, brought to {self.size} x {self.size} pixels{colour}"

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Preprocessing":
        """Read it from text, trusting nothing in it.

        Raises:
            DataError: it is not what `to_json` writes.
        """
        try:
            read: dict[str, Any] = json.loads(text)
            if read.pop("format") != FORMAT or set(read) != {each.name for each in fields(cls)}:
                raise ValueError("of another format, or with other settings")
            return checked(cls, read, "the record")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(
                "The record of how images were prepared cannot be read.",
                expected="what `fedistill import` of this version writes",
                found=str(error).partition("\n")[0][:200],
                mend="import the images again",
            ) from error


def apply(picture: Picture, how: Preprocessing) -> np.ndarray:
    """Return one picture as FeDistill takes it: uint8 (S, S, C); C is the picture's own where ``channels`` is None.

    Raises:
        Unreadable: its size or its values do not allow it; the message says why.
    """
    from PIL import Image

    levels = to_levels(picture, how.intensity, how.window)
    height, width = levels.shape[:2]
    if how.fit is None and how.taken is not None and (width, height) != how.taken:
        raise Unreadable(f"{width} x {height} pixels where all others have {how.taken[0]} x {how.taken[1]}")
    if how.fit is None and width != height:
        raise Unreadable(f"{width} x {height} pixels, no square, and no rule (crop or pad) to make one")
    if how.fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        levels = levels[top : top + side, left : left + side]
    elif how.fit == "pad":
        side = max(height, width)
        square = np.zeros((side, side, *levels.shape[2:]), np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = levels
        levels = square
    image = Image.fromarray(np.ascontiguousarray(levels))
    if how.channels is not None and (image.mode == "RGB") != (how.channels == 3):
        image = image.convert("RGB" if how.channels == 3 else "L")  # grey: the luma of ITU-R BT.601
    if image.size != (how.size, how.size):
        image = image.resize((how.size, how.size), Image.Resampling.BICUBIC)  # which averages where it shrinks
    result = np.asarray(image)
    return result.reshape(how.size, how.size, -1)
