"""Words of the command line as the library takes them."""

from fedistill.errors import DataError, nearest
from fedistill.importing.splitting import Shares

_COLOURS = {"auto": None, "grey": 1, "rgb": 3}


def channels_named(word: str) -> int | None:
    """Return the number of channels; None keeps what the images have.

    >>> channels_named("grey")
    1
    """
    if word not in _COLOURS:
        raise DataError(f"There is no colour {word!r}.", mend=nearest(word, _COLOURS))
    return _COLOURS[word]


def frames_named(word: str) -> str | int:
    """Return the choice of frames; a number is a number.

    >>> frames_named("all"), frames_named("3")
    ('all', 3)
    """
    return int(word) if word.isascii() and word.isdigit() else word


def window_named(word: str | None) -> tuple[float, float] | None:
    """Return centre and width.

    >>> window_named("40,400")
    (40.0, 400.0)
    """
    if word is None:
        return None
    try:
        centre, width = (float(part) for part in word.split(","))
    except ValueError as error:
        raise DataError("This is no window.", expected="CENTRE,WIDTH, such as 40,400", found=repr(word)) from error
    return centre, width


def shares_named(word: str) -> Shares:
    """Return the shares of the splits.

    >>> shares_named("70/10/20")
    Shares(train=0.7, val=0.1, test=0.2)
    """
    try:
        train, val, test = (float(part) for part in word.split("/"))
    except ValueError as error:
        raise DataError(
            "These are no splits.", expected="TRAIN/VAL/TEST, such as 70/10/20", found=repr(word)
        ) from error
    whole = 1 if train + val + test <= 1 + 1e-9 else 100
    return Shares(train / whole, val / whole, test / whole)
