"""The contact sheet: a few images of every class, to be looked at before anything is distilled.

Nothing finds a wrong label, a wrong window or a name burned into the pixels as fast as a person who looks.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np

from fedistill.core.seeds import rng
from fedistill.core.text import printable
from fedistill.data.facts import SPLITS

ACROSS = 12
"""Images of a class."""

MOST_CLASSES = 30
LEAST_SIDE = 64
"""Pixels of an image on the sheet: smaller ones are drawn larger, each pixel a square."""

_MARGIN, _LINE = 4, 16


def contact_sheet(
    labels: np.ndarray,
    split: np.ndarray,
    class_names: Sequence[str],
    images_at: Callable[[np.ndarray], np.ndarray],
    *,
    seed: int,
) -> bytes:
    """Draw the sheet, and return it as PNG: a row for each class, with images of every split in turn.

    Args:
        labels: int64 (N,), or (N, L) of 0 and 1.
        split: int64 (N,); images below 0 are left out.
        class_names: of the rows; at most `MOST_CLASSES` are drawn.
        images_at: returns images by position, uint8 (n, S, S, C).
        seed: of the choice.
    """
    from PIL import Image, ImageDraw

    random = rng(seed, "import", "contact sheet")
    chosen: list[tuple[str, np.ndarray]] = []
    for k, name in enumerate(class_names[:MOST_CLASSES]):
        has = labels[:, k] == 1 if labels.ndim == 2 else labels == k
        counts = [int((has & (split == number)).sum()) for number in range(3)]
        quota = [min(count, ACROSS // 3) for count in counts]
        while sum(quota) < min(ACROSS, sum(counts)):
            quota[int(np.argmax(np.array(counts) - quota))] += 1
        parts = [
            np.sort(random.permutation(np.flatnonzero(has & (split == number)))[:n]) for number, n in enumerate(quota)
        ]
        words = ", ".join(f"{split_name} {n:,}" for split_name, n in zip(SPLITS, counts, strict=True))
        chosen.append((f"{printable(name, most=60)}: {words}", np.concatenate(parts)))
    size = 0
    tiles = []
    for _, at in chosen:
        images = images_at(at)
        size = images.shape[1]
        tiles.append(images)
    zoom = max(1, -(-LEAST_SIDE // max(size, 1)))
    side = size * zoom
    width = ACROSS * (side + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (width, len(chosen) * (side + _LINE + 2 * _MARGIN) + _MARGIN), (32, 32, 32))
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN
    for (words, _), images in zip(chosen, tiles, strict=True):
        draw.text((_MARGIN, top), words.encode("latin-1", "replace").decode("latin-1"), fill=(235, 235, 235))
        for column, image in enumerate(images):
            tile = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("RGB")
            tile = tile.resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(tile, (_MARGIN + column * (side + _MARGIN), top + _LINE))
        top += side + _LINE + 2 * _MARGIN
    written = io.BytesIO()
    sheet.save(written, "PNG")
    return written.getvalue()
