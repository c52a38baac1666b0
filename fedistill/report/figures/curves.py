"""Curves of the making: distillation, experts and federated rounds, step by step, from events.jsonl and rounds.csv."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedistill.core.events import Event
from fedistill.report.figures.palette import INK, MUTED, SERIES, Looks
from fedistill.report.figures.panel import Panel
from fedistill.report.format import shortened
from fedistill.report.frames import at_largest
from fedistill.report.run_data import RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUALITIES = {"validation_auc": ("Validation AUC, %", 100.0), "loss": ("Matching loss", 1.0)}

Curve = tuple[np.ndarray, np.ndarray]
"""Steps, and the values at them."""


def distilling(run: RunData) -> pd.DataFrame:
    """Return what events say of iterations: ``method, ipc, site, step, loss, validation_auc``.

    The first point, repeat and partition; of a step that was taken twice, because the run was stopped, the later.
    """
    columns = ["method", "ipc", "site", "step", "loss", "validation_auc"]
    steps = [event for event in _first(run) if event.kind == "distilling" and event.method and event.step]
    frame = pd.DataFrame([[getattr(event, name) for name in columns] for event in steps], columns=columns)
    frame = frame.astype({"loss": float, "validation_auc": float})
    return frame.drop_duplicates(["method", "ipc", "site", "step"], keep="last")


def experts(run: RunData) -> pd.DataFrame:
    """Return ``site, expert, epoch, loss`` of MTT's experts."""
    columns = ["site", "expert", "epoch", "loss"]
    lines = [[getattr(event, name) for name in columns] for event in _first(run) if event.kind == "experts"]
    frame = pd.DataFrame(lines, columns=columns).dropna(subset=["epoch", "loss"])
    return frame.drop_duplicates(["site", "expert", "epoch"], keep="last").astype({"epoch": float, "loss": float})


def site_colours(run: RunData) -> dict[str, str]:
    """Return a colour a site where they are few enough to be told apart, else one for all."""
    few = len(run.sites) <= len(SERIES)
    return {site: SERIES[number] if few else MUTED for number, site in enumerate(run.sites)}


def distillation_panels(run: RunData) -> list[Panel]:
    """Return for every method its largest budget: validation AUC at its looks, and loss."""
    frame = distilling(run)
    frame = frame[frame["site"].isin(run.sites)]
    panels = []
    for method in dict.fromkeys(frame["method"]):
        own = frame[frame["method"] == method]
        ipc = own["ipc"].max()
        for quality, (title, factor) in QUALITIES.items():
            known = own[(own["ipc"] == ipc) & own[quality].notna()].sort_values("step")
            curves = _curves(known, "site", "step", quality, factor)
            if any(len(x) > 1 for x, _ in curves.values()):
                name = f"curve-{method}-{quality}".replace("_", "-")
                words = f"{method} ipc {ipc}: {title}"
                panels.append(_panel(name, words, "iteration", curves, site_colours(run), dots=quality != "loss"))
    return panels


def expert_panels(run: RunData) -> list[Panel]:
    """Return the training loss of MTT's experts, mean over a site's."""
    frame = experts(run)
    means = frame[frame["site"].isin(run.sites)].groupby(["site", "epoch"], sort=False)["loss"].mean().reset_index()
    curves = _long(_curves(means, "site", "epoch", "loss"))
    title = "mtt: training loss of its experts"
    return [_panel("curve-experts", title, "epoch", curves, site_colours(run), dots=False)] if curves else []


def round_panels(run: RunData, known: Looks) -> list[Panel]:
    """Return AUC on the test split after every round, mean over networks, at the step size that was used."""
    frame = run.at_first_point(run.rounds)
    if frame.empty:
        return []
    frame = frame[frame["partition"] == frame["partition"].min()]
    used = run.rows.merge(at_largest(run.shown)[["scheme", "rounds"]], on=["scheme", "rounds"])
    curves: dict[str, Curve] = {}
    for scheme in dict.fromkeys(frame["scheme"]):
        own, lr = frame[frame["scheme"] == scheme], used.loc[used["scheme"] == scheme, "lr"]
        if len(lr):
            own = own[np.isclose(own["lr"].astype(float), float(lr.iloc[0]))]
        means = own.groupby(["scheme", "round"], sort=False)["auc"].mean().reset_index()
        curves |= _long(_curves(means, "scheme", "round", "auc", 100.0))
    colours = {scheme: known[scheme].colour for scheme in curves}
    title = "AUC after each round, %"
    return [_panel("curve-rounds", title, "round", curves, colours, dots=True)] if curves else []


def _first(run: RunData) -> list[Event]:
    """Return the events of Releases of the first point, repeat and partition."""
    point = run.plan.points[0].label
    return [event for event in run.events if (event.point, event.seed, event.partition) == (point, 0, 0)]


def _curves(frame: pd.DataFrame, by: str, along: str, value: str, factor: float = 1.0) -> dict[str, Curve]:
    return {
        str(who): (own[along].to_numpy(float), factor * own[value].to_numpy(float))
        for who, own in frame.groupby(by, sort=False)
    }


def _long(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Return those of more than one step."""
    return {who: (x, y) for who, (x, y) in curves.items() if len(x) > 1}


def _panel(
    name: str, title: str, along: str, curves: Mapping[str, Curve], colours: Mapping[str, str], *, dots: bool
) -> Panel:
    """Return a line a site or scheme, with its name at its end where they are few."""
    words = "; ".join(f"{who} from {y[0]:.3g} to {y[-1]:.3g}" for who, (_, y) in curves.items())
    draw = partial(_draw, along=along, curves=curves, colours=colours, dots=dots)
    return Panel(name, title, f"{title}, over {along}s: {words}.", draw)


def _draw(axis: "Axes", along: str, curves: Mapping[str, Curve], colours: Mapping[str, str], dots: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    few = len(curves) <= len(SERIES)
    marks: dict[str, Any] = {"marker": "o", "markersize": 3} if dots else {}
    for who, (x, y) in curves.items():
        axis.plot(x, y, color=colours.get(who, INK), linewidth=1.1, alpha=1 if few else 0.5, **marks)
    if few:
        low, high = axis.get_ylim()
        heights = spread_out({who: float(y[-1]) for who, (_, y) in curves.items()}, 0.085 * (high - low))
        first, last = (end(float(end(x)) for x, _ in curves.values()) for end in (min, max))
        for who, height in heights.items():
            at = last + 0.03 * (last - first)
            axis.text(at, height, shortened(who, 14), color=colours.get(who, INK), va="center", fontsize=7.5)
        axis.set_ylim(min(low, *heights.values()), max(high, *heights.values()))
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_xlabel(along)


def spread_out(heights: dict[str, float], gap: float) -> dict[str, float]:
    """Return heights moved apart until none is nearer to the next than `gap`, each as little as that takes.

    >>> spread_out({"a": 1.0, "b": 1.0, "c": 9.0}, 1.0)
    {'a': 0.5, 'b': 1.5, 'c': 9.0}
    """
    groups: list[tuple[float, list[str]]] = []  # middle of a group that touches, and who is in it
    for who in sorted(heights, key=lambda each: heights[each]):
        middle, names = heights[who], [who]
        while groups and middle - groups[-1][0] < gap * (len(names) + len(groups[-1][1])) / 2:
            _, before = groups.pop()
            names = before + names
            middle = float(np.mean([heights[each] for each in names]))
        groups.append((middle, names))
    placed = {w: m + gap * (i - (len(names) - 1) / 2) for m, names in groups for i, w in enumerate(names)}
    return {who: placed[who] for who in heights}
