"""The results as tables, the same ones for the terminal and for benchmarks.md."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Sheet:
    """One table: a title, columns, rows of words, and what there is to say under it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def sheets(results: dict[str, Any]) -> Iterator[Sheet]:
    """Every table that these results fill; a part that was not measured has none."""
    for source, part in results.get("steps", {}).items():
        yield _steps(source, part)
    for source, part in results.get("memory", {}).items():
        yield _memory(source, part)
    for source, part in results.get("quality", {}).items():
        for ipc, found in part["found"].items():
            yield _ends(source, ipc, found, part["conditions"])
            yield _crossings(source, ipc, found)
            yield _curve(source, ipc, found)


def markdown(results: dict[str, Any]) -> str:
    """benchmarks.md."""
    opening = "Plain textbook versions and FeDistill's in turn, equal work on the same threads."
    return as_markdown("Benchmarks", opening, sheets(results))


def as_markdown(title: str, opening: str, tables: Iterable[Sheet]) -> str:
    """A page of tables."""
    lines = [f"# {title}", "", opening, ""]
    for sheet in tables:
        lines += [f"## {sheet.title}", ""]
        lines += ["| " + " | ".join(sheet.columns) + " |", "|" + "---|" * len(sheet.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in sheet.rows]
        lines += ["", *[note + "\n" for note in sheet.notes]]
    return "\n".join(lines).rstrip() + "\n"


def show(results: dict[str, Any], console: Console) -> None:
    """The same in a terminal."""
    show_sheets(sheets(results), console)


def show_sheets(tables: Iterable[Sheet], console: Console) -> None:
    """Tables in a terminal."""
    for sheet in tables:
        table = Table(title=sheet.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for i, column in enumerate(sheet.columns):
            table.add_column(column, justify="left" if i == 0 or column == "side" else "right")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
        for note in sheet.notes:
            console.print(note, style="dim", markup=False)


def _steps(source: str, part: dict[str, Any]) -> Sheet:
    rows = []
    for title, case in part["found"].items():
        for side, each in case["sides"].items():
            faster = case["times faster"].get(side)
            seconds = f"{each['median']:.3g} ({each['low']:.3g}-{each['high']:.3g})"
            ratio = "" if faster is None else f"{faster['of medians']:.2f} ({faster['low']:.2f}-{faster['high']:.2f})"
            rows.append((title if faster is None else "", side, seconds, ratio))
    note = f"Median of {part['conditions']['repeats']} (quartiles), taken in turn. {_where(part['conditions'])}"
    return Sheet(f"{source}: seconds per step", ("work", "side", "seconds", "times faster"), rows, (note,))


def _memory(source: str, part: dict[str, Any]) -> Sheet:
    rows = []
    for side, by_steps in part["found"].items():
        for steps, each in by_steps.items():
            if steps.isdigit():
                rows.append((side, steps, f"{each['median'] / 2**20:.0f}", f"{each['before'] / 2**20:.0f}", ""))
        rows[-1] = (*rows[-1][:-1], f"{by_steps['most against least']:.2f}")
    columns = ("side", "synthetic steps", "peak MiB", "before it MiB", "most steps against least")
    note = (
        f"Most resident memory of a fresh process, median of {part['conditions']['repeats']}; before it: Python, "
        f"PyTorch and the images. {_where(part['conditions'])}"
    )
    return Sheet(f"{source}: peak memory of an MTT iteration, ipc 10", columns, rows, (note,))


def _ends(source: str, ipc: str, found: dict[str, Any], under: dict[str, Any]) -> Sheet:
    plain, ours, away = found["plain"][-1], found["FeDistill"], found["difference"]
    whole = "published schedule" if found["whole schedule"] else "cut"
    rows = [
        (f"plain, {plain['iteration']} iterations ({whole})", *_point(plain), ""),
        ("FeDistill, as shipped", *_point(ours), _times(*[found["times less"]["wall"]] * 2)),
    ]
    seeds, networks = len(found["seeds"]), len(ours["samples"]["auc"][0])
    verdict = "non-inferior" if found["non-inferior"] else "not shown to be non-inferior"
    notes: tuple[str, ...] = (
        f"FeDistill's AUC less plain's, in points: {100 * away['mean']:+.2f} "
        f"(95 % {100 * away['low']:+.2f} to {100 * away['high']:+.2f}), paired by seed and network: {verdict} at a "
        f"margin of 2. {seeds} seed{'s' * (seeds > 1)}, {networks} networks each, official test split. "
        f"CPU seconds: {found['times less']['cpu']:.1f} times less.",
        f"Distilled with {listed(found['threads'])} thread(s) at width {listed(found['width'])}. {_where(under)}",
    )
    if not all(found["warm"]):
        notes += ("The plain loop's clock started cold: its seconds hold what PyTorch loads at first use, about one.",)
    columns = ("loop", "AUC % (between seeds, within)", "wall seconds", "CPU seconds", "times less wall")
    return Sheet(f"{source}: DC, ipc {ipc}, whole runs", columns, rows, notes)


def _crossings(source: str, ipc: str, found: dict[str, Any]) -> Sheet:
    rows = []
    for name, each in found["plain first crosses"].items():
        at = [str(m["iteration"]) if m else "" for m in (each["before"], each["after"])]
        between = f"{at[0] or 0} and {at[1]}" if at[1] else f"not by {at[0]}"
        rows.append((name, f"{100 * each['auc']:.2f}", between, _times(*each["wall"]), _times(*each["cpu"])))
    columns = ("quality", "AUC %", "plain gets there between iterations", "times less wall", "times less CPU")
    return Sheet(f"{source}: DC, ipc {ipc}, plain's first crossing of a quality", columns, rows)


def _curve(source: str, ipc: str, found: dict[str, Any]) -> Sheet:
    rows = [(str(mark["iteration"]), *_point(mark)) for mark in found["plain"]]
    columns = ("iterations", "AUC % (between seeds, within)", "wall seconds", "CPU seconds")
    return Sheet(f"{source}: DC, ipc {ipc}, the plain loop's curve", columns, rows)


def _point(point: dict[str, Any]) -> tuple[str, str, str]:
    spreads = [point["between seeds"], point["within seeds"]]
    said = ", ".join("-" if s is None else f"{100 * s:.2f}" for s in spreads)
    return f"{100 * point['auc']:.2f} ({said})", f"{point['wall']:.1f}", f"{point['cpu']:.1f}"


def _times(least: float | None, most: float | None) -> str:
    """What a ratio is known to be: between the mark before the crossing and the one at it."""
    if most is None:
        return "" if least is None else f"over {least:.1f}"
    if least is None:
        return f"at most {most:.1f}"
    return f"{most:.1f}" if least == most else f"{least:.1f}-{most:.1f}"


def _where(under: dict[str, Any]) -> str:
    machine = under["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores ({machine['vector instructions']}), "
        f"PyTorch {under['versions']['torch']}, {under['threads']} thread(s), width {under['width']}, "
        f"load before {machine['load before']}" + (", REHEARSAL: these numbers mean nothing" if under["quick"] else "")
    )


def listed(values: list[int]) -> str:
    """Each value once.

    >>> listed([128, 32, 128])
    '32, 128'
    """
    return ", ".join(str(v) for v in sorted(set(values)))
