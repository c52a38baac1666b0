"""The page of an answer that waits at a hospital: its images beside the nearest real ones. It loads nothing."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

SCALE = 3
"""Pixels on the page for each of an image."""

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "figure{display:inline-block;margin:.4rem;text-align:center;font-size:12px}"
    "img{image-rendering:pixelated;margin:1px}"
)


def write_page(title: str, lines: Sequence[str], pictures: Sequence[Any]) -> str:
    """Return the page as HTML.

    Args:
        title: of the page.
        lines: figures in words.
        pictures: each with ``images``, float32 in 0..1 (H, W, C), and a ``label``.
    """
    words = "".join(f"<p>{escape(line)}</p>" for line in lines)
    figures = "".join(
        f"<figure>{''.join(map(_image, each.images))}<figcaption>{escape(each.label)}</figcaption></figure>"
        for each in pictures
    )
    legend = "<p>On the left what would leave; on the right the real image of its class that it comes nearest to.</p>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(title)}</h1>{words}{legend if pictures else ''}{figures}</html>"
    )


def _image(pixels: np.ndarray) -> str:
    from matplotlib.image import imsave

    rgb = np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    imsave(buffer, np.clip(rgb, 0, 1), format="png")
    side = SCALE * pixels.shape[0]
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" width="{side}" height="{side}" src="data:image/png;base64,{data}">'
