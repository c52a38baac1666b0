"""The answer in sentences with numbers, computed, and no bolder than the numbers are.

A sentence for each distilling scheme, in the plan's order, at its largest budget: neither is chosen by its result on
the test split. Whether it did better than random images is said by the 95 % interval alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedistill.config.scheme import scheme_named
from fedistill.report.format import NBSP, budget, is_blank, minus, points, share, size, span, times, word
from fedistill.report.frames import at_largest, first_of, lines_of
from fedistill.report.run_data import RunData
from fedistill.study.feasibility.run_metrics import distils

VERDICTS = {
    "gain": "better than random images",
    "loss": "worse than random images",
    "open": "no proven difference to random images",
    "unknown": "not held against random images",
}


@dataclass(frozen=True)
class Sentence:
    """The answer on one scheme.

    Args:
        verdict: a key of `VERDICTS`.
        text: the sentence.
    """

    scheme: str
    verdict: str
    text: str

    @property
    def short(self) -> str:
        """Return the verdict in a few words."""
        return VERDICTS[self.verdict]


def answers(run: RunData) -> list[Sentence]:
    """Return a sentence for each distilling scheme of the run."""
    largest = lines_of(at_largest(run.shown).drop_duplicates("scheme"))
    return [_answer(run, line) for line in largest if distils(str(line["scheme"]))]


def beside(run: RunData) -> list[str]:
    """Return what the other ways reached, a sentence each."""
    sentences = []
    for line in lines_of(at_largest(run.shown).drop_duplicates("scheme", keep="last")):
        scheme = scheme_named(str(line["scheme"]))
        if scheme.method is not None or is_blank(line["auc"]):
            continue
        words = f"{scheme.label(budget(line))}{_privately(line)}: AUC {share(line['auc'])}"
        if scheme.of_each_site:
            worst = line.get("auc_worst_site")
            tail = "" if worst is None or is_blank(worst) else f", the weakest {share(worst)}"
            sentences.append(f"{words} on average over sites{tail}.")
        else:
            sentences.append(f"{words} for {size(_bytes(line))}{_to_random(line) if scheme.has_rounds else ''}.")
    return [*sentences, *_at_sites(run), *_over_points(run), *_over_partitions(run)]


def _privately(line: Mapping[str, Any]) -> str:
    """Return the words for a line's epsilon; none without one.

    >>> _privately({"epsilon": 10.0}), _privately({"epsilon": float("nan")})
    (', trained under differential privacy (epsilon 10)', '')
    """
    epsilon = line.get("epsilon")
    if epsilon is None or is_blank(epsilon):
        return ""
    return f", trained under differential privacy (epsilon {epsilon:g})"


def _answer(run: RunData, line: Mapping[str, Any]) -> Sentence:
    scheme, ipc = str(line["scheme"]), int(line["ipc"])
    central = scheme_named(scheme).one_place
    each = f"{ipc} distilled image{'s' if ipc > 1 else ''} per class"
    if central:
        start = f"Distilling all sites' data in one place, as many images as {each} from every site ({scheme})"
    else:
        answered = int(line["n_sites"])
        sites = "all sites" if answered == len(run.sites) else f"{answered} of {len(run.sites)} sites"
        start = f"Sharing {each} ({scheme}, {size(line['bytes_shared'])} from {sites} together)"
    if is_blank(line["auc"]) and not is_blank(line["accuracy"]):
        text = f"{start} reached accuracy {share(line['accuracy'])}; AUC is not defined on this test split."
        return Sentence(scheme, "unknown", text)
    if is_blank(line["auc"]):
        return Sentence(scheme, "unknown", f"{start} gave networks that diverged: nothing was measured.")
    against = [f"{share(full['auc'])} with all images shared" for full in _lines(run, "full", None)]
    randoms = _lines(run, "random", ipc)
    against += [f"{share(random['auc'])} with as many random ones" for random in randoms]
    text = f"{start} reached AUC {share(line['auc'])}"
    text += f", against {' and '.join(against)}." if against else "."
    low, high = (float(line.get(f"auc_vs_random_{end}", float("nan"))) for end in ("low", "high"))
    if is_blank(low):
        open_ = "Random images were not run beside it: what distilling adds is open."
        return Sentence(scheme, "unknown", f"{text} {open_}")
    verdict, said = _said(low, high)
    between = f"The 95 % interval of the difference to random is {_span(low, high)}: {said}."
    return Sentence(scheme, verdict, f"{text} {between}")


def _said(low: float, high: float) -> tuple[str, str]:
    """Return a verdict and its words for the interval (low, high) of a difference to random images.

    >>> _said(-0.008, 0.015)[1], _said(0.001, 0.02)[0], _said(-0.03, -0.01)[0]
    ('it includes zero, so no gain is proven', 'gain', 'loss')
    """
    if low > 0:
        return "gain", "more than random images give"
    if high < 0:
        return "loss", "less than random images give"
    return "open", "it includes zero, so no gain is proven"


def _at_sites(run: RunData) -> Iterator[str]:
    """Yield how many sites gained over their own networks, by the first distilling scheme."""
    for line in lines_of(at_largest(run.shown)):
        if distils(str(line["scheme"])) and not is_blank(line.get("sites_gaining")):
            gaining, worst = int(line["sites_gaining"]), minus(points(line["site_gain_worst"]))
            yield (
                f"On images that they set aside, {gaining} of {len(run.sites)} sites did better with {line['scheme']} "
                f"{budget(line)} than with their own networks; the site that gained least: {worst}{NBSP}points."
            )
            return


def _over_points(run: RunData) -> Iterator[str]:
    """Yield how often a distilling scheme's interval excludes zero over a sweep's points."""
    if run.swept:
        yield from _counted(run, run.swept, "the points of the sweep")


def _over_partitions(run: RunData) -> Iterator[str]:
    if not run.swept and run.plan.first.partitions > 1:
        yield from _counted(run, ["partition"], "the redraws of who holds what")


def _counted(run: RunData, columns: list[str], what: str) -> Iterator[str]:
    frame = run.whole
    if "auc_vs_random_low" not in frame:
        return
    frame = frame[(frame["recipe"] == "common") & frame["auc_vs_random_low"].notna()]
    for scheme in dict.fromkeys(frame["scheme"]):
        if not distils(scheme):
            continue
        results = first_of(frame[frame["scheme"] == scheme], ["model"])
        results = results[results["ipc"] == results.groupby(columns)["ipc"].transform("max")]
        # Points that differ in what a scheme has nothing to do with have one result of it.
        results = results.drop_duplicates(["auc", "auc_vs_random_low", "auc_vs_random_high"])
        better, worse = int((results["auc_vs_random_low"] > 0).sum()), int((results["auc_vs_random_high"] < 0).sum())
        open_ = len(results) - better - worse
        yield (
            f"Over {what}, {scheme} at its largest budget has {len(results)} result{'s' * (len(results) > 1)}: better "
            f"than random images {times(better)}, worse {times(worse)}, and {times(open_)} the interval includes zero."
        )


def first_point_words(run: RunData) -> str:
    """Return what the first point of a sweep is; empty where nothing is swept."""
    first = run.shown
    return ", ".join(f"{name} {word(first[name].iloc[0])}" for name in run.swept) if len(first) else ""


def _span(low: float, high: float) -> str:
    r"""Return an interval of shares as words, in points.

    >>> _span(-0.008, 0.015)
    '−0.8 to +1.5\xa0points'
    """
    return f"{minus(span(low, high))}{NBSP}points"


def _to_random(line: Mapping[str, Any]) -> str:
    low, high = (float(line.get(f"auc_vs_random_{end}", float("nan"))) for end in ("low", "high"))
    return "" if is_blank(low) else f" ({_span(low, high)} to random images)"


def _bytes(line: Mapping[str, Any]) -> float:
    return float(line["bytes_up"]) + float(line["bytes_down"])


def _lines(run: RunData, scheme: str, ipc: int | None) -> list[dict[str, Any]]:
    """Return a scheme's line with this budget; none where it has no AUC."""
    lines = run.shown[(run.shown["scheme"] == scheme) & run.shown["auc"].notna()]
    return lines_of((lines if ipc is None else lines[lines["ipc"] == ipc]).iloc[:1])
