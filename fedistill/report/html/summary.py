"""The answer in sentences with numbers, computed, and no bolder than the numbers are.

A sentence for each distilling scheme, in the plan's order, at its largest budget: neither is chosen by its result on
the test split. Whether it did better than random images is said by the 95 % interval alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fedistill.config.scheme import scheme_named
from fedistill.report.figures.communication import budget_of
from fedistill.report.run_data import Recorded
from fedistill.report.terminal.table import lines_of, size_of, swept, whole_pools, word
from fedistill.study.feasibility.run_metrics import distils

VERDICTS = {
    "gain": "better than random images",
    "loss": "worse than random images",
    "open": "no proven difference to random images",
    "unknown": "not held against random images",
}


@dataclass(frozen=True)
class Sentence:
    """What is to be said of one scheme.

    Args:
        verdict: a key of `VERDICTS`.
        text: the sentence.
    """

    scheme: str
    verdict: str
    text: str

    @property
    def short(self) -> str:
        return VERDICTS[self.verdict]


def answers(run: Recorded) -> list[Sentence]:
    """A sentence for each distilling scheme of the run."""
    lines = run.shown
    made = []
    for scheme in dict.fromkeys(lines["scheme"]):
        if distils(scheme):
            mine = lines[lines["scheme"] == scheme]
            [line] = lines_of(mine[mine["ipc"] == mine["ipc"].max()].iloc[:1])
            made.append(_answer(run, lines, line))
    return made


def beside(run: Recorded) -> list[str]:
    """What the other ways reached, a sentence each."""
    lines = run.shown
    made = []
    for scheme in dict.fromkeys(lines["scheme"]):
        known = scheme_named(scheme)
        if known.method is not None:
            continue
        mine = lines[lines["scheme"] == scheme]
        line = lines_of(mine.iloc[-1:])[0]
        if pd.isna(line["auc"]):
            continue
        auc, private = percent(line["auc"]), _privately(line)
        words = f"{known.label(budget_of(line))}{private}: AUC {auc}"
        if known.of_each_site:
            worst = line.get("auc_worst_site")
            tail = "" if worst is None or pd.isna(worst) else f", the weakest {percent(worst)}"
            made.append(f"{words} on average over sites{tail}.")
        else:
            made.append(f"{words} for {size_of(_bytes(line))}{_to_random(line) if known.has_rounds else ''}.")
    return [*made, *_at_sites(run), *_over_points(run), *_over_partitions(run)]


def _privately(line: Mapping[str, Any]) -> str:
    """
    >>> _privately({"epsilon": 10.0}), _privately({"epsilon": float("nan")})
    (', trained under differential privacy (epsilon 10)', '')
    """
    epsilon = line.get("epsilon")
    if epsilon is None or pd.isna(epsilon):
        return ""
    return f", trained under differential privacy (epsilon {epsilon:g})"


def _answer(run: Recorded, lines: pd.DataFrame, line: Mapping[str, Any]) -> Sentence:
    scheme, ipc = str(line["scheme"]), int(line["ipc"])
    central = scheme_named(scheme).one_place
    each = f"{ipc} distilled image{'s' if ipc > 1 else ''} per class"
    if central:
        start = f"Distilling all sites' data in one place, as many images as {each} from every site ({scheme})"
    else:
        answered = int(line["n_sites"])
        sites = "all sites" if answered == len(run.sites) else f"{answered} of {len(run.sites)} sites"
        start = f"Sharing {each} ({scheme}, {size_of(line['bytes_shared'])} from {sites} together)"
    if pd.isna(line["auc"]) and not pd.isna(line["accuracy"]):
        text = f"{start} reached accuracy {percent(line['accuracy'])}; AUC is not defined on this test split."
        return Sentence(scheme, "unknown", text)
    if pd.isna(line["auc"]):
        return Sentence(scheme, "unknown", f"{start} gave networks that diverged: nothing was measured.")
    against = [f"{percent(full['auc'])} with all images shared" for full in _of(lines, "full", None)]
    randoms = _of(lines, "random", ipc)
    against += [f"{percent(random['auc'])} with as many random ones" for random in randoms]
    text = f"{start} reached AUC {percent(line['auc'])}"
    text += f", against {' and '.join(against)}." if against else "."
    low, high = (float(line.get(f"auc_vs_random_{end}", float("nan"))) for end in ("low", "high"))
    if pd.isna(low):
        open_ = "Random images were not run beside it: what distilling adds is open."
        return Sentence(scheme, "unknown", f"{text} {open_}")
    verdict, said = _said(low, high)
    between = f"The 95 % interval of the difference to random is {_span(low, high)}: {said}."
    return Sentence(scheme, verdict, f"{text} {between}")


def _said(low: float, high: float) -> tuple[str, str]:
    """
    >>> _said(-0.008, 0.015)[1], _said(0.001, 0.02)[0], _said(-0.03, -0.01)[0]
    ('it includes zero, so no gain is proven', 'gain', 'loss')
    """
    if low > 0:
        return "gain", "more than random images give"
    if high < 0:
        return "loss", "less than random images give"
    return "open", "it includes zero, so no gain is proven"


def _at_sites(run: Recorded) -> Iterator[str]:
    """How many sites gained over their own networks, by the first distilling scheme."""
    for line in lines_of(run.shown):
        if distils(str(line["scheme"])) and not pd.isna(line.get("sites_gaining")):
            mine = run.shown[run.shown["scheme"] == line["scheme"]]
            line = lines_of(mine[mine["ipc"] == mine["ipc"].max()].iloc[:1])[0]
            gaining, worst = int(line["sites_gaining"]), 100 * float(line["site_gain_worst"])
            yield (
                f"On images that they set aside, {gaining} of {len(run.sites)} sites did better with {line['scheme']} "
                f"{budget_of(line)} than with their own networks; the site that gained least: {points(worst)}."
            )
            return


def _over_points(run: Recorded) -> Iterator[str]:
    """How often a distilling scheme's interval excludes zero over a sweep's points."""
    if not swept(run.compared):
        return
    yield from _counted(run, swept(run.compared), "the points of the sweep")


def _over_partitions(run: Recorded) -> Iterator[str]:
    if not swept(run.compared) and run.plan.first.partitions > 1:
        yield from _counted(run, ["partition"], "the redraws of who holds what")


def _counted(run: Recorded, columns: list[str], what: str) -> Iterator[str]:
    frame = whole_pools(run.compared)
    if "auc_vs_random_low" not in frame:
        return
    frame = frame[(frame["recipe"] == "common") & frame["auc_vs_random_low"].notna()]
    for scheme in dict.fromkeys(frame["scheme"]):
        if not distils(scheme):
            continue
        mine = frame[frame["scheme"] == scheme]
        mine = mine[mine["model"] == mine["model"].iloc[0]]
        mine = mine[mine["ipc"] == mine.groupby(columns)["ipc"].transform("max")]
        # Points that differ in what a scheme has nothing to do with have one result of it.
        mine = mine.drop_duplicates(["auc", "auc_vs_random_low", "auc_vs_random_high"])
        better, worse = int((mine["auc_vs_random_low"] > 0).sum()), int((mine["auc_vs_random_high"] < 0).sum())
        open_ = len(mine) - better - worse
        yield (
            f"Over {what}, {scheme} at its largest budget has {len(mine)} result{'s' * (len(mine) > 1)}: better than "
            f"random images {_times(better)}, worse {_times(worse)}, and {_times(open_)} the interval includes zero."
        )


def first_point_words(run: Recorded) -> str:
    """What the first point of a sweep is; empty where nothing is swept."""
    first = run.shown
    return ", ".join(f"{name} {word(first[name].iloc[0])}" for name in swept(run.compared)) if len(first) else ""


def percent(value: float) -> str:
    """
    >>> percent(0.93251)
    '93.3\xa0%'
    """
    return f"{100 * value:.1f}\xa0%"


def points(value: float) -> str:
    """
    >>> points(-0.84), points(1)
    ('−0.8\xa0points', '+1.0\xa0points')
    """
    return f"{value:+.1f}\xa0points".replace("-", "−")


def _span(low: float, high: float) -> str:
    """
    >>> _span(-0.008, 0.015)
    '−0.8 to +1.5\xa0points'
    """
    return f"{100 * low:+.1f} to {points(100 * high)}".replace("-", "−")


def _to_random(line: Mapping[str, Any]) -> str:
    low, high = (float(line.get(f"auc_vs_random_{end}", float("nan"))) for end in ("low", "high"))
    return "" if pd.isna(low) else f" ({_span(low, high)} to random images)"


def _bytes(line: Mapping[str, Any]) -> float:
    return float(line["bytes_up"]) + float(line["bytes_down"])


def _of(lines: pd.DataFrame, scheme: str, ipc: int | None) -> list[dict[str, Any]]:
    mine = lines[(lines["scheme"] == scheme) & lines["auc"].notna()]
    return lines_of((mine if ipc is None else mine[mine["ipc"] == ipc]).iloc[:1])


def _times(count: int) -> str:
    """
    >>> _times(0), _times(1), _times(2), _times(5)
    ('never', 'once', 'twice', '5 times')
    """
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")
