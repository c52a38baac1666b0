"""Images that are there twice: exact copies by a hash of their pixels, near ones by small pictures of them.

A copy in another split makes a test score worthless; a near one (the same picture saved anew, cut a little otherwise)
does so as well, but only a person can tell it from a second picture of the same kind. So exact copies are acted on and
near ones warned of.
"""

import numpy as np

ALIKE = 0.998
"""Correlation of two images' 16 x 16 pictures above which they are called near duplicates."""

FLAT = 2.0
"""Standard deviation, in grey levels, below which a picture shows too little to be compared."""

_BLOCK = 2048


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
        The most alike pairs, and the number of all.
    """
    grey = thumbs.astype(np.float32)
    grey -= grey.mean(1, keepdims=True)
    spread = grey.std(1)
    at = np.flatnonzero((spread >= FLAT) & (split >= 0))
    unit = grey[at] / np.linalg.norm(grey[at], axis=1, keepdims=True)
    pairs: list[tuple[float, int, int]] = []
    count = 0
    order = np.argsort(split[at], kind="stable")  # splits lie together, so blocks within one are passed over
    at, unit = at[order], unit[order]
    for i in range(0, len(at), _BLOCK):
        for j in range(i, len(at), _BLOCK):
            one, other = at[i : i + _BLOCK], at[j : j + _BLOCK]
            if split[one[0]] == split[other[-1]] == split[one[-1]] == split[other[0]]:
                continue
            alike = unit[i : i + _BLOCK] @ unit[j : j + _BLOCK].T
            rows, columns = np.nonzero(alike > ALIKE)
            a, b = one[rows], other[columns]
            counted = (split[a] != split[b]) & (same[a] != same[b]) & ((i != j) | (rows < columns))
            count += int(counted.sum())
            a, b, values = a[counted], b[counted], alike[rows, columns][counted]
            if len(values) > most:  # of pictures that show hardly anything there may be millions
                top = np.argpartition(-values, most)[:most]
                a, b, values = a[top], b[top], values[top]
            best = zip(values.tolist(), a.tolist(), b.tolist(), strict=True)
            pairs = sorted([*pairs, *best], key=lambda pair: -pair[0])[:most]
    return [(a, b) for _, a, b in pairs], count
