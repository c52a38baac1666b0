"""Brushes for phantoms: many small pictures drawn at once with NumPy, on the square -1..1.

Every brush takes per-image parameters (n,) and returns float32 (n, S, S) with values mostly in 0..1.
"""

import numpy as np

Array = np.ndarray


def column(values: Array | float) -> Array:
    """Reshape per-image values (n,) to (n, 1, 1), which multiply pictures (n, S, S).

    >>> column(np.zeros(3)).shape
    (3, 1, 1)
    """
    return np.asarray(values, np.float32).reshape(-1, 1, 1)


def grid(size: int) -> tuple[Array, Array]:
    """Return the coordinates of the pixel centres: x (1, 1, S) to the right, y (1, S, 1) downwards."""
    at = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2 - 1
    return at.reshape(1, 1, -1), at.reshape(1, -1, 1)


def step(value: Array, size: int, softness: float = 1.0) -> Array:
    """Compute a soft edge about ``softness`` pixels wide: 1 where the value is well above 0."""
    width = 2.0 * softness / size
    return np.clip(0.5 + value / (2 * width), 0, 1)


def blob(
    size: int,
    x: Array | float,
    y: Array | float,
    radius: Array | float,
    *,
    squash: Array | float = 1.0,
    angle: Array | float = 0.0,
    waves: tuple[Array, Array, Array] | None = None,
    softness: float = 1.0,
) -> Array:
    """Draw a filled ellipse with a wavy rim.

    Args:
        size: of the picture in pixels.
        x: centre to the right, (n,), -1..1.
        y: centre downwards, (n,), -1..1.
        radius: of the longer axis; 0 draws nothing.
        squash: shorter over longer axis.
        angle: of the longer axis, radians.
        waves: (count, height, phase), each (n,): the rim is radius * (1 + height * cos(count * direction + phase)).
        softness: of the edge, in pixels.
    """
    shaped = np.broadcast_arrays(*(np.atleast_1d(v) for v in (x, y, radius, squash, angle, *(waves or ()))))
    if not (shaped[2] > 0).all():  # most marks of most pictures are absent: draw only those that are there
        picture = np.zeros((len(shaped[2]), size, size), np.float32)
        there = shaped[2] > 0
        x, y, radius, squash, angle, *rim_of = (v[there] for v in shaped)
        if there.any():
            wavy = (rim_of[0], rim_of[1], rim_of[2]) if rim_of else None
            picture[there] = blob(size, x, y, radius, squash=squash, angle=angle, waves=wavy, softness=softness)
        return picture
    gx, gy = grid(size)
    dx, dy = gx - column(x), gy - column(y)
    c, s = np.cos(column(angle)), np.sin(column(angle))
    along, across = dx * c + dy * s, (dy * c - dx * s) / column(squash)
    rim = column(radius)
    if waves is not None:
        count, height, phase = map(column, waves)
        rim = rim * (1 + height * np.cos(count * np.arctan2(across, along) + phase))
    return step(rim - np.hypot(along, across), size, softness)


def field(rng: np.random.Generator, n: int, size: int, cells: int) -> Array:
    """Smooth noise with mean 0 and standard deviation about 1: a random net of ``cells`` knots a side, interpolated."""
    knots = rng.standard_normal((n, cells, cells), dtype=np.float32)
    at = np.linspace(0, cells - 1, size, dtype=np.float32)
    # A triangle kernel interpolates; dividing by its length keeps the variance between the knots.
    weight = np.clip(1 - np.abs(at[:, None] - np.arange(cells, dtype=np.float32)), 0, 1)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    return weight @ knots @ weight.T


def waves(rng: np.random.Generator, size: int, pitch: Array, angle: Array) -> Array:
    """Draw stripes in -1..1: a sine of ``pitch`` periods a picture in direction ``angle``, slightly bent."""
    gx, gy = grid(size)
    n = len(pitch)
    along = gx * np.cos(column(angle)) + gy * np.sin(column(angle)) + 0.12 * field(rng, n, size, 4)
    return np.sin(column(pitch) * np.pi * along + column(rng.uniform(0, 2 * np.pi, n)))


def paint(picture: Array, mask: Array, colour: Array) -> Array:
    """Lay a colour (n, C) over pictures (n, S, S, C) where the mask (n, S, S) is 1."""
    return picture + mask[..., None] * (colour[:, None, None, :] - picture)
