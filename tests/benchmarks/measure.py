"""Time in turn and peak memory: every number comes with its spread, and every side meets the same machine.

A machine's speed drifts by tens of per cent in minutes. So the sides take turns, in an order that is reversed from one
repeat to the next, and a ratio is judged by the medians and by the spread of the repeats' own ratios.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from benchmarks import images
from benchmarks.cases import PLAIN, Sizes, cases, unroll_of
from benchmarks.child import Child, Run, Work

Say = Callable[[str], None]


def in_turn(makers: Mapping[str, Callable[[], Work]], *, threads: int, repeats: int) -> dict[str, list[Run]]:
    """Do every side's work `repeats` times, one after the other, after one call each that does not count."""
    with ExitStack() as stack:
        children = {side: stack.enter_context(Child(ours=side != PLAIN, threads=threads)) for side in makers}
        for side, maker in makers.items():
            children[side].prepare(maker)
            children[side].run()
        found: dict[str, list[Run]] = {side: [] for side in makers}
        for repeat in range(repeats):
            for side in list(makers) if repeat % 2 == 0 else reversed(list(makers)):
                found[side].append(children[side].run())
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'low': 1.5, 'high': 2.5}
    """
    low, high = np.quantile(values, [0.25, 0.75])
    return {"median": statistics.median(values), "low": float(low), "high": float(high)}


def compared(runs: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Each side's samples and their spread, and how many times faster than plain: the ratio of the medians, with the
    quartiles of the ratios taken repeat by repeat.

    >>> found = compared({"plain": [2.0, 4.0, 6.0], "FeDistill": [1.0, 2.0, 2.0]})
    >>> found["times faster"]["FeDistill"]
    {'of medians': 2.0, 'low': 2.0, 'high': 2.5}
    """
    plain = runs[PLAIN]
    faster = {}
    for side, values in runs.items():
        if side != PLAIN:
            ratios = spread([a / b for a, b in zip(plain, values, strict=True)])
            of_medians = statistics.median(plain) / statistics.median(values)
            faster[side] = {"of medians": of_medians, "low": ratios["low"], "high": ratios["high"]}
    sides = {side: {"samples": list(values), **spread(values)} for side, values in runs.items()}
    return {"sides": sides, "times faster": faster}


def steps(
    name: str,
    root: str | None,
    sizes: Sizes,
    *,
    every: bool,
    threads: int,
    repeats: int,
    say: Say,
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Time the cases on one image set, seconds per step; `keep` gets what there is after each."""
    train, found = images.load(name, "train", root), {}
    for title, build in cases(sizes, every=every).items():
        say(f"{name}: {title}")
        case = build(train)
        makers = {side: partial(_timed_work, name, root, sizes, title, side) for side in case.sides}
        runs = in_turn(makers, threads=threads, repeats=repeats)
        found[title] = {
            **compared({side: [run.wall / case.steps for run in each] for side, each in runs.items()}),
            "steps in a sample": case.steps,
            "cpu": {side: [run.cpu / case.steps for run in each] for side, each in runs.items()},
        }
        keep(found)


def _timed_work(name: str, root: str | None, sizes: Sizes, title: str, side: str) -> Work:
    return cases(sizes)[title](images.load(name, "train", root)).sides[side]


def memory(name: str, root: str | None, sizes: Sizes, *, threads: int, repeats: int, say: Say) -> dict[str, Any]:
    """Peak resident bytes of MTT's iteration by synthetic steps, each taken in a fresh process of its side.

    ``before`` is what the process had resident at most before the iteration: Python, PyTorch and the images.
    """
    found: dict[str, Any] = {}
    for side, unroll in sizes.unroll_memory:
        say(f"{name}: peak memory of {side}, {unroll} synthetic steps")
        runs = []
        for _ in range(repeats):
            with Child(ours=side != PLAIN, threads=threads) as child:
                child.prepare(partial(_unroll_work, name, root, sizes, unroll, side))
                runs.append(child.run())
        peaks, before = [run.peak for run in runs], [run.before for run in runs]
        found.setdefault(side, {})[str(unroll)] = {
            "samples": peaks, **spread(peaks), "before": statistics.median(before)
        }  # fmt: skip
    for peaks_of in found.values():
        least, *_, most = list(peaks_of)
        peaks_of["most against least"] = peaks_of[most]["median"] / peaks_of[least]["median"]
    return found


def _unroll_work(name: str, root: str | None, sizes: Sizes, unroll: int, side: str) -> Work:
    return unroll_of(sizes, unroll)(images.load(name, "train", root)).sides[side]
