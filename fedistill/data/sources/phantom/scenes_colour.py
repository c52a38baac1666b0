"""Phantoms in colour: blood cells, tissue sections, skin lesions, eye grounds.

A scene takes labels (n,), a size in pixels and a generator, and returns float32 (n, S, S, 3), 0..1. The pictures are
cartoons: they resemble their subject for a reader, and pose a problem of its kind to a network. `cells` was set once so
that a ConvNet finds much in many images and little in few (see the test), never by how a distillation fares on it.
"""

import numpy as np

from fedistill.data.sources.phantom.drawing import Array, blob, column, field, paint, waves

# One row a class: cell radius, nucleus radius (of one lobe), lobes, spread of the lobes, granules, then the colours of
# nucleus, cytoplasm and granules as red, green, blue.
_CELLS = np.array(
    [
        (0.56, 0.25, 2, 0.20, 1.00, *(0.42, 0.26, 0.56), *(0.72, 0.58, 0.74), *(0.32, 0.18, 0.46)),  # basophil
        (0.58, 0.22, 2, 0.26, 0.90, *(0.45, 0.28, 0.60), *(0.88, 0.68, 0.66), *(0.86, 0.48, 0.42)),  # eosinophil
        (0.42, 0.27, 1, 0.00, 0.10, *(0.32, 0.20, 0.44), *(0.68, 0.66, 0.76), *(0.50, 0.48, 0.64)),  # erythroblast
        (0.62, 0.36, 1, 0.10, 0.55, *(0.50, 0.34, 0.64), *(0.74, 0.66, 0.82), *(0.58, 0.38, 0.66)),  # immature
        (0.44, 0.36, 1, 0.04, 0.10, *(0.42, 0.28, 0.60), *(0.66, 0.68, 0.88), *(0.54, 0.52, 0.76)),  # lymphocyte
        (0.66, 0.30, 2, 0.17, 0.25, *(0.48, 0.36, 0.64), *(0.70, 0.70, 0.80), *(0.60, 0.58, 0.72)),  # monocyte
        (0.58, 0.18, 4, 0.25, 0.35, *(0.44, 0.28, 0.60), *(0.88, 0.76, 0.80), *(0.78, 0.60, 0.70)),  # neutrophil
        (0.22, 0.00, 0, 0.00, 0.80, *(0.50, 0.36, 0.64), *(0.74, 0.62, 0.80), *(0.52, 0.34, 0.62)),  # platelet
    ],
    np.float32,
)


