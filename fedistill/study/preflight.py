"""The data of every point of a plan, loaded and checked before any work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fedistill.config import Holdings, Plan, holdings, test_sets, val_set
from fedistill.config.holdings_summary import census
from fedistill.core.store import Tensors
from fedistill.data import ImageSet, concatenate
from fedistill.errors import DataError
from fedistill.training.metrics import without_auc


class SourceSet(NamedTuple):
    """A set among those that a test split consists of.

    Args:
        name: in the tables.
        images: number of its images in the test split.
        licence: of its data; empty if unknown.
    """

    name: str
    images: int
    licence: str


@dataclass(frozen=True, eq=False)
class PointData:
    """The data of one point.

    Args:
        test: the official test split.
        holdings: the sites' data, one for each redraw of the partition.
        sources: the sets that the test split consists of, in order.
        val: the whole official validation split, if the coordinator chooses recipes on it.
    """

    test: ImageSet
    holdings: list[Holdings]
    sources: tuple[SourceSet, ...]
    val: ImageSet | None = None

    def notes(self) -> list[str]:
        """Return warnings about the data, one line each."""
        return [*_undefined_auc(self.test), *_absent_classes(self.test, self.holdings)]


def _undefined_auc(test: ImageSet) -> list[str]:
    without = without_auc(test.labels, test.n_classes)
    if not without:
        return []
    names = [test.class_names[k] for k in without]
    if len(without) == test.n_classes:
        return [
            f"AUC is not defined on these {len(test):,} test images: no class has both images of it and images of "
            "others among them. It is shown as undefined; accuracy is measured."
        ]
    return [f"AUC is the mean over the other classes, as all test images or none are of {_list_names(names)}."]


def _absent_classes(test: ImageSet, redraws: Sequence[Holdings]) -> list[str]:
    """Return a warning about classes without any image, which a mistyped label adds."""
    if not redraws or not redraws[0].shares:
        return []  # deployed: the sites' data are unknown here
    counts = test.counts()
    for share in redraws[0].shares:
        counts = counts + share.train.counts() + share.val.counts() + share.held_out.counts()
    if redraws[0].unheld != (0, 0):
        return []  # images that no site holds may be of any class
    names = [test.class_names[k] for k in range(test.n_classes) if not counts[k]]
    return [f"No split has an image of {_list_names(names)}: is the label mistyped?"] if names else []


def shared_gpus(plan: Plan) -> list[str]:
    """Return a note where jobs on Ray ask for part of a GPU: what that costs, and what is faster."""
    points = [point.simulation for point in plan.points]
    sites = [each.federation.of(name).gpus for each in points for name in each.federation.sites]
    parts = sorted({share for share in (*sites, *(each.gpus for each in points)) if 0 < share < 1})
    if not parts:
        return []
    given = " and ".join(f"gpus = {share:g}" for share in parts)
    return [
        f"With {given} each job is a process of its own, and processes that share a GPU slow each other down (fourteen "
        "of them tenfold, measured on one H200): with gpus = 1 a single process drives it, stays warm, and does all "
        "jobs of sites and server in turn."
    ]


def _list_names(names: Sequence[str]) -> str:
    """Return the first names as text.

    >>> _list_names(["a"]), _list_names([f"class {k}" for k in range(9)])
    ("'a'", "'class 0', 'class 1', 'class 2', 'class 3', 'class 4' and 4 more")
    """
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def prepare_data(
    plan: Plan, data_root: str | None, *, deployed: bool = False
) -> tuple[list[PointData], list[tuple[str, Any, Tensors]]]:
    """Load every point's test split and draw every partition, so that an invalid rule fails before any work.

    Points with equal data share them. Only the first partition keeps its images, unless there is an audit, whose
    shadows need them. ``deployed`` sites have no shares, because their data are unknown here.

    Returns:
        The data of each point; and kind, detail and tensors of each partition drawn, for the store.

    Raises:
        DataError: the data cannot be loaded, a partition rule does not fit them, or a split that is needed is empty.
        PlanError: a scanner shifts the stain of grey images.
    """
    audited = any(point.simulation.audit is not None for point in plan.points)
    drawn: list[tuple[str, Any, Tensors]] = []

    def note(kind: str, detail: Any, make: Callable[[], Tensors]) -> Tensors:
        drawn.append((kind, detail, make()))
        return drawn[-1][2]

    tests: dict[Any, tuple[ImageSet, tuple[SourceSet, ...]]] = {}
    by_redraw: dict[Any, Holdings] = {}
    ready = []
    for point in plan.points:
        federation = point.simulation.federation
        pictures = (federation.size, federation.images, federation.data_seed)
        key_of_test = (tuple(federation.datasets()), federation.combine, *pictures)
        if key_of_test not in tests:
            parts = test_sets(federation, data_root)
            names = [Path(name).name for name in federation.datasets()]
            sources = tuple(SourceSet(name, len(x), x.licence) for name, x in zip(names, parts, strict=True))
            tests[key_of_test] = concatenate(parts), sources
            if len(tests[key_of_test][0]) == 0:
                raise DataError("The test split is empty: there are no images to compare on.")
        keys = [(federation.model_dump_json(), redraw) for redraw in range(point.simulation.partitions)]
        for key in keys:
            if deployed:
                by_redraw[key] = Holdings((), (0, 0))
            elif key not in by_redraw:
                drawn_holdings = holdings(federation, key[1], data_root, note)
                by_redraw[key] = census(drawn_holdings) if by_redraw and not audited else drawn_holdings
        test, sources = tests[key_of_test]
        own = point.simulation.recipe.chosen_on == "coordinator"
        val = val_set(federation, data_root) if own else None
        if val is not None and not len(val):
            raise DataError(
                'recipe.chosen_on = "coordinator" needs a validation split, and it is empty.',
                mend='set chosen_on = "pool"',
            )
        ready.append(PointData(test, [by_redraw[key] for key in keys], sources, val))
    return ready, drawn
