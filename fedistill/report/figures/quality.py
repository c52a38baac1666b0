"""Quality of every scheme: against images per class, against bytes, and as its difference to random images."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedistill.report.figures.labels import LineLabel, PointLabel
from fedistill.report.figures.palette import INK, MUTED, Look, Looks
from fedistill.report.figures.panel import Labels, Panel, row_height, set_rows
from fedistill.report.format import budget, condition, is_blank, points, size, span, why_blank
from fedistill.report.frames import METRICS, in_percent, lines_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = {"full": ("all images shared", "--"), "local": ("each site alone", "-.")}
"""Schemes without a budget that stand as a line across: their words, and how the line is drawn."""

COMMONEST = "always the commonest class"

Majority = Mapping[Any, Any]
"""comparison.csv's line of who always names the commonest class."""


def by_ipc(shown: pd.DataFrame, majority: Majority, known: Looks) -> list[Panel]:
    """Return a panel a metric against images per class; none where no scheme has any.

    Args:
        shown: lines of comparison.csv of one point, partition, recipe and model.
        majority: the line of who always names the commonest class.
        known: each scheme's look.
    """
    lines = in_percent(shown)
    lines = lines[lines["ipc"].notna() | lines["scheme"].isin(ACROSS)]
    budgets = sorted(lines["ipc"].dropna().unique())
    schemes = list(dict.fromkeys(lines.loc[lines["ipc"].notna(), "scheme"]))
    apart = min(0.14, 0.7 / max(1, len(schemes)))

    def draw(axis: "Axes", metric: str) -> Labels:
        curves: list[np.ndarray] = []
        for number, scheme in enumerate(schemes):
            own = lines[(lines["scheme"] == scheme) & lines["ipc"].notna()]
            places = np.array([budgets.index(ipc) for ipc in own["ipc"]]) + apart * (number - (len(schemes) - 1) / 2)
            curves += draw_series(axis, places, own, metric, known[scheme], faint=True)
        across = _draw_across(axis, lines[lines["scheme"].isin(ACROSS)], majority, metric)
        axis.set_xticks(range(len(budgets)), [f"{ipc:g}" for ipc in budgets])
        axis.set_xlim(-0.6, len(budgets) - 0.4)
        axis.set_xlabel("images per class that each site shares")
        axis.margins(y=0.1)
        return Labels(lines=across, curves=curves)

    return [
        Panel(
            f"ipc-{metric}",
            f"{title}, %",
            f"{title} on the test split against images per class: {_values(lines, metric)}.",
            partial(draw, metric=metric),
        )
        for metric, title in METRICS.items()
        if budgets
    ]


def by_bytes(shown: pd.DataFrame, majority: Majority, known: Looks) -> list[Panel]:
    """Return a panel a metric against bytes to and from all sites, logarithmic; none where no scheme takes any.

    What takes no byte is a line across; what was not measured is not drawn.

    Args:
        shown: lines of comparison.csv of one point, partition, recipe and model.
        majority: the line of who always names the commonest class.
        known: each scheme's look.
    """
    lines = in_percent(shown)
    lines = lines[lines["bytes"].notna()]
    paid = lines[lines["bytes"] > 0]

    def draw(axis: "Axes", metric: str) -> Labels:
        labels, curves = [], []
        for scheme in dict.fromkeys(paid["scheme"]):
            own, look = paid[paid["scheme"] == scheme].sort_values("bytes"), known[scheme]
            own = own[own[metric].notna()]
            curves += draw_series(axis, own["bytes"].to_numpy(), own, metric, look)[-1:]
            for line in lines_of(own):
                words = budget(line) or scheme
                labels.append(PointLabel(words, look.colour, line["bytes"], line[metric], line[f"{metric}_spread"]))
        across = _draw_across(axis, lines[lines["bytes"] == 0], majority, metric)
        _set_bytes(axis, paid["bytes"].tolist())
        axis.set_xlabel("bytes to and from all sites")
        axis.margins(x=0.14, y=0.14)
        return Labels(labels, across, curves)

    return [
        Panel(
            f"bytes-{metric}",
            f"{title}, %",
            f"{title} on the test split against bytes: {_values(paid, metric, sizes=True)}.",
            partial(draw, metric=metric),
            height=2.6,
        )
        for metric, title in METRICS.items()
        if len(paid)
    ]


