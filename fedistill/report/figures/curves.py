"""How making it went: distillation, experts and federated rounds, step by step, from events.jsonl and rounds.csv."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedistill.core.events import Event
from fedistill.report.figures.panels import Looks, shortened
from fedistill.report.figures.svg import INK, MUTED, SERIES, Panel, panel
from fedistill.report.run_data import Recorded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUALITIES = {"validation_auc": ("Validation AUC, %", 100.0), "loss": ("Matching loss", 1.0)}


def distilling(run: Recorded) -> pd.DataFrame:
    """What events say of iterations: ``method, ipc, site, step, seconds, loss, validation_auc``.

    The first point, repeat and partition; of a step that was taken twice, because the run was stopped, the later.
    """
    columns = ["method", "ipc", "site", "step", "loss", "validation_auc"]
    steps = [event for event in _first(run) if event.kind == "distilling" and event.method and event.step]
    frame = pd.DataFrame([[getattr(event, name) for name in columns] for event in steps], columns=columns)
    frame = frame.astype({"loss": float, "validation_auc": float})
    return frame.drop_duplicates(["method", "ipc", "site", "step"], keep="last")


def experts(run: Recorded) -> pd.DataFrame:
    """``site, expert, epoch, loss`` of MTT's experts."""
    columns = ["site", "expert", "epoch", "loss"]
    lines = [[getattr(event, name) for name in columns] for event in _first(run) if event.kind == "experts"]
    frame = pd.DataFrame(lines, columns=columns).dropna(subset=["epoch", "loss"])
    return frame.drop_duplicates(["site", "expert", "epoch"], keep="last")


def site_colours(run: Recorded) -> dict[str, str]:
    """A colour a site where they are few enough to be told apart, else one for all."""
    sites = run.sites
    few = len(sites) <= len(SERIES)
    return {site: SERIES[number] if few else MUTED for number, site in enumerate(sites)}


def distillation_panels(run: Recorded) -> list[Panel]:
    """For every method its largest budget: validation AUC at its looks, and loss."""
    frame = distilling(run)
    made = []
    for method in dict.fromkeys(frame["method"]):
        mine = frame[(frame["method"] == method) & frame["site"].isin(run.sites)]
        if mine.empty:
            continue
        ipc = mine["ipc"].max()
        mine = mine[mine["ipc"] == ipc]
        for quality, (title, factor) in QUALITIES.items():
            known = mine[mine[quality].notna()].sort_values("step")
            if known.groupby("site").size().max() > 1:
                series = {
                    str(site): (part["step"].to_numpy(float), factor * part[quality].to_numpy(float))
                    for site, part in known.groupby("site", sort=False)
                }
                name = f"curve-{method}-{quality}".replace("_", "-")
                dots = quality != "loss"
                made.append(_lines(run, name, f"{method} ipc {ipc}: {title}", "iteration", series, dots=dots))
    return made


def expert_panels(run: Recorded) -> list[Panel]:
    """The training loss of MTT's experts, mean over a site's."""
    frame = experts(run)
    series = {}
    for site in dict.fromkeys(frame["site"]):
        means = frame[frame["site"] == site].astype({"epoch": float, "loss": float}).groupby("epoch")["loss"].mean()
        if len(means) > 1 and site in run.sites:
            series[str(site)] = (means.index.to_numpy(float), means.to_numpy(float))
    if not series:
        return []
    return [_lines(run, "curve-experts", "mtt: training loss of its experts", "epoch", series, dots=False)]


def round_panels(run: Recorded, found: Looks) -> list[Panel]:
    """AUC on the test split after every round, mean over networks, at the step size that was used."""
    frame = run.at_first_point(run.rounds)
    series = {}
    for scheme in dict.fromkeys(frame["scheme"]) if len(frame) else ():
        used = run.shown[(run.shown["scheme"] == scheme)]
        mine = frame[(frame["scheme"] == scheme) & (frame["partition"] == frame["partition"].min())]
        lr = run.rows.loc[(run.rows["scheme"] == scheme) & (run.rows["rounds"] == used["rounds"].max()), "lr"]
        if len(lr):
            mine = mine[np.isclose(mine["lr"].astype(float), float(lr.iloc[0]))]
        means = mine.groupby("round")["auc"].mean()
        if len(means) > 1:
            series[str(scheme)] = (means.index.to_numpy(float), 100 * means.to_numpy(float))
    if not series:
        return []
    colours = {scheme: found[scheme].colour for scheme in series}
    return [_lines(run, "curve-rounds", "AUC after each round, %", "round", series, dots=True, colours=colours)]


def _lines(
    run: Recorded,
    name: str,
    title: str,
    along: str,
    series: dict[str, tuple[np.ndarray, np.ndarray]],
    *,
    dots: bool,
    colours: dict[str, str] | None = None,
) -> Panel:
    """A line a site or scheme, with its name at its end where they are few."""
    from matplotlib.ticker import MaxNLocator

    colours = site_colours(run) if colours is None else colours
    few = len(series) <= len(SERIES)

    def draw(axis: "Axes") -> None:
        for who, (x, y) in series.items():
            marks: dict[str, Any] = {"marker": "o", "markersize": 3} if dots else {}
            axis.plot(x, y, color=colours.get(who, INK), linewidth=1.1, alpha=1 if few else 0.5, **marks)
        ends = {who: float(y[-1]) for who, (_, y) in series.items()}
        if few:
            low, high = axis.get_ylim()
            heights = spread_out(ends, 0.085 * (high - low))
            last = max(float(x[-1]) for x, _ in series.values())
            first = min(float(x[0]) for x, _ in series.values())
            for who, height in heights.items():
                words = shortened(who, 14)
                axis.text(
                    last + 0.03 * (last - first), height, words, color=colours.get(who, INK), va="center", fontsize=7.5
                )
            axis.set_ylim(min(low, *heights.values()), max(high, *heights.values()))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_xlabel(along)

    told = "; ".join(f"{who} from {y[0]:.3g} to {y[-1]:.3g}" for who, (_, y) in series.items())
    return panel(name, title, f"{title}, over {along}s: {told}.", draw)


def spread_out(heights: dict[str, float], gap: float) -> dict[str, float]:
    """Heights moved apart until none is nearer to the next than `gap`, each as little as that takes.

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


def _first(run: Recorded) -> list[Event]:
    """Return the events of Releases of the first point, repeat and partition."""
    point = run.plan.points[0].label
    return [event for event in run.events if (event.point, event.seed, event.partition) == (point, 0, 0)]
