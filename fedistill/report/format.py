"""Numbers and conditions in words: the one set of formatters of pages, tables, figures and the terminal.

A blank stands for a number that is not there. Shares and metrics are 0..1 where they come in, and in percent or
points where they go out.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

NBSP = "\xa0"


def is_blank(value: Any) -> bool:
    """Say whether a cell holds nothing."""
    return value is None or bool(pd.isna(value)) or (isinstance(value, str) and not value)


def word(value: Any) -> str:
    """Return a cell as it is; whole floats without their point.

    >>> word(10.0), word("iid"), word(float("nan")), word(True)
    ('10', 'iid', '', 'true')
    """
    if is_blank(value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def count(value: Any) -> str:
    """Return a whole number.

    >>> count(1234.0), count(None)
    ('1,234', '')
    """
    return "" if is_blank(value) else f"{value:,.0f}"


def percent(value: Any) -> str:
    """Return a share in percent, without the sign.

    >>> percent(0.93251), percent(None)
    ('93.3', '')
    """
    return "" if is_blank(value) else f"{100 * value:.1f}"


def share(value: Any) -> str:
    r"""Return a share in percent with its sign, for a sentence.

    >>> share(0.93251)
    '93.3\xa0%'
    """
    return f"{percent(value)}{NBSP}%"


def points(value: Any) -> str:
    """Return a difference of shares in points, with its sign.

    >>> points(-0.0084), points(0.01)
    ('-0.8', '+1.0')
    """
    return "" if is_blank(value) else f"{100 * value:+.1f}"


def span(low: Any, high: Any) -> str:
    """Return an interval of a difference, in points.

    >>> span(-0.008, 0.015)
    '-0.8 to +1.5'
    """
    return "" if is_blank(low) else f"{points(low)} to {points(high)}"


def with_interval(value: Any, low: Any, high: Any) -> str:
    """Return a share with its interval, in percent; a dash where there is none.

    >>> with_interval(0.5, 0.4, 0.625), with_interval(0.5, None, None), with_interval(None, None, None)
    ('50.0 (40.0 to 62.5)', '50.0', '-')
    """
    if is_blank(value):
        return "-"
    return percent(value) + ("" if is_blank(low) else f" ({percent(low)} to {percent(high)})")


def metric(line: Mapping[Any, Any], name: str) -> str:
    """Return a metric's mean with the spread within and, in parentheses, between seeds, in percent; or why it is blank.

    >>> metric({"auc": 0.9, "auc_within": 0.01, "auc_between": 0.02}, "auc")
    '90.0 ±1.0 (2.0)'
    """
    if is_blank(line[name]):
        return why_blank(line, name)
    within, between = percent(line.get(f"{name}_within")), percent(line.get(f"{name}_between"))
    return percent(line[name]) + (within and f" ±{within}") + (between and f" ({between})")


def why_blank(line: Mapping[Any, Any], name: str) -> str:
    """Return why a metric has no number: ``diverged`` or ``undefined``.

    A network that diverged has none. Where AUC alone is blank, it is undefined: no class of the test split has both
    images of it and images of others.

    >>> why_blank({"accuracy": 0.9}, "auc"), why_blank({"accuracy": float("nan")}, "auc")
    ('undefined', 'diverged')
    """
    return "undefined" if name == "auc" and not is_blank(line.get("accuracy")) else "diverged"


def size(value: Any) -> str:
    """Return bytes in words.

    >>> size(0), size(950), size(48_200), size(3_700_000), size(2e3), size(float("nan"))
    ('0', '950 B', '48 kB', '3.7 MB', '2 kB', '')
    """
    if is_blank(value) or not value:
        return "" if is_blank(value) else "0"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            scaled = value / scale
            return f"{f'{scaled:.1f}'.removesuffix('.0') if scaled < 10 else f'{scaled:,.0f}'} {unit}"
    return f"{value:.0f} B"


def duration(seconds: float) -> str:
    """Return seconds in words, to two digits or so.

    >>> duration(0.2), duration(42.4), duration(600), duration(9000), duration(86400 * 3)
    ('0.2 s', '42 s', '10 min', '2.5 h', '3.0 d')
    """
    if seconds < 100:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"


def rate(per_second: float) -> str:
    """Return steps a second, or seconds a step where that is the larger number.

    >>> rate(12.34), rate(0.25)
    ('12.3/s', '4.0 s each')
    """
    return f"{per_second:.1f}/s" if per_second >= 1 else f"{1 / per_second:.1f} s each"


def budget(line: Mapping[Any, Any]) -> str:
    """Return a line's budget: its images per class, or its rounds.

    >>> [budget({"ipc": ipc, "rounds": rounds}) for ipc, rounds in ((10.0, None), (None, 1.0), (None, 5.0))]
    ['ipc 10', '1 round', '5 rounds']
    """
    if not is_blank(line["ipc"]):
        return f"ipc {word(line['ipc'])}"
    return "" if is_blank(line["rounds"]) else _rounds(line["rounds"])


def condition(line: Mapping[Any, Any]) -> str:
    """Return a line's scheme and budget.

    >>> condition({"scheme": "dc", "ipc": 10.0, "rounds": None})
    'dc ipc 10'
    """
    return f"{line['scheme']} {budget(line)}".strip()


def attacked(line: Mapping[Any, Any], *, with_ipc: bool = True) -> str:
    """Return what was attacked: scheme, budget, epsilon, what images start from, and the records where few were tried.

    Args:
        line: of privacy.csv.
        with_ipc: whether budgets differ, and have to be named.

    >>> line = {"scheme": "dc", "ipc": 10, "rounds": None, "epsilon": None, "start": "real", "records": "halves"}
    >>> attacked(line), attacked(line, with_ipc=False), attacked({**line, "epsilon": 1.0, "records": "canaries"})
    ('dc ipc 10 (real)', 'dc (real)', 'dc ipc 10 ε=1, canaries')
    >>> attacked({**line, "seed_known": "yes", "releases": 2})
    'dc ipc 10 (real), 2 Releases, seed known'
    """
    words = str(line["scheme"])
    if with_ipc and not is_blank(line["ipc"]):
        words += f" ipc {word(line['ipc'])}"
    if not is_blank(line["rounds"]):
        words += f" {_rounds(line['rounds'])}"
    if not is_blank(line["epsilon"]):
        words += f" ε={line['epsilon']:g}"
    elif not is_blank(line["start"]):
        words += f" ({line['start']})"
    if line.get("records") in ("canaries", "outliers"):
        words += f", {line['records']}"
    if not is_blank(line.get("releases")) and line["releases"] > 1:
        words += f", {word(line['releases'])} Releases"
    return words + (", seed known" if line.get("seed_known") == "yes" else "")


def times(number: int) -> str:
    """Return how often.

    >>> times(0), times(1), times(2), times(5)
    ('never', 'once', 'twice', '5 times')
    """
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")


def shortened(name: str, letters: int = 22) -> str:
    """Return a name of at most so many letters.

    >>> shortened("St Mary"), shortened("a very long name of a hospital")
    ('St Mary', 'a very long name of a…')
    """
    return name if len(name) <= letters else f"{name[: letters - 1].rstrip()}…"


def minus(text: str) -> str:
    """Return numbers with a minus sign in place of the hyphen.

    >>> minus("-0.8 to +1.5")
    '−0.8 to +1.5'
    """
    return text.replace("-", "−")


def _rounds(value: Any) -> str:
    return f"{word(value)} round{'' if value == 1 else 's'}"
