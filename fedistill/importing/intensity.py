"""From stored values to 256 grey levels: which value becomes black and which white.

``auto``: eight-bit pictures as they are; DICOM by the window in its tags; all others by percentiles.
``percentile``: each picture's own 0.5th and 99.5th percentile.
``window``: a centre and a width given once for all, in the file's units (CT: Hounsfield units).
``full``: all that the stored depth could hold, such as 0 to 65535; floats must lie in 0..1.

DICOM windows follow the standard, part 3, C.11.2.1.2 and C.11.2.1.3.
"""

import numpy as np

from fedistill.importing.picture import Picture, Unreadable

INTENSITIES = ("auto", "percentile", "window", "full")
LOW, HIGH = 0.5, 99.5
"""Percentiles: a marker or a metal implant does not decide how bright the rest is."""


def rule_of(picture: Picture, intensity: str) -> str:
    """Return the rule that ``auto`` comes to for a picture, in words for the card."""
    if intensity != "auto":
        return intensity
    if picture.window is not None:
        return "window in the file"
    return "as stored" if picture.values.dtype == np.uint8 and not picture.inverted else "percentile"


def to_levels(picture: Picture, intensity: str, window: tuple[float, float] | None) -> np.ndarray:
    """Return a picture in 256 levels, uint8 (H, W) or (H, W, 3).

    Raises:
        Unreadable: it has no finite value, or values that the rule does not allow.

    >>> to_levels(Picture(np.array([[0, 100], [200, 400]], np.uint16)), "window", (200, 200)).tolist()
    [[0, 0], [128, 255]]
    """
    values = picture.values
    rule = rule_of(picture, intensity)
    if rule == "as stored":
        return values
    values = values.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        raise Unreadable("no pixel is a number")
    if not finite.all():
        values = np.where(finite, values, values[finite].min())
    if rule == "window in the file":
        assert picture.window is not None
        scaled = _windowed(values, *picture.window)
    elif rule == "window":
        assert window is not None
        scaled = _windowed(values, *window, "LINEAR")
    else:
        low, high = np.percentile(values, (LOW, HIGH)) if rule == "percentile" else _depth(picture, values)
        scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    scaled = np.clip(scaled, 0, 1)
    return np.rint((1 - scaled if picture.inverted else scaled) * 255).astype(np.uint8)


def _windowed(values: np.ndarray, centre: float, width: float, curve: str) -> np.ndarray:
    if curve == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -80, 80)))
    if curve == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    return (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5


def _depth(picture: Picture, values: np.ndarray) -> tuple[float, float]:
    if picture.depth is not None:
        return picture.depth
    if picture.values.dtype.kind in "iu":
        limits = np.iinfo(picture.values.dtype)
        return float(limits.min), float(limits.max)
    if values.min() < 0 or values.max() > 1:
        raise Unreadable("floats outside 0..1, for which intensity full has no black and white")
    return 0.0, 1.0
