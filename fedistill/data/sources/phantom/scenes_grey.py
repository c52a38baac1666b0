"""Phantoms in grey: chest films, retinal layers, breast ultrasound, nuclei, body slices.

A scene takes labels, (n,) or (n, L), a size in pixels and a generator, and returns float32 (n, S, S, 1), 0..1. As in
`scenes_colour` these are cartoons that pose a problem of the real one's kind.
"""

import numpy as np

from fedistill.data.sources.phantom.drawing import Array, blob, column, field, grid, step


def _thorax(n: int, size: int, rng: np.random.Generator, heart: Array | float = 0.30) -> tuple[Array, Array]:
    """Draw a chest film and the mask of its lungs, both (n, S, S)."""
    film = 0.62 + 0.05 * field(rng, n, size, 3)
    lungs = np.zeros((n, size, size), np.float32)
    shift, wide = rng.normal(0, 0.05, n), rng.uniform(0.30, 0.38, n)
    for side in (-1, 1):
        x = side * rng.uniform(0.38, 0.46, n) + shift
        lung = blob(size, x, rng.normal(0, 0.06, n), rng.uniform(0.62, 0.78, n), squash=wide / 0.7, angle=np.pi / 2)
        lungs = np.maximum(lungs, lung)
    film = film - 0.40 * lungs
    _, gy = grid(size)
    film = film + 0.05 * np.sin(column(rng.uniform(18, 24, n)) * gy + column(rng.uniform(0, 6, n))) * lungs  # ribs
    core = blob(size, shift + 0.08, rng.normal(0.32, 0.05, n), heart, squash=rng.uniform(0.75, 1, n), softness=2)
    return film + (0.72 - film) * 0.8 * core, lungs


def _develop(film: Array, rng: np.random.Generator, grain: float = 0.03) -> Array:
    """Apply exposure, contrast and grain; add the channel axis."""
    n = len(film)
    film = (film - 0.5) * column(rng.uniform(0.75, 1.2, n)) + 0.5 + column(rng.normal(0, 0.05, n))
    return (film + grain * rng.standard_normal(film.shape, dtype=np.float32))[..., None]