def over_random(shown: pd.DataFrame, known: Looks) -> list[Panel]:
    """Return a panel with the 95 % interval of every scheme's difference in AUC to random images; none without any.

    Args:
        shown: lines of comparison.csv of one point, partition, recipe and model.
        known: each scheme's look.
    """
    randoms = shown[shown["scheme"] == "random"].set_index("ipc")["auc"].astype(float)
    lines = shown[shown["auc_vs_random_low"].notna()] if "auc_vs_random_low" in shown else shown.iloc[:0]
    if lines.empty:
        return []
    # Without a budget: held against the largest one of random images.
    opposite = lines["ipc"].fillna(randoms.index.max()).map(randoms)
    ends = lines_of(lines.assign(middle=lines["auc"] - opposite))

    def draw(axis: "Axes") -> None:
        axis.axvline(0, color=INK, linewidth=0.9)
        for row, line in enumerate(ends):
            look = known[line["scheme"]]
            ends_of = [100 * line["auc_vs_random_low"], 100 * line["auc_vs_random_high"]]
            axis.plot(ends_of, [row, row], color=look.colour, linewidth=2.2, solid_capstyle="round")
            axis.plot([100 * line["middle"]], [row], look.marker, color=look.colour, markerfacecolor=look.face)
        set_rows(axis, [condition(line) for line in ends], "points of AUC above random images")

    words = "; ".join(
        f"{condition(line)} {span(line['auc_vs_random_low'], line['auc_vs_random_high'])}" for line in ends
    )
    alt = f"95 % intervals of the difference in AUC to random images, in points: {words}."
    return [Panel("difference", "Difference to random images", alt, draw, row_height(len(ends)))]


def by_condition(name: str, title: str, top: pd.DataFrame, known: Looks, limits: tuple[float, float]) -> Panel:
    """Return a panel of AUC, a row each for a run's schemes at their largest budgets.

    Args:
        name: of the panel.
        title: above it.
        top: lines in percent (`in_percent`).
        known: each scheme's look.
        limits: of the axis of AUC, in percent.
    """
    lines = lines_of(top)

    def draw(axis: "Axes") -> None:
        for row, line in enumerate(lines):
            draw_mark(axis, line["auc"], row, known[line["scheme"]], xerr=line["auc_spread"])
        set_rows(axis, [condition(line) for line in lines], "AUC, %")
        axis.set_xlim(*limits)

    words = "; ".join(f"{condition(line)} {line['auc']:.1f} %" for line in lines)
    return Panel(name, title, f"AUC on the test split of {title}: {words}.", draw, row_height(len(lines)))


def gains(gained: pd.DataFrame, known: Looks) -> list[Panel]:
    """Return for every scheme what each site's AUC gains over its own networks, all on one scale.

    Args:
        gained: ``scheme, ipc, rounds, site, gain_auc`` in 0..1, of each scheme one budget.
        known: each scheme's look.
    """
    if gained.empty:
        return []
    low, high = min(0.0, 100 * gained["gain_auc"].min()), max(0.0, 100 * gained["gain_auc"].max())
    room = 0.06 * max(1.0, high - low)
    panels = []
    for number, (scheme, own) in enumerate(gained.groupby("scheme", sort=False)):
        title = condition(lines_of(own)[0])
        words = ", ".join(f"{line['site']} {points(line['gain_auc'])}" for line in lines_of(own))
        alt = f"Gain in AUC over the site's own networks with {title}, in points: {words}."
        draw = partial(_draw_gains, own=own, look=known[str(scheme)], limits=(low - room, high + room))
        height = row_height(len(own)) if len(own) <= NAMED else 2.6
        panels.append(Panel(f"gain-{number}", title, alt, draw, height))
    return panels


NAMED = 30
"""Sites that a figure names; more stand in order of what they gain, without names."""


