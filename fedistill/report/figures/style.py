"""How a scheme looks in every figure of a page: the same colour, marker and line everywhere, told apart without colour.

What others are held against is plain: `full` in ink, `random` in grey. Every other scheme has one of seven colours
that stay apart for every kind of eyes, with a marker of its own; the eighth has the first's colour, but hollow, of
another form, and dashed.
Colours are the page's (`var(--sN)`), which has them for light, dark and paper.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from fedistill.report.figures.svg import INK, MUTED, SERIES, theme

PLAIN = {"full": (INK, "s"), "random": (MUTED, "D"), "local": (INK, "x")}

MARKERS = ("o", "^", "P", "v", "X", "*", "<")


@dataclass(frozen=True)
class Look:
    """A scheme's.

    Args:
        colour: one of `vector`'s tokens.
        marker: matplotlib's word for it; ``hollow``: drawn empty, and its lines dashed.
    """

    colour: str
    marker: str
    hollow: bool = False

    @property
    def line(self) -> str:
        return "--" if self.hollow else "-"

    @property
    def face(self) -> str:
        return "none" if self.hollow else self.colour

    @property
    def key(self) -> Markup:
        """The marker as a picture for a legend."""
        style = f"fill: {theme(self.face)}; stroke: {theme(self.colour)}; stroke-width: 1.4"
        svg = Markup('<svg class="key" viewBox="-6 -6 12 12" aria-hidden="true"><path d="{}" style="{}"/></svg>')
        return svg.format(_outline(self.marker), style)


def looks(schemes: Iterable[str]) -> dict[str, Look]:
    """Every scheme's, in the order of the table.

    >>> found = looks(["full", "dc", "mtt"])
    >>> [look.marker for look in found.values()], found["dc"].colour != found["mtt"].colour
    (['s', 'o', '^'], True)
    """
    found = {}
    number = 0
    for scheme in dict.fromkeys(schemes):
        if scheme in PLAIN:
            found[scheme] = Look(*PLAIN[scheme])
            continue
        again = number // len(SERIES)
        found[scheme] = Look(SERIES[number % len(SERIES)], MARKERS[(number + again) % len(MARKERS)], bool(again % 2))
        number += 1
    return found


def _outline(marker: str) -> str:
    """A marker's path for SVG, within -5..5."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    scale = 4.2 / float(np.abs(np.asarray(path.vertices)).max())
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    parts = []
    for vertices, code in path.iter_segments(curves=True, simplify=False):
        numbers = " ".join(f"{v * scale * (1 if i % 2 == 0 else -1):.2f}" for i, v in enumerate(vertices))
        parts.append("Z" if code == 79 else f"{letters[int(code)]} {numbers}")
    return " ".join(parts)
