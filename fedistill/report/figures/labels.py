"""Labels that find their own places in a figure: each takes the one around its point that covers least.

Points are a hundred at most, so every place is held against everything drawn. Boxes are arrays (left, bottom, right,
top) in pixels; nothing may move in the figure once its labels are written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 6.5
"""Size of labels in points, by default."""

NEAR = 16
"""Pixels between markers that may share a label; twice as many where they stand one above the other."""


@dataclass(frozen=True)
class PointLabel:
    """Words for a point (x, y) of the data, whose error bar reaches `spread` up and down."""

    text: str
    colour: str
    x: float
    y: float
    spread: float


@dataclass(frozen=True)
class LineLabel:
    """Words for a line across the axes at height y of the data."""

    text: str
    colour: str
    y: float


def write_labels(
    axis: "Axes",
    points: Sequence[PointLabel],
    lines: Sequence[LineLabel],
    curves: Sequence[np.ndarray],
    *,
    size: float = SIZE,
    shared: str = "#222",
) -> None:
    """Write each label where it covers least; points close together with equal words share one.

    Args:
        axis: that they are written into.
        points: labels of points.
        lines: labels of lines across.
        curves: of each drawn curve (points, 2), its corners in the data's units.
        size: of the letters, in points.
        shared: the colour of words that several points have in common.
    """
    frame = np.asarray(axis.bbox.extents)
    markers = {point: _marker(axis, point) for point in points}
    across = {line: _across(axis, line) for line in lines}
    taken = [*markers.values(), *across.values(), *(_bar(axis, point) for point in points)]
    taken += [box for curve in curves for box in _along(axis.transData.transform(curve))]
    wanted = [(line.text, line.colour, box, _beside) for line, box in across.items()]
    for group in groups(markers):
        boxes = [markers[point] for point in group]
        whole = np.concatenate([np.min(boxes, axis=0)[:2], np.max(boxes, axis=0)[2:]])
        wanted.append((group[0].text, group[0].colour if len(group) == 1 else shared, whole, _around))
    for words, colour, box, places_of in wanted:
        text = axis.text(0, 0, words, fontsize=size, color=colour, ha="center", va="center", transform=None)
        extent = np.asarray(text.get_window_extent().size)
        places = places_of(box, extent)
        boxes = [np.concatenate([place - extent / 2, place + extent / 2]) for place in places]
        later = 0.2 * extent[1] * np.arange(len(boxes))
        best = int(np.argmin(_covered(np.array(boxes), np.array(taken), frame) + later))
        text.set_position((float(places[best][0]), float(places[best][1])))
        taken.append(boxes[best])


def groups(markers: dict[PointLabel, np.ndarray]) -> list[list[PointLabel]]:
    """Return points with the same words, each of whose markers is near another's; the smallest groups first.

    >>> def at(x, text="ipc 1"): return PointLabel(text, "k", x, 0, 0), np.array([x, 0, x + 12, 12])
    >>> [len(group) for group in groups(dict([at(0), at(10), at(20), at(60), at(61, "ipc 10")]))]
    [1, 1, 3]
    """
    joined: list[list[PointLabel]] = []
    for point, box in markers.items():
        near = [group for group in joined if group[0].text == point.text and _near(box, [markers[p] for p in group])]
        joined = [group for group in joined if group not in near] + [[*sum(near, []), point]]  # noqa: RUF017 - few
    return sorted(joined, key=len)


def _near(box: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    gaps = np.abs([(box - other)[:2] for other in others])
    return bool((gaps < (NEAR, 2 * NEAR)).all(1).any())


def _marker(axis: "Axes", point: PointLabel) -> np.ndarray:
    x, y = axis.transData.transform((point.x, point.y))
    return np.array([x - 6, y - 6, x + 6, y + 6])


def _bar(axis: "Axes", point: PointLabel) -> np.ndarray:
    ends = [(point.x, point.y - point.spread), (point.x, point.y + point.spread)]
    (x, low), (_, high) = axis.transData.transform(ends)
    return np.array([x - 4, low, x + 4, high])


def _across(axis: "Axes", line: LineLabel) -> np.ndarray:
    y = axis.transData.transform((1, line.y))[1]
    return np.array([axis.bbox.x0, y - 1, axis.bbox.x1, y + 1])


def _along(corners: np.ndarray) -> Iterator[np.ndarray]:
    """Yield small boxes along a curve."""
    for start, end in pairwise(corners):
        for share in np.linspace(0, 1, 1 + int(np.hypot(*(end - start)) / 6)):
            at = start + share * (end - start)
            yield np.concatenate([at - 3, at + 3])


def _around(box: np.ndarray, size: np.ndarray) -> list[np.ndarray]:
    """Return centres of places around a box, the best ones first."""
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2] + size) / 2
    sides = [(1.0, 0.0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    sides += [(1, 0.5), (1, -0.5), (-1, 0.5), (-1, -0.5)]
    return [middle + np.array(side) * (half + gap) for gap in (3, 9, 16, 26) for side in sides]


def _beside(box: np.ndarray, size: np.ndarray) -> list[np.ndarray]:
    """Return centres of places above and below a line, from left to right."""
    xs = np.linspace(box[0] + size[0] / 2 + 4, box[2] - size[0] / 2 - 4, 9)
    return [np.array([x, (box[1] + box[3]) / 2 + side * 0.62 * size[1]]) for x in xs for side in (1, -1)]


def _covered(boxes: np.ndarray, taken: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Return for each box the pixels that cover others, and ten times those outside the frame."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return _common(boxes, taken).sum(1) + 10 * (areas - _common(boxes, frame[None])[:, 0])


def _common(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the pixels that each of one kind of boxes has in common with each of the other."""
    one, other = ones[:, None], others[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    return np.prod(sides.clip(0), axis=-1)
