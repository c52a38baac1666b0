"""What quality costs in privacy: every scheme's AUC against what the strongest attack on it found, both with intervals.

An attack's AUC is the chance that it ranks an image that was in a site's data above one that was not; 50 % is a coin.
Of several attacks on one scheme the strongest is shown. It was chosen on the shadows it is shown for, which errs on the
side of a leak.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedistill.core.files import write_atomic
from fedistill.report.figures.figure import COLOURS, MARKERS
from fedistill.report.figures.labels import PointLabel, write_labels
from fedistill.report.figures.panels import Looks
from fedistill.report.figures.style import Look
from fedistill.report.figures.svg import INK, MUTED, Labels, Panel, panel
from fedistill.report.run_data import WHAT, Recorded
from fedistill.report.terminal.table import lines_of, swept, whole_pools

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUALITY = {"auc": "AUC", "balanced_accuracy": "Balanced accuracy"}

COIN = 0.5

CERTAIN = 95.0
"""An attack's AUC in percent from which on nobody is hidden."""


def frontier_points(run: Recorded) -> pd.DataFrame:
    """A row for each scheme, budget, epsilon and start that was attacked and trained on; of several numbers of rounds,
    the one that was attacked.

    Returns:
        `WHAT`; ``auc, balanced_accuracy`` and their ``_low`` and ``_high``, of networks; ``attack, seen`` of the
        strongest attack, its ``attack_auc, attack_auc_low, attack_auc_high``, ``tpr_at_1, tpr_low, tpr_high``.
    """
    if run.privacy.empty:
        return pd.DataFrame()
    lines = whole_pools(run.compared)
    lines = lines[lines["scheme"] != "majority"]
    for column in ("partition", "recipe", "model"):
        lines = lines[lines[column] == lines[column].iloc[0]]
    keys = [*(name for name in swept(run.compared) if name in run.privacy), "scheme", "ipc", "rounds"]
    quality = [f"{metric}{end}" for metric in QUALITY for end in ("", "_low", "_high") if f"{metric}{end}" in lines]
    lines = lines[[*keys, *quality]]
    attacks = run.privacy.rename(columns={f"auc{end}": f"attack_auc{end}" for end in ("", "_low", "_high")})
    attacks = attacks.sort_values("attack_auc", kind="stable", na_position="first").drop_duplicates(
        [*keys, "epsilon", "start"], keep="last"
    )
    for name in keys:  # numbers of one table may be whole in the other
        lines[name], attacks[name] = (frame[name].map(_key) for frame in (lines, attacks))
    known = ["attack", "seen", "attack_auc", "attack_auc_low", "attack_auc_high", "tpr_at_1", "tpr_low", "tpr_high"]
    both = lines.merge(attacks[[*keys, "epsilon", "start", *(name for name in known if name in attacks)]], on=keys)
    return both.drop_duplicates(list(WHAT)).reset_index(drop=True)


def _key(value: Any) -> str:
    """
    >>> _key(10), _key(10.0), _key("noise"), _key(float("nan"))
    ('10', '10', 'noise', '')
    """
    if pd.isna(value):
        return ""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def name_of(line: dict[str, Any], *, several: bool) -> str:
    """A point's words.

    Args:
        several: whether budgets differ, and have to be named.

    >>> name_of({"scheme": "dc", "ipc": "10", "rounds": "", "epsilon": float("nan"), "start": "real"}, several=True)
    'dc 10 (real)'
    >>> name_of({"scheme": "dp-dm", "ipc": "10", "rounds": "", "epsilon": 1.0, "start": "noise"}, several=False)
    'dp-dm ε=1'
    >>> name_of({"scheme": "fedavg", "ipc": "", "rounds": "5", "epsilon": float("nan"), "start": ""}, several=False)
    'fedavg 5 rounds'
    """
    words = str(line["scheme"])
    if several and line["ipc"]:
        words += f" {line['ipc']}"
    if line["rounds"]:
        words += f" {line['rounds']} round{'' if line['rounds'] == '1' else 's'}"
    if not pd.isna(line["epsilon"]):
        return f"{words} ε={line['epsilon']:g}"
    return words if pd.isna(line["start"]) or not line["start"] else f"{words} ({line['start']})"


@dataclass(frozen=True)
class Finding:
    """What attacks say of some schemes: a sentence, and whether it reports a leak that is proven."""

    text: str
    proven: bool = False


def leaks(run: Recorded) -> list[Finding]:
    """Return what attacks told of the schemes, proven leaks first, and how surely."""
    points = frontier_points(run)
    if points.empty:
        return []
    several = points["ipc"].nunique() > 2
    found: list[str] = []
    open_: list[str] = []
    unknown: list[str] = []
    for line in lines_of(points.sort_values("attack_auc", ascending=False, kind="stable")):
        name = name_of(line, several=several)
        low, high = line["attack_auc_low"], line["attack_auc_high"]
        if pd.isna(low):
            unknown.append(name)
            continue
        said = f"AUC {100 * line['attack_auc']:.0f}\xa0% ({100 * low:.0f} to {100 * high:.0f}) by {line['attack']}"
        if not pd.isna(line["tpr_at_1"]):
            said += f", {100 * line['tpr_at_1']:.0f}\xa0% of them named at 1\xa0% false alarms"
        (found if low > COIN else open_).append(f"{name}: {said}")
    sentences: list[Finding] = []
    if found:
        text = (
            "What these schemes send leaks whose images were in a site’s data; the strongest attack on each tells "
            f"members from others with {'; '.join(found)}. 50\xa0% would be a coin."
        )
        sentences.append(Finding(text, proven=True))
    if open_:
        text = (
            "No leak was proven, which is no proof that there is none: the interval of the strongest attack holds "
            f"50\xa0% for {'; '.join(open_)}."
        )
        sentences.append(Finding(text))
    if unknown:
        sentences.append(Finding(f"Too few shadows to say: {', '.join(unknown)}."))
    return sentences


