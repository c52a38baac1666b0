"""Colours of pages and figures, and how a scheme looks: the same colour, marker and line everywhere.

What others are held against is plain: `full` in ink, `random` in grey. Every other scheme has one of seven colours
that stay apart for every kind of eyes, with a marker of its own; the eighth has the first's colour, but hollow, of
another form, and dashed. Figures are drawn in the light theme's colours; within a page these become CSS variables,
which have a value for each theme.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

THEMES: Mapping[str, Mapping[str, str]] = {
    "light": {
        **{"paper": "#fdfdfb", "card": "#f3f4f0", "ink": "#1a1e22", "muted": "#565e66"},
        **{"rule": "#d5d8d3", "accent": "#0b606c"},
        **{"s0": "#2933b0", "s1": "#903200", "s2": "#0a854e", "s3": "#d667b4"},
        **{"s4": "#a18100", "s5": "#2391ef", "s6": "#2f4181"},
    },
    "dark": {
        **{"paper": "#14171a", "card": "#1d2125", "ink": "#e9ebed", "muted": "#a4acb3"},
        **{"rule": "#363c42", "accent": "#6cc7d2"},
        **{"s0": "#5a8eec", "s1": "#ff8953", "s2": "#27d497", "s3": "#ce60b6"},
        **{"s4": "#eddd57", "s5": "#a6ddfd", "s6": "#90bbff"},
    },
    "print": {
        **{"paper": "#ffffff", "card": "#f3f3f0", "ink": "#000000", "muted": "#444444"},
        **{"rule": "#bbbbbb", "accent": "#0b606c"},
        **{"s0": "#2933b0", "s1": "#903200", "s2": "#0a854e", "s3": "#d667b4"},
        **{"s4": "#a18100", "s5": "#2391ef", "s6": "#2f4181"},
    },
}

_NAME_OF = {colour: name for name, colour in THEMES["light"].items()}

INK, MUTED, RULE, PAPER = (THEMES["light"][name] for name in ("ink", "muted", "rule", "paper"))
SERIES = tuple(THEMES["light"][f"s{number}"] for number in range(7))

PLAIN = {"full": (INK, "s"), "random": (MUTED, "D"), "local": (INK, "x")}
MARKERS = ("o", "^", "P", "v", "X", "*", "<")


@dataclass(frozen=True)
class Look:
    """A scheme's colour and marker.

    Args:
        colour: of the light theme; marker: matplotlib's word for it; hollow: drawn empty, and its lines dashed.
    """

    colour: str
    marker: str
    hollow: bool = False

    @property
    def line(self) -> str:
        """Return matplotlib's word for the line's style."""
        return "--" if self.hollow else "-"

    @property
    def face(self) -> str:
        """Return the colour inside the marker."""
        return "none" if self.hollow else self.colour

    @property
    def key(self) -> Markup:
        """Return the marker as a picture for a legend."""
        style = f"fill: {as_variable(self.face)}; stroke: {as_variable(self.colour)}; stroke-width: 1.4"
        svg = Markup('<svg class="key" viewBox="-6 -6 12 12" aria-hidden="true"><path d="{}" style="{}"/></svg>')
        return svg.format(_outline(self.marker), style)


Looks = Mapping[str, Look]
Legend = Iterable[tuple[str, Look]]


def looks(schemes: Iterable[str]) -> dict[str, Look]:
    """Return how every scheme looks, in the order of the table.

    >>> known = looks(["full", "dc", "mtt"])
    >>> [look.marker for look in known.values()], known["dc"].colour != known["mtt"].colour
    (['s', 'o', '^'], True)
    """
    known = {}
    number = 0
    for scheme in dict.fromkeys(schemes):
        if scheme in PLAIN:
            known[scheme] = Look(*PLAIN[scheme])
            continue
        again = number // len(SERIES)
        known[scheme] = Look(SERIES[number % len(SERIES)], MARKERS[(number + again) % len(MARKERS)], bool(again % 2))
        number += 1
    return known


def legend(known: Looks, schemes: Iterable[str]) -> list[tuple[str, Look]]:
    """Return who is in a figure, each once, in the table's order."""
    there = set(schemes)
    return [(scheme, look) for scheme, look in known.items() if scheme in there]


def as_variable(colour: str) -> str:
    """Return a colour of the light theme as a page's variable; any other as it is.

    >>> as_variable(INK), as_variable(SERIES[1]), as_variable("none")
    ('var(--ink)', 'var(--s1)', 'none')
    """
    return f"var(--{_NAME_OF[colour]})" if colour in _NAME_OF else colour


def variables(theme: str) -> str:
    """Return a theme as CSS declarations."""
    return "; ".join(f"--{name}: {colour}" for name, colour in THEMES[theme].items())


def _outline(marker: str) -> str:
    """Return a marker's path for SVG, within -5..5."""
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
