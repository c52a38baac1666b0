"""The results: worth.json, and the same as tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.tables import Sheet
from benchmarks.worth.form import BASELINES, Form, Piece
from benchmarks.worth.sets import TUNED, thirteen
from benchmarks.worth.shares import Estimate, above, gap_share, over_sets, qualities
from benchmarks.worth.work import Measured
from fedistill.core.seeds import rng
from fedistill.report.format import duration, percent, points, size, span, with_interval
from fedistill.study.feasibility.indicator import FEWEST, statistics

AGAINST = ("random", "herding")
"""What a method's images are held against."""

GROUPS = ("tuned", "untouched", "all")


def results(
    measured: Mapping[Piece, Measured], schemes: Mapping[str, Mapping[str, Any]], form: Form, under: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that was found, as JSON has it.

    Args:
        measured: each piece's; a set with a piece missing is left out of what needs it.
        schemes: the methods with their settings.
        form: of the measurement.
        under: the machine and the versions.
    """
    sets: dict[str, Any] = {}
    shares: dict[tuple[str, str], dict[str, Estimate]] = {}
    for name in dict.fromkeys(piece.dataset for piece in measured):
        own = {piece: each for piece, each in measured.items() if piece.dataset == name}
        by_scheme: dict[str, list[Measured]] = {}
        for piece, each in sorted(own.items(), key=lambda item: item[0].seed):
            by_scheme.setdefault(piece.scheme, []).append(each)
        labels = next(iter(own.values())).labels
        scored = {scheme: [each.probabilities for each in repeats] for scheme, repeats in by_scheme.items()}
        quality = qualities(labels, scored, seed=0)
        lines: dict[str, Any] = {}
        for scheme, repeats in by_scheme.items():
            auc = quality[scheme].auc
            lines[scheme] = {
                "auc": auc.tolist(),
                "mean": quality[scheme].mean,
                "spread": float(auc.std(ddof=1)) if auc.size > 1 else None,
                "seconds": [each.seconds for each in repeats],
                "bytes": repeats[0].size,
                "images": repeats[0].images,
            }
            for other in AGAINST:
                if scheme == other or other not in quality:
                    continue
                lines[scheme][f"above {other}"] = _plain(above(quality[scheme], quality[other]))
                if scheme != "full" and "full" in quality:
                    share = gap_share(quality[scheme], quality[other], quality["full"])
                    lines[scheme][f"share from {other}"] = _plain(share)
                    shares.setdefault((scheme, other), {})[name] = share
        sets[name] = {"tuned": name in TUNED, "scored on": len(labels), "schemes": lines}
    return {
        "form": asdict(form),
        "under": dict(under),
        "settings": {scheme: dict(settings) for scheme, settings in schemes.items()},
        "sets": sets,
        "mean share": {
            scheme: {
                group: {
                    f"from {other}": _plain(over_sets(list(_of(group, shares[scheme, other]).values()), seed=0))
                    for other in AGAINST
                    if (scheme, other) in shares
                }
                for group in GROUPS
                if _of(group, shares[scheme, next(o for o in AGAINST if (scheme, o) in shares)])
            }
            for scheme in dict.fromkeys(scheme for scheme, _ in shares)
        },
        "counts": {scheme: _counts(sets, scheme) for scheme in [*BASELINES, *schemes] if scheme != "full"},
        "foretold": {scheme: foretold(sets, scheme) for scheme in ["herding", *schemes]},
    }


def foretold(sets: Mapping[str, Any], scheme: str) -> dict[str, dict[str, float | None]]:
    """Return how well random images foretell a scheme's quality, and what of the gap it closes, over the sets."""
    own = [each["schemes"] for each in sets.values() if {"random", scheme} <= each["schemes"].keys()]
    quality = [(each["random"]["mean"], each[scheme]["mean"]) for each in own]
    shares = [(each["random"]["mean"], each[scheme].get("share from random", {}).get("value")) for each in own]
    known = [(x, y) for x, y in shares if y is not None]
    found = {}
    for name, pairs, bounds in (("auc", quality, (0.0, 1.0)), ("share of the gap", known, (-np.inf, np.inf))):
        if len(pairs) >= FEWEST:
            x, y = np.asarray(pairs, np.float64).T
            told = statistics(x, y, bounds, rng(0, "foretold", scheme, name))
            found[name] = {key: float(value) if np.isfinite(value) else None for key, value in told.items()}
    return found


def _plain(estimate: Estimate) -> dict[str, float | None]:
    numbers = dict(zip(("value", "low", "high"), (estimate.value, *estimate.interval), strict=True))
    return {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}


def _of(group: str, by_set: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the sets in a group; none of ``untouched`` for sets that are not the study's."""
    known = thirteen()
    inside = {"tuned": TUNED, "untouched": [name for name in known if name not in TUNED], "all": list(by_set)}[group]
    return {name: value for name, value in by_set.items() if name in inside}


def _counts(sets: Mapping[str, Any], scheme: str) -> dict[str, dict[str, int]]:
    """Return on how many sets a scheme is surely above, and surely below, what it is held against."""
    found = {}
    for other in AGAINST:
        lines = [each["schemes"][scheme].get(f"above {other}") for each in sets.values() if scheme in each["schemes"]]
        known = [line for line in lines if line is not None and line["low"] is not None]
        if known:
            found[other] = {
                "above": sum(line["low"] > 0 for line in known),
                "below": sum(line["high"] < 0 for line in known),
                "sets": len(known),
            }
    return found


def sheets(found: Mapping[str, Any]) -> Iterator[Sheet]:
    """Yield the tables: AUC, shares of the gap from random and from herding, and what they cost."""
    schemes = list(dict.fromkeys(scheme for each in found["sets"].values() for scheme in each["schemes"]))
    methods = [scheme for scheme in schemes if scheme != "full"]
    form = found["form"]
    where = "validation" if form["split"] == "val" else form["split"]
    most = "all" if form["most"] is None else f"at most {form['most']:,}"
    columns = ("set", *schemes)
    rows = [(_named(name, each), *(_auc(each, scheme) for scheme in schemes)) for name, each in found["sets"].items()]
    notes = [
        f"Mean over repeats and networks, ± their standard deviation, on {where} images; ipc {form['ipc']}, width "
        f"{form['width']}, {form['networks']} networks each, {form['steps']} steps at {form['lr']:g}, for full "
        f"{form['full_steps']}; of {most} training images. * settings may be chosen on this set."
    ]
    if form["split"] == "val" and form["looks"]:
        notes.append("Methods looked at the images that they are scored on: these figures are too good.")
    yield Sheet(f"AUC, %, ipc {form['ipc']}", columns, rows, tuple(notes))
    for other in AGAINST:
        own = [scheme for scheme in methods if scheme != other]
        rows = [
            (_named(name, each), *(_share(each, scheme, other) for scheme in own))
            for name, each in found["sets"].items()
        ]
        for group, words in zip(GROUPS, ("mean, * sets", "mean, other sets", "mean of all"), strict=True):
            means = [found["mean share"].get(scheme, {}).get(group, {}).get(f"from {other}") for scheme in own]
            if any(means):
                rows.append((words, *(_interval(mean) for mean in means)))
        counts = [found["counts"].get(scheme, {}).get(other) for scheme in own]
        words = ["" if c is None else f"{c['above']} above, {c['below']} below, of {c['sets']}" for c in counts]
        rows.append((f"surely beside {other}", *words))
        title = f"share of the gap from {other} to full that is closed, %; difference in AUC to {other}, points"
        note = "Intervals of 95 %: images scored on, networks and repeats are drawn; for means, sets as well."
        yield Sheet(title, ("set", *own), rows, (note,))
    rows = [
        (f"{scheme}, {what}", *_told(told))
        for scheme, by_what in found["foretold"].items()
        for what, told in by_what.items()
    ]
    if rows:
        columns_of = ("", "Pearson's r", "Spearman's r", "missed by, points", "missed by the others' mean")
        note = "Intervals of 95 % over sets; missed: each set foretold by the line through the others, mean distance."
        yield Sheet("what random images foretell, set by set", columns_of, rows, (note,))
    rows = [(_named(name, each), *(_cost(each, scheme) for scheme in schemes)) for name, each in found["sets"].items()]
    yield Sheet("seconds to make a hospital's images (one thread), and bytes", columns, rows)


def _named(name: str, each: Mapping[str, Any]) -> str:
    return f"{name} *" if each["tuned"] else name


def _auc(each: Mapping[str, Any], scheme: str) -> str:
    line = each["schemes"].get(scheme)
    if line is None:
        return ""
    return percent(line["mean"]) + ("" if line["spread"] is None else f" ±{percent(line['spread'])}")


def _share(each: Mapping[str, Any], scheme: str, other: str) -> str:
    line = each["schemes"].get(scheme, {})
    if f"above {other}" not in line:
        return ""
    away, share = line[f"above {other}"], line.get(f"share from {other}")
    return f"{_interval(share)}; {points(away['value'])} ({span(away['low'], away['high'])})"


def _interval(share: Mapping[str, float | None] | None) -> str:
    if share is None:
        return ""
    return with_interval(share["value"], share["low"], share["high"])


def _told(told: Mapping[str, float | None]) -> tuple[str, ...]:
    r = [[told[key] for key in (name, f"{name}_low", f"{name}_high")] for name in ("pearson", "spearman")]
    correlations = ["" if None in each else f"{each[0]:.2f} ({each[1]:.2f} to {each[2]:.2f})" for each in r]
    return *correlations, *(percent(told[key]) for key in ("loo_error", "loo_error_of_mean"))


def _cost(each: Mapping[str, Any], scheme: str) -> str:
    line = each["schemes"].get(scheme)
    return "" if line is None else f"{duration(float(np.mean(line['seconds'])))}, {size(line['bytes'])}"


def lines_said(failures: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each piece that failed."""
    return [f"{name}: {why.strip().splitlines()[-1]}" for name, why in failures]
