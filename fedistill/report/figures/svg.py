"""Matplotlib's figures as SVG within a page: text stays text, colours are the page's own, no name clashes.

A figure is drawn in stand-in colours, which become CSS variables: the same picture then suits light, dark and paper.
Everything that matplotlib writes is parsed and written anew, so that nothing but shapes and text can come through.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from fedistill.report.figures.labels import LineLabel, PointLabel, write_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, RULE, PAPER = "#010100", "#010101", "#010102", "#010103"
SERIES = tuple(f"#0102{i:02x}" for i in range(7))
"""Stand-ins for colours; see `theme`."""

_THEME = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {c: f"s{i}" for i, c in enumerate(SERIES)}

WIDTH, HEIGHT = 3.1, 2.3
"""Inches. A panel is as wide as a phone, and wider screens have several side by side: words stay readable."""

SMALL, SMALLEST = 8, 7.2
"""Points, of axes and of labels."""

_SVG = "{http://www.w3.org/2000/svg}"
_KEPT = {"svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "circle"}
_LONG = re.compile(r"-?\d*\.\d{3,}(?:e-?\d+)?")


@dataclass(frozen=True)
class Panel:
    """One picture of a figure.

    Args:
        title: above it.
        svg: the picture; alt: what it shows, in words, for who cannot see it.
    """

    title: str
    svg: Markup
    alt: str


@dataclass(frozen=True)
class Labels:
    """What is to be written into an axes once everything is in its place."""

    points: Sequence[PointLabel] = ()
    lines: Sequence[LineLabel] = ()
    curves: Sequence[np.ndarray] = ()


Draw = Callable[["Axes"], Labels | None]


def theme(colour: str) -> str:
    """What a stand-in becomes.

    >>> theme(INK), theme(SERIES[1]), theme("none")
    ('var(--ink)', 'var(--s1)', 'none')
    """
    return f"var(--{_THEME[colour]})" if colour in _THEME else colour


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's settings for what is drawn within: words are words, though they have dollars in them."""
    import matplotlib

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fedistill",
        "text.parse_math": False,
        "axes.unicode_minus": True,
        "font.size": SMALL,
        "axes.labelsize": SMALL,
        "xtick.labelsize": SMALL,
        "ytick.labelsize": SMALL,
        "axes.labelcolor": MUTED,
        "text.color": INK,
        "axes.edgecolor": RULE,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "ytick.major.size": 0,
        "xtick.major.size": 2.5,
        "lines.linewidth": 1.3,
        "lines.markersize": 5,
        "errorbar.capsize": 0,
    }
    with matplotlib.rc_context(settings):
        yield


def panel(name: str, title: str, alt: str, draw: Draw, *, height: float = HEIGHT) -> Panel:
    """One picture.

    Args:
        name: letters, digits and dashes; no two of a page alike.
        draw: draws into the axes it is given; labels that it returns find their own places.
        height: inches.
    """
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(WIDTH, height), layout="constrained", dpi=72)  # as SVG counts: a pixel is a point
        axis = figure.subplots()
        labels = draw(axis)
        if labels is not None:
            figure.draw_without_rendering()  # where everything is, is known only now
            figure.set_layout_engine("none")
            write_labels(axis, labels.points, labels.lines, labels.curves, size=SMALLEST, shared=INK)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return Panel(title, inline(text.getvalue(), name, alt), alt)


def inline(document: str, name: str, alt: str) -> Markup:
    """A whole SVG document as an element of a page.

    Args:
        name: what its own names begin with from now on.

    >>> text = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt"><script>x</script><text>1 &lt; 2</text></svg>'
    >>> print(inline(text, "a", 'what "it" shows'))
    <svg class="plot" role="img" aria-label="what &quot;it&quot; shows"><text>1 &lt; 2</text></svg>
    """
    root = ElementTree.fromstring(document)
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', document))
    _clean(root, name, used)
    attributes = {"class": "plot", "role": "img", "aria-label": alt}
    root.attrib = attributes | ({"viewBox": root.attrib["viewBox"]} if "viewBox" in root.attrib else {})
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(element: ElementTree.Element, name: str, used: set[str]) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.removeprefix(_SVG) not in _KEPT:
            element.remove(child)
            continue
        _clean(child, name, used)
        empty = child.tag in ("g", "defs") and len(child) == 0
        if empty:
            element.remove(child)
    kept = {}
    for key, value in element.attrib.items():
        key = key.rpartition("}")[2]
        if key == "id" and value not in used:
            continue
        if key.startswith("on") or (key == "href" and not value.startswith("#")):
            continue
        value = value if key == "id" else re.sub(r"(url\(#|^#)", rf"\g<1>{name}-", value)
        kept[key] = f"{name}-{value}" if key == "id" else _short(key, value)
    element.attrib = kept
    if element.tag != "text":
        element.text = None
    element.tail = None


def _short(key: str, value: str) -> str:
    """An attribute with the page's colours, fonts and no more digits than can be seen."""
    if key == "style":
        value = re.sub(r"\s*font-family:[^;]*;?", "", value)
        value = re.sub(r"#0[0-9a-f]{5}", lambda found: theme(found[0]), value)
    if key in ("d", "x", "y", "width", "height", "transform", "style"):
        value = _LONG.sub(lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)
    return " ".join(value.split())