def pneumonia(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw lungs that are clear (0, with faint clouds) or clouded in one or two places (1)."""
    n = len(y)
    film, lungs = _thorax(n, size, rng)
    for k in range(2):
        x, z = np.where(rng.random(n) < 0.5, -0.42, 0.42), rng.uniform(-0.3, 0.4, n)
        cloud = blob(size, x, z, rng.uniform(0.2, 0.45, n), squash=rng.uniform(0.6, 1, n), softness=size / 6)
        thick = np.where(y == 1, rng.uniform(0.15, 0.45, n) * (k < rng.integers(1, 3, n)), rng.uniform(0, 0.14, n))
        film = film + column(thick) * cloud * lungs * (1 + 0.3 * field(rng, n, size, 8))
    return _develop(film, rng)


# One row a finding: height in the lung, radius, how white (negative: darker), softness of the rim in pixels of 28.
_FINDINGS = np.array(
    [
        (0.45, 0.22, 0.22, 2),  # atelectasis
        (0.32, 0.00, 0.00, 1),  # cardiomegaly: the heart itself is larger
        (0.65, 0.38, 0.34, 3),  # effusion
        (0.05, 0.45, 0.14, 6),  # infiltration
        (-0.1, 0.20, 0.38, 1),  # mass
        (-0.2, 0.09, 0.40, 1),  # nodule
        (0.25, 0.34, 0.26, 5),  # pneumonia
        (-0.4, 0.36, -0.22, 1),  # pneumothorax
        (0.20, 0.30, 0.34, 3),  # consolidation
        (0.00, 0.60, 0.16, 8),  # oedema
        (0.00, 0.55, -0.16, 8),  # emphysema
        (0.50, 0.28, 0.18, 4),  # fibrosis
        (-0.6, 0.20, 0.26, 2),  # pleural thickening
        (0.75, 0.26, -0.30, 2),  # hernia
    ]
)


def chests(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw any of 14 findings, (n, 14) of 0 and 1, each a shade of its own place, size, whiteness and sharpness."""
    n = len(y)
    film, _ = _thorax(n, size, rng, heart=np.where(y[:, 1] == 1, 0.46, 0.30) * rng.normal(1, 0.08, n))
    for k, (height, radius, white, soft) in enumerate(_FINDINGS):
        # Half of the strength varies, so that a finding may hide in the film's own clouds.
        x = np.where(rng.random(n) < 0.5, -0.42, 0.42) + rng.normal(0, 0.08, n)
        wide = radius * rng.normal(1, 0.15, n) * y[:, k]
        shade = blob(size, x, height + rng.normal(0, 0.1, n), wide, softness=soft * size / 28)
        film = film + column(white * rng.uniform(0.5, 1.2, n)) * shade
    return _develop(film, rng)


def layers(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw retinal layers in section: new vessels (0), swelling with dark cysts (1), small bumps (2), smooth (3)."""
    n = len(y)
    gx, gy = grid(size)
    line = (
        column(rng.uniform(0.0, 0.35, n)) + column(rng.normal(0, 0.12, n)) * gx**2 + column(rng.normal(0, 0.1, n)) * gx
    )
    at = rng.uniform(-0.5, 0.5, n)
    hump = np.exp(-(((gx - column(at)) / column(rng.uniform(0.2, 0.4, n))) ** 2))
    bumps = np.clip(np.sin(column(rng.uniform(9, 16, n)) * gx + column(rng.uniform(0, 6, n))), 0, 1)
    strength = rng.uniform(0.4, 1.2, n)
    lift = column(np.where(y == 0, 0.30, 0) * strength) * hump + column(np.where(y == 2, 0.11, 0) * strength) * bumps
    swell = column(np.where(y == 1, 0.25, 0) * strength) * hump
    floor, roof = line - lift, line - 0.42 + column(rng.normal(0, 0.05, n)) - swell - 0.4 * lift
    retina = step(gy - roof, size) * step(floor - gy, size)
    film = 0.10 + 0.32 * retina + 0.5 * np.exp(-(((gy - floor) / 0.07) ** 2)) + 0.2 * step(gy - line, size)
    film = film - 0.12 * step(gy - line - 0.25, size, 4)
    for _ in range(3):
        x, z = at + rng.normal(0, 0.15, n), line[:, 0, 0] - 0.25 + rng.normal(0, 0.06, n)
        wide = rng.uniform(0.08, 0.17, n) * (y == 1) * (rng.random(n) < 0.85)
        film = film - 0.25 * blob(size, x, z, wide, squash=rng.uniform(0.6, 1, n))
    return _develop(film * (1 + 0.15 * field(rng, n, size, 20)), rng, grain=0.05)


def ultrasound(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw speckle with a dark lump: ragged and upright (0, malignant), smooth and lying or none at all (1)."""
    n = len(y)
    _, gy = grid(size)
    bad = y == 0
    film = 0.45 + 0.08 * field(rng, n, size, 4) + 0.08 * np.sin(column(rng.uniform(5, 9, n)) * gy)
    height = np.where(bad, rng.uniform(0.05, 0.28, n), rng.uniform(0.0, 0.12, n))
    rim = (rng.integers(4, 9, n), height, rng.uniform(0, 2 * np.pi, n))
    angle = np.where(bad, rng.normal(np.pi / 2, 0.6, n), rng.normal(0, 0.4, n))
    wide = rng.uniform(0.3, 0.55, n) * (bad | (rng.random(n) < 0.75))
    x, z = rng.normal(0, 0.12, n), rng.normal(0, 0.12, n)
    squash = np.where(bad, rng.uniform(0.6, 1, n), rng.uniform(0.5, 0.9, n))
    lump = blob(size, x, z, wide, squash=squash, angle=angle, waves=rim, softness=1.5)
    film = film - column(rng.uniform(0.18, 0.36, n)) * lump
    gx, _ = grid(size)
    # Behind a malignant lump lies a shadow, behind a smooth one often brightness.
    behind = step(gy - column(z), size, 6) * np.exp(-(((gx - column(x)) / 0.3) ** 2)) * (column(wide) > 0)
    film = film + column(np.where(bad, rng.normal(-0.10, 0.08, n), rng.normal(0.06, 0.08, n))) * behind
    return _develop(film * (1 + 0.25 * field(rng, n, size, 18)), rng, grain=0.05)


# One row a class: radius of the nucleus, shorter over longer axis, brightness, speckle, neighbours.
_NUCLEI = np.array(
    [
        (0.46, 0.95, 0.55, 0.15, 2),
        (0.40, 0.95, 0.70, 0.25, 2),
        (0.52, 0.42, 0.60, 0.10, 1),
        (0.50, 0.42, 0.80, 0.10, 3),
        (0.30, 0.95, 0.90, 0.10, 4),
        (0.56, 0.75, 0.45, 0.30, 1),
        (0.50, 0.90, 0.75, 0.40, 1),
        (0.38, 0.75, 0.55, 0.40, 4),
    ]
)


def nuclei(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw a stained nucleus of a kidney cell among its neighbours."""
    n = len(y)
    row = _NUCLEI[y] * rng.normal(1, (0.12, 0.10, 0.15, 0.4, 0), (n, 5))
    film = 0.06 + 0.03 * field(rng, n, size, 5)
    for k in range(4):
        far, turn = rng.uniform(0.75, 1.1, n), rng.uniform(0, 2 * np.pi, n)
        wide = rng.uniform(0.25, 0.4, n) * (k < row[:, 4])
        film = film + 0.25 * blob(size, far * np.cos(turn), far * np.sin(turn), wide, squash=0.8, angle=turn)
    x, z = rng.normal(0, 0.08, (2, n))
    squash, angle = np.clip(row[:, 1], 0.3, 1), rng.uniform(0, 3.2, n)
    body = blob(size, x, z, row[:, 0], squash=squash, angle=angle)
    body = body * (1 + column(np.clip(row[:, 3], 0, 1)) * field(rng, n, size, 10))
    return _develop(np.maximum(film, column(row[:, 2]) * body), rng, grain=0.04)


# One row an organ: place (x, y), radius, shorter over longer axis, angle, brightness, mottling.
_ORGANS = np.array(
    [
        (0.00, 0.35, 0.42, 0.90, 0.0, 0.55, 0.05),  # bladder
        (0.30, 0.15, 0.36, 0.85, 0.3, 0.95, 0.10),  # femur-left
        (-0.3, 0.15, 0.36, 0.85, -0.3, 0.95, 0.10),  # femur-right
        (0.08, -0.05, 0.55, 0.80, 0.7, 0.72, 0.10),  # heart
        (0.28, 0.05, 0.44, 0.60, 1.2, 0.78, 0.20),  # kidney-left
        (-0.28, 0.05, 0.44, 0.60, 1.9, 0.78, 0.20),  # kidney-right
        (-0.10, -0.1, 0.68, 0.70, 2.8, 0.66, 0.08),  # liver
        (0.12, 0.0, 0.62, 0.60, 1.4, 0.16, 0.30),  # lung-left
        (-0.12, 0.0, 0.62, 0.60, 1.7, 0.16, 0.30),  # lung-right
        (0.00, 0.00, 0.50, 0.32, 0.2, 0.62, 0.25),  # pancreas
        (0.25, -0.1, 0.46, 0.58, 0.9, 0.70, 0.06),  # spleen
    ]
)


def slices(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw an organ in a slice of the body.

    Left and right differ by place and tilt, so mirroring would change the class.
    """
    n = len(y)
    row = _ORGANS[y]
    film = 0.42 + 0.07 * field(rng, n, size, 4)
    for _ in range(3):  # other tissue and bones
        film = film + column(rng.uniform(-0.3, 0.4, n)) * blob(
            size, rng.uniform(-0.9, 0.9, n), rng.uniform(-0.9, 0.9, n), rng.uniform(0.1, 0.3, n)
        )
    x, z = row[:, 0] + rng.normal(0, 0.10, n), row[:, 1] + rng.normal(0, 0.12, n)
    squash, angle = row[:, 3] * rng.uniform(0.85, 1.1, n), row[:, 4] + rng.normal(0, 0.25, n)
    rim = (rng.integers(2, 5, n), rng.uniform(0, 0.10, n), rng.uniform(0, 2 * np.pi, n))
    organ = blob(size, x, z, row[:, 2] * rng.normal(1, 0.12, n), squash=squash, angle=angle, waves=rim)
    tone = column(row[:, 5] + rng.normal(0, 0.05, n)) + column(row[:, 6]) * 0.4 * field(rng, n, size, 9)
    return _develop(film + organ * (tone - film), rng, grain=0.035)