def frontier(run: Recorded, found: Looks) -> list[Panel]:
    """A panel for each measure of quality; none where nothing was attacked."""
    points = frontier_points(run)
    if points.empty:
        return []
    several = points["ipc"].nunique() > 2
    panels = []
    for metric, title in QUALITY.items():
        told = "; ".join(
            f"{name_of(line, several=several)} {100 * line[metric]:.1f} %, attack {100 * line['attack_auc']:.0f} %"
            for line in lines_of(points)
        )
        alt = f"{title} of global networks against the AUC of the strongest attack: {told}."

        def draw(axis: "Axes", metric: str = metric) -> Labels:
            axis.set_xlabel("AUC of the strongest attack, %")
            return _draw(axis, points, metric, found, several=several, ink=INK, muted=MUTED)

        panels.append(panel(f"frontier-{metric}".replace("_", "-"), f"{title}, %", alt, draw, height=2.9))
    return panels


def draw_frontier(run: Recorded, path: Path) -> bool:
    """frontier.png; whether there was anything to draw."""
    from matplotlib.figure import Figure

    points = frontier_points(run)
    if points.empty:
        return False
    schemes = list(dict.fromkeys(points["scheme"]))
    found = {  # of one figure alone; the eighth has the first's colour, and another marker
        name: Look(COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)])
        for i, name in enumerate(schemes)
    }
    figure = Figure(figsize=(9, 4), layout="constrained", dpi=150)
    several = points["ipc"].nunique() > 2
    drawn = []
    for axis, (metric, title) in zip(figure.subplots(1, len(QUALITY)), QUALITY.items(), strict=True):
        drawn.append((axis, _draw(axis, points, metric, found, several=several, ink="#222", muted="#777")))
        axis.set_xlabel("AUC of the strongest attack, %   (50: a coin)")
        axis.set_ylabel(f"{title} of global networks, %")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    heading = f"{run.dataset}: what the networks are worth, and what the hospital sends tells of its patients"
    figure.suptitle(f"{heading}{' (phantoms)' if run.phantom else ''}", fontsize=11)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis, labels in drawn:
        write_labels(axis, labels.points, labels.lines, labels.curves, size=7.5)
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png"))
    return True


def _draw(
    axis: "Axes", points: pd.DataFrame, metric: str, found: Looks, *, several: bool, ink: str, muted: str
) -> Labels:
    axis.axvline(100 * COIN, color=muted, linestyle="--", linewidth=0.9)
    labels, bars, edge = [], [], _edge(points)
    for line in lines_of(points):
        x, y = 100 * line["attack_auc"], 100 * line[metric]
        if pd.isna(x) or pd.isna(y):
            continue
        look = found[str(line["scheme"])]
        upright, words = _reach(line, metric), name_of(line, several=several)
        sideways = _reach(line, "attack_auc")
        if edge is not None and x > edge:
            x, sideways, words = edge, None, f"{words}: {x:.0f} →"
        axis.errorbar(
            [x], [y], xerr=sideways, yerr=upright, fmt=look.marker, color=look.colour, markerfacecolor=look.face,
            markersize=5, elinewidth=0.9,
        )  # fmt: skip
        labels.append(PointLabel(words, ink, x, y, 0.0))
        across, along = (np.array(reach)[:, 0] if reach else np.zeros(2) for reach in (sideways, upright))
        bars.append(np.array([[x - across[0], y], [x + across[1], y]]))
        bars.append(np.array([[x, y - along[0]], [x, y + along[1]]]))
    axis.margins(0.14)
    return Labels(labels, curves=bars)


def _edge(points: pd.DataFrame) -> float | None:
    """Where points stand whose patients are found out for certain, if true places would leave no room for the others.

    They are then drawn there with their number beside them; None where all have their places.
    """
    found = 100 * points["attack_auc"].dropna()
    ends = 100 * points["attack_auc_high"].fillna(points["attack_auc"])
    rest = ends[found.index][found < CERTAIN]
    if rest.empty or len(rest) == len(found) or rest.max() > CERTAIN - 15:
        return None
    return float(rest.max() + max(3.0, 0.35 * (rest.max() - 100 * COIN)))


def _reach(line: dict[str, Any], name: str) -> list[list[float]] | None:
    """From the value to the ends of its interval, in percent; None where there is no interval."""
    value, low, high = (line.get(f"{name}{end}", float("nan")) for end in ("", "_low", "_high"))
    if pd.isna(low) or pd.isna(high):
        return None
    return [[100 * max(0.0, value - low)], [100 * max(0.0, high - value)]]
