"""worth.png: each set's AUC by scheme, and the share of the gap from random to full that each closes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedistill.report.figures.palette import INK, MUTED, looks
from fedistill.report.figures.panel import Panel, row_height, save_png, set_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FARTHEST = (-100.0, 150.0)
"""Percent; shares beyond are drawn at the edge: where the gap is small they have no bounds."""


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw the results of `benchmarks.worth.report.results` as a PNG."""
    sets = found["sets"]
    schemes = list(dict.fromkeys(scheme for each in sets.values() for scheme in each["schemes"]))
    known = looks(schemes)
    names = [f"{name} *" if each["tuned"] else name for name, each in sets.items()]
    rows = list(sets.values())

    def qualities(axis: "Axes") -> None:
        for row, each in enumerate(rows):
            means = [100 * line["mean"] for line in each["schemes"].values()]
            axis.plot([min(means), max(means)], [row, row], color=MUTED, linewidth=0.5)
            for scheme, line in each["schemes"].items():
                look = known[scheme]
                axis.plot([100 * line["mean"]], [row], look.marker, color=look.colour, markerfacecolor=look.face)
        set_rows(axis, names, "AUC, %")

    made = [scheme for scheme in schemes if scheme not in ("random", "full")]
    means = [found["mean share"].get(scheme, {}).get("all", {}).get("from random") for scheme in made]
    shares = [
        [*(each["schemes"].get(scheme, {}).get("share from random") for each in rows), mean]
        for scheme, mean in zip(made, means, strict=True)
    ]
    height = row_height(len(rows) + 1)
    panels = [Panel("auc", "AUC", "AUC of each scheme on each set.", qualities, height)]
    if made:
        draw_shares = partial(_shares, shares=shares, looks=[known[scheme] for scheme in made], names=[*names, "mean"])
        alt = "The share of the gap from random to full that each method closes, by set."
        panels.append(Panel("share", "share of the gap closed", alt, draw_shares, height))
    form = found["form"]
    heading = f"ipc {form['ipc']}, width {form['width']}, {form['split']} images; * settings may be chosen on this set"
    save_png(path, heading, panels, [(scheme, known[scheme]) for scheme in schemes])


def _shares(axis: "Axes", shares: list[list[Any]], looks: list[Any], names: list[str]) -> None:
    apart = min(0.22, 0.7 / len(shares))
    for at in (0, 100):
        axis.axvline(at, color=INK, linewidth=0.9)
    for number, (own, look) in enumerate(zip(shares, looks, strict=True)):
        for row, share in enumerate(own):
            if share is None or share["value"] is None:
                continue
            y = row + apart * (number - (len(shares) - 1) / 2)
            ends = [_within(share[end]) for end in ("low", "high") if share[end] is not None]
            axis.plot(ends, [y] * len(ends), color=look.colour, linewidth=1.4, solid_capstyle="round")
            axis.plot([_within(share["value"])], [y], look.marker, color=look.colour, markerfacecolor=look.face)
    set_rows(axis, names, "0: random images, 100: all images")
    axis.set_xlim(FARTHEST[0] - 8, FARTHEST[1] + 8)


def _within(share: float) -> float:
    return min(max(100 * share, FARTHEST[0]), FARTHEST[1])