def _draw_gains(axis: "Axes", own: pd.DataFrame, look: Look, limits: tuple[float, float]) -> None:
    named = len(own) <= NAMED
    ordered = own if named else own.sort_values("gain_auc", ascending=False)
    values, rows = (100 * ordered["gain_auc"]).tolist(), range(len(own))
    axis.axvline(0, color=INK, linewidth=0.9)
    axis.hlines(rows, 0, values, color=look.colour, linewidth=1.6 if named else 0.8)
    marks: Any = {"markersize": 4.5 if named else 2, "linestyle": "none"}
    axis.plot(values, rows, look.marker, color=look.colour, markerfacecolor=look.face, **marks)
    set_rows(axis, ordered["site"].tolist() if named else [], "points of AUC above its own networks")
    axis.set_ylim(len(values) - 0.4, -0.6)
    axis.set_xlim(*limits)


def draw_mark(
    axis: "Axes", x: Any, y: Any, look: Look, *, line: str = "none", xerr: Any = None, yerr: Any = None
) -> None:
    """Draw a scheme's points with their error bars."""
    axis.errorbar(
        x, y, xerr=xerr, yerr=yerr, marker=look.marker, linestyle=line, color=look.colour, markerfacecolor=look.face,
        linewidth=1, elinewidth=1,
    )  # fmt: skip


def draw_series(
    axis: "Axes", places: np.ndarray, own: pd.DataFrame, metric: str, look: Look, *, faint: bool = False
) -> list[np.ndarray]:
    """Draw a scheme's points, joined; return its bars and its line, which words should not cover.

    Args:
        axis: to draw into.
        places: the points' places along x.
        own: the scheme's lines, in percent, as many.
        metric: the column along y.
        look: of the scheme.
        faint: draw the line that joins them faintly.
    """
    y, spread = own[metric].to_numpy(float), own[f"{metric}_spread"].to_numpy(float)
    if faint:
        axis.plot(places, y, look.line, color=look.colour, linewidth=0.8, alpha=0.45)
    draw_mark(axis, places, y, look, line="none" if faint else look.line, yerr=spread)
    there = np.isfinite(y)
    ends = zip(places[there], (y - spread)[there], (y + spread)[there], strict=True)
    return [*(np.array([[at, low], [at, high]]) for at, low, high in ends), np.stack([places, y], 1)[there]]


def _draw_across(axis: "Axes", lines: pd.DataFrame, majority: Majority, metric: str) -> list[LineLabel]:
    """Draw lines across the axes, for what has no place along it; return their words."""
    labels = []
    for line in lines_of(lines[lines[metric].notna()]):
        words, dashes = ACROSS.get(line["scheme"], (line["scheme"], "-."))
        axis.axhline(line[metric], color=INK, linestyle=dashes, linewidth=0.9)
        labels.append(LineLabel(f"{words} {budget(line)}".strip(), INK, line[metric]))
    if not is_blank(majority.get(metric)):
        value = 100 * float(majority[metric])
        axis.axhline(value, color=MUTED, linestyle=":", linewidth=0.9)
        labels.append(LineLabel(COMMONEST, MUTED, value))
    return labels


def _set_bytes(axis: "Axes", sizes: list[float]) -> None:
    """Make x a logarithmic axis of bytes."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_xscale("log")
    narrow = max(sizes) < 30 * min(sizes)  # too few powers of ten to read values from
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=6))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(axis="x", which="minor", size=0)


def _values(lines: pd.DataFrame, metric: str, *, sizes: bool = False) -> str:
    """Return the values of a panel in words."""
    return "; ".join(
        f"{who} {', '.join(_each(own, metric, sizes))}" for who, own in lines.groupby("scheme", sort=False)
    )


def _each(own: pd.DataFrame, metric: str, sizes: bool) -> Iterable[str]:
    for line in lines_of(own):
        text = why_blank(line, metric) if is_blank(line[metric]) else f"{line[metric]:.1f} %"
        text += f" at {budget(line)}" if budget(line) else ""
        yield f"{text} ({size(line['bytes'])})" if sizes else text
