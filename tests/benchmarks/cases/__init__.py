"""Pairs of equal work, one module per subject: a plain textbook version and FeDistill's, from the same start."""

from collections.abc import Callable
from functools import partial

from benchmarks.cases import dc, evaluation, experts, mtt
from benchmarks.cases.case import OURS, OURS_BF16, PLAIN, QUICK, Case, Sizes
from fedistill.data import ImageSet

__all__ = ["OURS", "OURS_BF16", "PLAIN", "QUICK", "Case", "Sizes", "cases", "unroll_of"]


def cases(sizes: Sizes, *, every: bool = True) -> dict[str, Callable[[ImageSet], Case]]:
    """The timed cases by name; or only those whose work differs between two sets of images of one shape."""
    matching = {
        f"DC matching step, ipc {ipc}, real batch {sizes.batch_real}": partial(dc.step, sizes=sizes, ipc=ipc)
        for ipc in (1, 10)
    }
    if not every:
        return dict(matching)
    unrolls = {f"MTT iteration, {n} steps, ipc 10": unroll_of(sizes, n) for n in sizes.unroll}
    return {
        **matching,
        "DC inner step, ipc 10": partial(dc.inner, sizes=sizes, ipc=10),
        **unrolls,
        f"expert's step, batch {sizes.batch_expert}": partial(experts.epoch, sizes=sizes),
        f"evaluation network's step, pool of {sizes.pool}": partial(evaluation.training, sizes=sizes),
    }


def unroll_of(sizes: Sizes, steps: int) -> Callable[[ImageSet], Case]:
    """MTT's iteration of so many synthetic steps."""
    return partial(mtt.iteration, sizes=sizes, ipc=10, unroll=steps)
