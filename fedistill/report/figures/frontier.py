"""Quality against privacy: every scheme's AUC against what the strongest attack on it found, both with intervals.

Beside it stand the attacks' ROC curves.

An attack's AUC is the chance that it ranks an image that was in a site's data above one that was not; 50 % is a coin.
Of several attacks on one scheme the strongest is shown. It was chosen on the shadows it is shown for, which errs on the
side of a leak. It is the strongest under what holds in a deployment: a deployed site keeps its seed secret. What an
attacker finds who knows the seed is said beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fedistill.report.figures.labels import PointLabel
from fedistill.report.figures.palette import INK, MUTED, Looks
from fedistill.report.figures.panel import TALL, Labels, Panel
from fedistill.report.figures.quality import draw_mark
from fedistill.report.format import NBSP, attacked, is_blank
from fedistill.report.frames import first_of, lines_of, schemes
from fedistill.report.run_data import ATTACKED, RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUALITY = {"auc": "AUC", "balanced_accuracy": "Balanced accuracy"}
COIN = 0.5
CERTAIN = 95.0
"""An attack's AUC in percent from which on nobody is hidden."""


def frontier_points(run: RunData) -> pd.DataFrame:
    """Return a row for each scheme, budget, epsilon and start that was attacked and trained on.

    Of several numbers of rounds, it is the one that was attacked.

    Returns:
        `ATTACKED`; ``auc, balanced_accuracy`` and their ``_low`` and ``_high``, of networks; ``attack, seen`` of the
        strongest attack, its ``attack_auc, attack_auc_low, attack_auc_high``, ``tpr_at_1, tpr_low, tpr_high``; the
        ``known_auc`` of the strongest attack of who knows the seed, where that was tried too; and ``name`` in words.
    """
    if run.privacy.empty:
        return pd.DataFrame()
    lines = first_of(schemes(run.whole))
    keys = [*(name for name in run.swept if name in run.privacy), "scheme", "ipc", "rounds"]
    quality = [f"{metric}{end}" for metric in QUALITY for end in ("", "_low", "_high") if f"{metric}{end}" in lines]
    attacks = run.privacy.rename(columns={f"auc{end}": f"attack_auc{end}" for end in ("", "_low", "_high")})
    by = [*keys, "epsilon", "start"]
    attacks = attacks.sort_values("attack_auc", kind="stable", na_position="first")
    attacks = attacks.assign(known_auc=np.nan) if "seed_known" not in attacks else _beside(attacks, by)
    attacks = attacks.drop_duplicates(by, keep="last")
    columns = ["attack", "seen", "attack_auc", "attack_auc_low", "attack_auc_high", "tpr_at_1", "tpr_low", "tpr_high"]
    columns += ["known_auc", "seed_known"]
    attacks = attacks[[*keys, "epsilon", "start", *(name for name in columns if name in attacks)]]
    numbers = {"ipc": float, "rounds": float}
    both = lines[[*keys, *quality]].astype(numbers).merge(attacks.astype(numbers), on=keys)
    both = both.drop_duplicates(list(ATTACKED)).reset_index(drop=True)
    several = both["ipc"].nunique() > 1
    return both.assign(name=[attacked(line, with_ipc=several) for line in lines_of(both)])


