"""A figure's panels, and their two savers: SVG within a page, and PNG.

A figure is a list of panels, each with one function that draws into matplotlib's axes. Both savers call that function:
`as_svg` for a page, in which text stays text and colours are the page's own, and `save_png` for slides and papers.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from fedistill.core.files import write_atomic
from fedistill.report.figures.labels import LineLabel, PointLabel, write_labels
from fedistill.report.figures.palette import INK, MUTED, RULE, Legend, as_variable
from fedistill.report.format import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 3.1, 2.3
"""Inches. A panel is as wide as a phone, and wider screens have several side by side: words stay readable."""
TALL = 2.9
"""Inches of a panel that has labels among its points."""
MOST_ACROSS = 3
"""Panels side by side in a PNG."""
LONGEST_TITLE = 36
"""Letters of a panel's title that have room above it in a PNG; more take another line."""
SMALL, SMALLEST = 8, 7.2
"""Points, of axes and of labels."""


@dataclass(frozen=True)
class Labels:
    """Words to be written into an axes once everything is in its place."""

    points: Sequence[PointLabel] = ()
    lines: Sequence[LineLabel] = ()
    curves: Sequence[np.ndarray] = ()


@dataclass(frozen=True, eq=False)
class Panel:
    """A picture of a figure.

    Args:
        name: letters, digits and dashes; no two of a page alike.
        title: above it; alt: what it shows, in words, for who cannot see it.
        draw: draws into the axes it is given; labels that it returns find their own places.
        height: inches.
    """

    name: str
    title: str
    alt: str
    draw: "Callable[[Axes], Labels | None]"
    height: float = HEIGHT

    @cached_property
    def svg(self) -> Markup:
        """Draw the picture as an element of a page."""
        from matplotlib.figure import Figure

        with _styled():
            figure = Figure(
                figsize=(WIDTH, self.height), layout="constrained", dpi=72
            )  # as SVG counts: pixels are points
            _fill(figure, [self])
            text = StringIO()
            figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
        return inline(text.getvalue(), self.name, self.alt)


@dataclass(frozen=True)
class Chart:
    """A figure: its panels, what is said of it, and who is in it."""

    panels: Sequence[Panel]
    caption: str = ""
    legend: Legend = ()


def save_png(path: Path, heading: str, panels: Sequence[Panel], legend: Legend = ()) -> None:
    """Write panels side by side under a heading; without any, take away what an earlier report has left there.

    Args:
        path: of the PNG.
        heading: above the panels.
        panels: to draw.
        legend: names and looks of the series that they show.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    if not panels:
        path.unlink(missing_ok=True)
        return
    across = min(MOST_ACROSS, len(panels))
    down = -(-len(panels) // across)
    with _styled():
        height = 0.55 + down * (0.2 + max(panel.height for panel in panels)) + 0.25 * bool(legend)
        figure = Figure(figsize=(max(5.0, WIDTH * across), height), layout="constrained", dpi=150)
        figure.suptitle(heading, fontsize=SMALL + 1, wrap=True)
        keys = []
        for _, look in legend:
            marks: Any = {"marker": look.marker, "markerfacecolor": look.face, "linestyle": look.line}
            keys.append(Line2D([], [], color=look.colour, **marks))
        if keys:
            names = [name for name, _ in legend]
            figure.legend(keys, names, loc="outside lower center", ncols=min(6, len(names)), frameon=False)
        _fill(figure, panels, down, across, titled=True)
        write_atomic(path, lambda temporary: figure.savefig(temporary, format="png", facecolor="white"))


def _fill(figure: Any, panels: Sequence[Panel], down: int = 1, across: int = 1, *, titled: bool = False) -> None:
    """Draw panels into a figure, then the labels: where everything is, is known only then."""
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    labels = [(axis, panel.draw(axis)) for axis, panel in zip(axes, panels, strict=False)]
    if titled:
        for axis, panel in zip(axes, panels, strict=False):
            axis.set_title(fill(panel.title, LONGEST_TITLE), loc="left", fontweight="bold")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis, wanted in labels:
        if wanted is not None:
            write_labels(axis, wanted.points, wanted.lines, wanted.curves, size=SMALLEST, shared=INK)


@contextmanager
def _styled() -> Iterator[None]:
    """Set matplotlib up for what is drawn within: words are words, though they have dollars in them."""
    import matplotlib

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "fedistill",
        "text.parse_math": False,
        "axes.unicode_minus": True,
        "font.size": SMALL,
        "axes.labelsize": SMALL,
        "axes.titlesize": SMALL,
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
        "lines.markersize": 4.5,
        "errorbar.capsize": 0,
    }
    with matplotlib.rc_context(settings):
        yield


def set_rows(axis: "Axes", names: Sequence[str], label: str) -> None:
    """Give an axes rows with names at the left, from the top, and values along x."""
    axis.set_yticks(range(len(names)), [shortened(name) for name in names])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", labelcolor=INK)
    axis.grid(visible=True, axis="x")
    axis.grid(visible=False, axis="y")
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(axis="x", size=0)
    axis.set_xlabel(label)


def row_height(rows: int) -> float:
    """Return the inches of a panel of rows."""
    return 0.62 + 0.2 * rows


_SVG = "{http://www.w3.org/2000/svg}"
_KEPT = {"svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect", "circle"}
_LONG = re.compile(r"-?\d*\.\d{3,}(?:e-?\d+)?")


def inline(document: str, name: str, alt: str) -> Markup:
    """Return an SVG document as an element of a page: nothing but shapes and text can come through.

    Args:
        document: the SVG.
        name: what its own names begin with from now on.
        alt: the picture in words, for who cannot see it.

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
        if child.tag in ("g", "defs") and len(child) == 0:
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
    """Return an attribute with the page's colours and fonts, and no more digits than can be seen."""
    if key == "style":
        value = re.sub(r"\s*font-family:[^;]*;?", "", value)
        value = re.sub(r"#[0-9a-f]{6}\b", lambda colour: as_variable(colour[0]), value)
    if key in ("d", "x", "y", "width", "height", "transform", "style"):
        value = _LONG.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return " ".join(value.split())