def cells(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw a white blood cell or platelets among red cells, in a stain that differs from smear to smear."""
    n = len(y)
    row = _CELLS[y]
    # Cells of one kind differ: in every measure a little, and in colour some lean towards another kind.
    other = _CELLS[rng.integers(0, len(_CELLS), n)]
    mix = column(rng.beta(1.0, 4.0, n) * 0.4)[:, 0]
    row = np.concatenate([row[:, :5] * rng.normal(1, 0.09, (n, 5)), row[:, 5:] + mix * (other - row)[:, 5:]], 1)
    radius, lobe, spread, grain = row[:, 0], row[:, 1], row[:, 3], np.clip(row[:, 4], 0, 1)
    nucleus, cytoplasm, granule = row[:, 5:8], row[:, 8:11], row[:, 11:14]
    cytoplasm = cytoplasm + rng.normal(0, 0.04, (n, 3))

    ground = rng.normal((0.92, 0.84, 0.80), (0.05, 0.06, 0.06), (n, 3))
    picture = np.broadcast_to(ground[:, None, None, :], (n, size, size, 3)).astype(np.float32)
    red = np.stack([ground[:, 0] - 0.05, ground[:, 1] - 0.20, ground[:, 2] - 0.16], 1)
    for _ in range(4):  # red cells around, paler in the middle
        far, turn = rng.uniform(0.75, 1.25, n), rng.uniform(0, 2 * np.pi, n)
        at, wide = (far * np.cos(turn), far * np.sin(turn)), rng.uniform(0.26, 0.40, n) * (rng.random(n) < 0.8)
        picture = paint(picture, 0.8 * blob(size, *at, wide, squash=rng.uniform(0.75, 1, n), angle=turn), red)
        picture = paint(picture, 0.4 * blob(size, *at, wide * 0.45, softness=2), ground)

    x, z = rng.normal(0, 0.16, (2, n))
    rim = (rng.integers(2, 6, n), rng.uniform(0.02, 0.14, n), rng.uniform(0, 2 * np.pi, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    body = blob(size, x, z, radius, squash=rng.uniform(0.75, 1, n), angle=angle, waves=rim)
    picture = paint(picture, body, cytoplasm)
    coarse = np.clip(1.4 * field(rng, n, size, 14) - 0.3, 0, 1)
    picture = paint(picture, body * coarse * column(grain), granule)

    inside = np.zeros((n, size, size), np.float32)
    lobes = np.clip(np.rint(row[:, 2]), 0, 5)
    bend = rng.uniform(0.5, 1.3, n)
    for k in range(5):
        # Lobes lie on an arc, as in a segmented nucleus; one lobe alone sits off centre.
        turn = angle + (k - (lobes - 1) / 2) * bend
        lx, lz = x + spread * np.cos(turn) * 1.2, z + spread * np.sin(turn) * 1.2
        wide = lobe * rng.normal(1, 0.12, n) * (k < lobes)
        part = blob(size, lx, lz, wide, squash=rng.uniform(0.7, 1, n), angle=rng.uniform(0, 3.2, n))
        inside = np.maximum(inside, part)
    picture = paint(picture, inside * (0.85 + 0.12 * field(rng, n, size, 9)).clip(0, 1), nucleus)
    return _film(picture, rng, tint=0.07, light=0.10, grain=0.03)


# One row a class: two colours, stripes a picture, strength of the stripes, nuclei (share of the area), knots of the
# cloudy texture.
_SECTIONS = np.array(
    [
        (*(0.94, 0.88, 0.93), *(0.80, 0.62, 0.78), 3.0, 0.9, 0.02, 6),  # adipose
        (*(0.95, 0.95, 0.95), *(0.90, 0.89, 0.92), 1.0, 0.1, 0.00, 3),  # background
        (*(0.80, 0.60, 0.74), *(0.64, 0.44, 0.62), 2.0, 0.1, 0.08, 10),  # debris
        (*(0.66, 0.50, 0.74), *(0.44, 0.28, 0.58), 2.0, 0.1, 0.60, 9),  # lymphocytes
        (*(0.84, 0.76, 0.88), *(0.70, 0.60, 0.80), 2.0, 0.5, 0.03, 4),  # mucus
        (*(0.84, 0.54, 0.74), *(0.72, 0.42, 0.66), 5.0, 0.7, 0.08, 5),  # smooth muscle
        (*(0.78, 0.60, 0.76), *(0.58, 0.40, 0.66), 2.5, 0.8, 0.30, 7),  # normal mucosa
        (*(0.82, 0.58, 0.76), *(0.68, 0.46, 0.68), 4.0, 0.4, 0.16, 6),  # stroma
        (*(0.70, 0.50, 0.70), *(0.54, 0.34, 0.62), 2.0, 0.4, 0.40, 8),  # adenocarcinoma
    ],
    np.float32,
)


def sections(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw stained tissue: clouds and fibres between two colours, strewn with nuclei."""
    n = len(y)
    row = _SECTIONS[y] * rng.normal(1, (*[0.05] * 6, 0.2, 0.25, 0.25, 0), (n, 10)).astype(np.float32)
    first, second, pitch, fibre, share = row[:, :3], row[:, 3:6], row[:, 6], row[:, 7], row[:, 8]
    picture = np.broadcast_to(first[:, None, None, :], (n, size, size, 3)).astype(np.float32)
    cloud = np.empty((n, size, size), np.float32)
    for kind in np.unique(y):  # the clouds' fineness is the class's
        here = y == kind
        cloud[here] = field(rng, int(here.sum()), size, int(_SECTIONS[kind, 9]))
    bands = waves(rng, size, pitch, rng.uniform(0, np.pi, n)) * column(fibre)
    picture = paint(picture, np.clip(0.35 + 0.35 * cloud + 0.4 * bands, 0, 1), second)
    # Nuclei lie where fine noise is high; 0.6 of the area is about the most that can be told apart.
    level = column(np.clip(1.6 - 2.6 * share, -1, 3))
    dots = np.clip(2 * (field(rng, n, size, 13) - level), 0, 1) * (column(share) > 0)
    picture = paint(picture, dots, rng.normal((0.38, 0.24, 0.52), 0.04, (n, 3)).astype(np.float32))
    return _film(picture, rng, tint=0.05, light=0.06, grain=0.03)


# One row a class: radius, waves of the rim, height of the waves, mottling, colour.
_LESIONS = np.array(
    [
        (0.55, 6, 0.14, 0.30, *(0.80, 0.50, 0.44)),  # actinic keratoses
        (0.45, 4, 0.10, 0.25, *(0.78, 0.56, 0.54)),  # basal cell carcinoma
        (0.58, 5, 0.08, 0.45, *(0.62, 0.44, 0.34)),  # benign keratosis
        (0.36, 2, 0.05, 0.10, *(0.70, 0.48, 0.42)),  # dermatofibroma
        (0.62, 3, 0.24, 0.65, *(0.38, 0.26, 0.24)),  # melanoma
        (0.44, 2, 0.07, 0.20, *(0.52, 0.34, 0.26)),  # naevi
        (0.36, 3, 0.14, 0.15, *(0.62, 0.20, 0.28)),  # vascular
    ],
    np.float32,
)


def lesions(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw a spot on skin; its size, rim, mottling and colour depend on the class."""
    n = len(y)
    row = _LESIONS[y] * rng.normal(1, (0.25, 0, 0.4, 0.4, 0.12, 0.12, 0.12), (n, 7))
    skin = rng.normal((0.86, 0.68, 0.62), (0.05, 0.06, 0.06), (n, 3))
    picture = np.broadcast_to(skin[:, None, None, :], (n, size, size, 3)).astype(np.float32)
    x, z = rng.normal(0, 0.1, (2, n))
    rim = (row[:, 1], row[:, 2], rng.uniform(0, 2 * np.pi, n))
    angle = rng.uniform(0, np.pi, n)
    spot = blob(size, x, z, row[:, 0], squash=rng.uniform(0.6, 1, n), angle=angle, waves=rim, softness=2)
    picture = paint(picture, spot * rng.uniform(0.6, 1, (n, 1, 1)), row[:, 4:].astype(np.float32))
    dark = np.clip(field(rng, n, size, 7), 0, 1.2) * column(np.clip(row[:, 3], 0, 0.8))
    picture = paint(picture, spot * dark, (row[:, 4:] * 0.45).astype(np.float32))
    return _film(picture, rng, tint=0.04, light=0.06, grain=0.025)


def eye_grounds(y: Array, size: int, rng: np.random.Generator) -> Array:
    """Draw a fundus with vessels and optic disc; haemorrhages and exudates grow with the grade 0..4."""
    n = len(y)
    picture = np.full((n, size, size, 3), 0.03, np.float32)
    ground = rng.normal((0.72, 0.38, 0.20), (0.07, 0.06, 0.05), (n, 3)).astype(np.float32)
    eye = blob(size, rng.normal(0, 0.03, n), 0.0, rng.uniform(0.9, 1.0, n))
    picture = paint(picture, eye, ground)
    side = np.where(rng.random(n) < 0.5, -1, 1) * rng.uniform(0.4, 0.6, n)
    pale = np.array((0.2, 0.35, 0.3), np.float32)
    for _ in range(2):
        ridge = 1 - 5 * np.abs(waves(rng, size, rng.uniform(1.5, 2.5, n), rng.normal(np.pi / 2, 0.3, n)))
        picture = paint(picture, 0.5 * eye * np.clip(ridge, 0, 1), ground * 0.55)
    picture = paint(picture, blob(size, side, rng.normal(0, 0.08, n), 0.17), np.minimum(ground + pale, 1))
    for colour, most in (((0.30, 0.05, 0.05), 8), ((0.95, 0.85, 0.50), 6)):
        # Grades overlap: the number of marks is drawn about the grade's.
        many = rng.poisson(most * (y / 4.0) ** 1.3)
        for k in range(2 * most):
            far, turn = 0.8 * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
            wide = rng.uniform(0.04, 0.13, n) * (k < many)
            mark = blob(size, far * np.cos(turn), far * np.sin(turn), wide, squash=rng.uniform(0.6, 1, n))
            picture = paint(picture, 0.9 * mark, np.tile(np.array(colour, np.float32), (n, 1)))
    return _film(picture, rng, tint=0.03, light=0.05, grain=0.02)


def _film(picture: Array, rng: np.random.Generator, *, tint: float, light: float, grain: float) -> Array:
    """Add the slide's and the camera's part: a stain's tint, uneven light, contrast and grain."""
    n, size = picture.shape[:2]
    picture = picture + rng.normal(0, tint, (n, 1, 1, 3)).astype(np.float32)
    contrast = rng.uniform(0.7, 1.2, (n, 1, 1, 1)).astype(np.float32)
    picture = (picture - 0.6) * contrast + 0.6 + (light * field(rng, n, size, 2))[..., None]
    return picture + grain * rng.standard_normal(picture.shape, dtype=np.float32)
