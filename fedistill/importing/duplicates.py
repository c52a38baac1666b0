"""Images that are there twice: exact copies by a hash of their pixels, near ones by small pictures of them.

A copy in another split makes a test score worthless; a near one (the same picture saved anew, cut a little otherwise)
does so as well, but only a person can tell it from a second picture of the same kind. So exact copies are acted on and
near ones warned of.

Near ones are found without comparing all with all. Two small pictures, less their means and scaled to length 1, that
correlate by more than `ALIKE` lie within sqrt(2 - 2 ALIKE) of each other; so do their shadows on any axis. The images
are halved again and again along the axes on which they differ most, and each half keeps beside it those of the other
that lie no farther than this from the border. No pair is missed, whatever the axes are.
"""

from collections.abc import Iterator

import numpy as np

ALIKE = 0.998
"""Correlation of two images' 16 x 16 pictures above which they are called near duplicates."""

FLAT = 2.0
"""Standard deviation, in grey levels, below which a picture shows too little to be compared."""

_REACH = float(np.sqrt(2 - 2 * ALIKE)) + 1e-4
"""Distance within which near duplicates lie, and what rounding in float32 may add."""

_AXES = 24
"""Axes along which images are halved: those of the greatest spread in a sample."""

_SAMPLE = 4096
"""Images by which the axes are chosen."""

_LEAF = 256
"""Images that are compared with all that lie near them, and not halved any more."""

_BLOCK = 4096
"""Images that these are compared with at once."""


def exact(digest: np.ndarray) -> np.ndarray:
    """Return for every image the position of the first with the same pixels, int64 (N,).

    >>> exact(np.array([[1] * 16, [2] * 16, [1] * 16], np.uint8)).tolist()
    [0, 1, 0]
    """
    if not len(digest):
        return np.zeros(0, np.int64)
    keys = np.ascontiguousarray(digest).view("V16").ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def near(
    thumbs: np.ndarray, split: np.ndarray, same: np.ndarray, *, most: int = 200
) -> tuple[list[tuple[int, int]], int]:
    """Find pairs of images in different splits that look alike and are no exact copies.

    Args:
        thumbs: uint8 (N, 256).
        split: int64 (N,), number of each image's split; below 0 is left out.
        same: as `exact` returns it.
        most: pairs that are returned.

    Returns:
        The most alike pairs, the image in the earlier split first, and the number of all.
    """
    at = np.flatnonzero(_shows_something(thumbs) & (split >= 0))
    if not len(at):
        return [], 0
    shadows = _shadows(thumbs, at)
    pairs: list[tuple[float, int, int]] = []
    count = 0
    everything = np.arange(len(at))
    # A pair is found once, from its later split: images in the first need not be looked from.
    for own, beside in _halved(shadows, everything[split[at] > split[at].min()], everything):
        one = at[own]
        theirs = _unit(thumbs[one])
        for start in range(0, len(beside), _BLOCK):
            other = at[beside[start : start + _BLOCK]]
            alike = _unit(thumbs[other]) @ theirs.T
            rows, columns = np.nonzero(alike > ALIKE)
            a, b, values = other[rows], one[columns], alike[rows, columns]
            counted = (split[a] < split[b]) & (same[a] != same[b])
            a, b, values = a[counted], b[counted], values[counted]
            count += len(values)
            if len(values) > most:  # of pictures that show hardly anything there may be millions
                top = np.argpartition(-values, most)[:most]
                a, b, values = a[top], b[top], values[top]
            best = zip((-values).tolist(), a.tolist(), b.tolist(), strict=True)
            pairs = sorted([*pairs, *best])[:most]
    return [(a, b) for _, a, b in pairs], count


def _halved(shadows: np.ndarray, own: np.ndarray, beside: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield few images at a time, each once, with all that may lie within reach of any of them.

    Args:
        shadows: float32 (N, axes).
        own: positions of the images to divide.
        beside: positions of all images that may lie within reach of these, themselves among them.
    """
    waiting = [(own, beside)]
    while waiting:
        own, beside = waiting.pop()
        axis, border = _border(shadows[own]) if len(own) > _LEAF else (-1, 0.0)
        if axis < 0:
            yield own, beside
            continue
        left, place = shadows[own, axis] < border, shadows[beside, axis]
        waiting.append((own[~left], beside[place >= border - _REACH]))
        waiting.append((own[left], beside[place < border + _REACH]))


def _border(shadows: np.ndarray) -> tuple[int, float]:
    """Return the axis of the greatest spread, and its median; -1 if nothing is gained by halving there."""
    if not len(shadows):
        return -1, 0.0
    axis = int(np.ptp(np.percentile(shadows, (5, 95), axis=0), axis=0).argmax())
    border = float(np.median(shadows[:, axis]))
    beyond = (np.abs(shadows[:, axis] - border) >= _REACH).mean()
    return (axis, border) if beyond > 0.1 else (-1, 0.0)


def _shadows(thumbs: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return where images lie on the axes of the greatest spread, float32 (len(at), axes)."""
    sample = _unit(thumbs[at[:: -(-len(at) // _SAMPLE)]])
    _, axes = np.linalg.eigh(np.cov(sample.T, bias=True))
    return np.concatenate([_unit(thumbs[piece]) @ axes[:, -_AXES:].astype(np.float32) for piece in _pieces(at)])


def _shows_something(thumbs: np.ndarray) -> np.ndarray:
    """Return which pictures have enough contrast to be compared, bool (N,)."""
    spread = [piece.std(1, dtype=np.float32) for piece in _pieces(thumbs)]
    return np.concatenate(spread) >= FLAT if spread else np.zeros(0, bool)


def _unit(thumbs: np.ndarray) -> np.ndarray:
    """Return pictures less their means and of length 1, float32 (n, 256)."""
    grey = thumbs.astype(np.float32)
    grey -= grey.mean(1, keepdims=True)
    return grey / np.linalg.norm(grey, axis=1, keepdims=True)


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield an array's rows, a block at a time."""
    for start in range(0, len(array), _BLOCK):
        yield array[start : start + _BLOCK]