def _beside(attacks: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the attacks of who does not know the seed, with the best AUC of who does as ``known_auc``.

    Where only a known seed was tried, its attacks stand for themselves.
    """
    known = attacks["seed_known"] == "yes"
    if not known.any():
        return attacks.assign(known_auc=np.nan)
    best = attacks[known].groupby(by, dropna=False)["attack_auc"].max().rename("known_auc").reset_index()
    deployed = attacks.assign(_known=known).groupby(by, dropna=False)["_known"].transform("all")
    return attacks[~known | deployed].merge(best, on=by, how="left")


@dataclass(frozen=True)
class Finding:
    """A result of attacks on some schemes: a sentence, and whether it reports a leak that is proven."""

    text: str
    proven: bool = False


def leaks(run: RunData) -> list[Finding]:
    """Return what attacks found of the schemes, proven leaks first, and how surely."""
    lines = frontier_points(run)
    if lines.empty:
        return []
    proven: list[str] = []
    open_: list[str] = []
    unknown: list[str] = []
    for line in lines_of(lines.sort_values("attack_auc", ascending=False, kind="stable")):
        low, high = line["attack_auc_low"], line["attack_auc_high"]
        if is_blank(low):
            unknown.append(line["name"])
            continue
        words = f"AUC {100 * line['attack_auc']:.0f}{NBSP}% ({100 * low:.0f} to {100 * high:.0f}) by {line['attack']}"
        if not is_blank(line["tpr_at_1"]):
            words += f", {100 * line['tpr_at_1']:.0f}{NBSP}% of them named at 1{NBSP}% false alarms"
        if not is_blank(line["known_auc"]) and line.get("seed_known") != "yes":
            words += f" ({100 * line['known_auc']:.0f}{NBSP}% for who knows the seed)"
        (proven if low > COIN else open_).append(f"{line['name']}: {words}")
    findings = []
    if proven:
        text = (
            "What these schemes send leaks whose images were in a site’s data; the strongest attack on each tells "
            f"members from others with {'; '.join(proven)}. 50{NBSP}% would be a coin."
        )
        findings.append(Finding(text, proven=True))
    if open_:
        text = (
            "No leak was proven, which is no proof that there is none: the interval of the strongest attack holds "
            f"50{NBSP}% for {'; '.join(open_)}."
        )
        findings.append(Finding(text))
    if unknown:
        findings.append(Finding(f"Too few shadows to say: {', '.join(unknown)}."))
    return findings


def frontier(run: RunData, known: Looks) -> list[Panel]:
    """Return a panel for each measure of quality; none where nothing was attacked."""
    lines = frontier_points(run)
    panels = []
    for metric, title in QUALITY.items() if len(lines) else ():
        values = "; ".join(
            f"{line['name']} {100 * line[metric]:.1f} %, attack {100 * line['attack_auc']:.0f} %"
            for line in lines_of(lines)
        )
        alt = f"{title} of global networks against the AUC of the strongest attack: {values}."
        draw = partial(_draw_frontier, lines=lines, metric=metric, known=known)
        panels.append(Panel(f"frontier-{metric}".replace("_", "-"), f"{title}, %", alt, draw, TALL))
    return panels


def _draw_frontier(axis: "Axes", lines: pd.DataFrame, metric: str, known: Looks) -> Labels:
    axis.set_xlabel("AUC of the strongest attack, %")
    axis.axvline(100 * COIN, color=MUTED, linestyle="--", linewidth=0.9)
    labels, bars, edge = [], [], _edge(lines)
    for line in lines_of(lines):
        x, y = 100 * line["attack_auc"], 100 * line[metric]
        if is_blank(x) or is_blank(y):
            continue
        across, along, words = _reach(line, "attack_auc"), _reach(line, metric), line["name"]
        if edge is not None and x > edge:
            x, across, words = edge, np.zeros(2), f"{words}: {x:.0f} →"
        draw_mark(axis, [x], [y], known[str(line["scheme"])], xerr=across[:, None], yerr=along[:, None])
        labels.append(PointLabel(words, INK, x, y, 0.0))
        bars += [np.array([[x - across[0], y], [x + across[1], y]]), np.array([[x, y - along[0]], [x, y + along[1]]])]
    axis.margins(0.14)
    return Labels(labels, curves=bars)


def _edge(lines: pd.DataFrame) -> float | None:
    """Return where to draw points of certain attacks (AUC near 1), if their true places left the others no room.

    Their number stands beside them there; None where all have their places.
    """
    aucs = 100 * lines["attack_auc"].dropna()
    ends = 100 * lines["attack_auc_high"].fillna(lines["attack_auc"])
    rest = ends[aucs.index][aucs < CERTAIN]
    if rest.empty or len(rest) == len(aucs) or rest.max() > CERTAIN - 15:
        return None
    return float(rest.max() + max(3.0, 0.35 * (rest.max() - 100 * COIN)))


def _reach(line: Mapping[str, Any], name: str) -> np.ndarray:
    """Return how far the interval reaches below and above the value, in percent; zeros where there is none."""
    value, low, high = (line.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None or low is None or high is None or is_blank(low) or is_blank(high):
        return np.zeros(2)
    return 100 * np.array([value - low, high - value]).clip(0)


TICKS = (0.1, 1.0, 10.0, 100.0)
STYLES = ("-", "--", ":", "-.")
LABELLED = 3
"""Curves with their names beside them: those that name most."""
LEAST = 1e-3
"""Rates below are not drawn: so few non-members say nothing of them."""


def roc_panels(run: RunData, known: Looks) -> list[Panel]:
    """Return a panel with the ROC curve of the strongest attack on every scheme; none where no curve was kept.

    Both axes are logarithmic: they show how many are named while hardly anybody is accused wrongly.
    """
    lines = frontier_points(run)
    if lines.empty or run.roc.empty:
        return []
    keys = [*ATTACKED, "attack", *(["seed_known"] if "seed_known" in run.roc and "seed_known" in lines else [])]
    kinds = {"ipc": float, "rounds": float, "epsilon": float, "start": object}
    rates = run.roc.astype(kinds).merge(lines[[*keys, "name"]].astype(kinds), on=keys)
    rates = rates[(rates["fpr"] >= LEAST) & (rates["tpr"] > 0)].drop_duplicates([*keys, "fpr", "tpr"])
    curves: dict[str, tuple[str, np.ndarray]] = {}
    for line in lines_of(lines):  # in their order
        own = rates.loc[rates["name"] == line["name"], ["fpr", "tpr"]].sort_values(["fpr", "tpr"])
        if len(own):
            curves[line["name"]] = (str(line["scheme"]), 100 * own.to_numpy(np.float64))
    at = {name: float(np.interp(1.0, values[:, 0], values[:, 1])) for name, (_, values) in curves.items()}

    def draw(axis: "Axes") -> Labels:
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.plot([100 * LEAST, 100], [100 * LEAST, 100], color=MUTED, linestyle="--", linewidth=0.9)
        drawn: list[str] = []
        for scheme, values in curves.values():
            style = STYLES[drawn.count(scheme) % len(STYLES)]  # dc from noise and dc from real images share a colour
            axis.plot(values[:, 0], values[:, 1], color=known[scheme].colour, linestyle=style, linewidth=1.2)
            drawn.append(scheme)
        axis.set_xlabel("wrongly accused, %")
        for ticks, limits in ((axis.set_xticks, axis.set_xlim), (axis.set_yticks, axis.set_ylim)):
            ticks(TICKS, [f"{tick:g}" for tick in TICKS])
            ticks([], minor=True)
            limits(100 * LEAST, 130)
        # The rest lie so close together that words would hide them; the table has them all.
        most = sorted(at, key=lambda name: -at[name])[:LABELLED]
        labels = [PointLabel(name, INK, 1.0, at[name], 0.0) for name in most]
        return Labels(labels, curves=[values for _, values in curves.values()])

    values = "; ".join(f"{name} {value:.1f} %" for name, value in at.items())
    alt = f"ROC curves of the strongest attack on every scheme. Members named at 1 % wrongly accused: {values}."
    return [Panel("roc", "Members named, %, against wrongly accused", alt, draw, TALL)] if curves else []
