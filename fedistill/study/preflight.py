"""What every point of a plan needs of its data, tried before any work."""

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


class Source(NamedTuple):
    """A set that a test split is joined of.

    Args:
        name: as the tables call it.
        images: it has in the test split.
        licence: of its data; empty where nobody said.
    """

    name: str
    images: int
    licence: str


@dataclass(frozen=True, eq=False)
class Ready:
    """One point's data.

    Args:
        test: the official test split.
        divided: who holds what, a redraw after another.
        sources: what the test split is joined of, in this order.
        val: the official validation split as a whole, where recipes are chosen on the coordinator's own.
    """

    test: ImageSet
    divided: list[Holdings]
    sources: tuple[Source, ...]
    val: ImageSet | None = None

    def notes(self) -> list[str]:
        """What people should know of these data before they wait for results, a line each."""
        return [*_of_auc(self.test), *_of_absent(self.test, self.divided)]


def _of_auc(test: ImageSet) -> list[str]:
    without = without_auc(test.labels, test.n_classes)
    if not without:
        return []
    names = [test.class_names[k] for k in without]
    if len(without) == test.n_classes:
        return [
            f"AUC is not defined on these {len(test):,} test images: no class has both images of it and images of "
            "others among them. It is shown as undefined; accuracy is measured."
        ]
    return [f"AUC is the mean over the other classes, as all test images or none are of {_listed(names)}."]


def _of_absent(test: ImageSet, divided: Sequence[Holdings]) -> list[str]:
    """Classes that no split has: a label that was mistyped makes more of them than there are."""
    if not divided or not divided[0].shares:
        return []  # deployed: what the sites hold is not known here
    counts = test.counts()
    for share in divided[0].shares:
        counts = counts + share.train.counts() + share.val.counts() + share.held_out.counts()
    if divided[0].unheld != (0, 0):
        return []  # images that nobody holds may be of any class
    names = [test.class_names[k] for k in range(test.n_classes) if not counts[k]]
    return [f"No split has an image of {_listed(names)}: a class that is none?"] if names else []


def _listed(names: Sequence[str]) -> str:
    """Some names in words.

    >>> _listed(["a"]), _listed([f"class {k}" for k in range(9)])
    ("'a'", "'class 0', 'class 1', 'class 2', 'class 3', 'class 4' and 4 more")
    """
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def made_ready(
    plan: Plan, data_root: str | None, *, deployed: bool = False
) -> tuple[list[Ready], list[tuple[str, Any, Tensors]]]:
    """Every point's test split and every redraw of who holds what, for a rule that fails should do so before any work.

    Also what was drawn, to be kept. Points with the same data share them. Only the first division keeps its images, but
    where there is an audit, whose shadows are made of them. Of sites that are ``deployed`` nobody here knows what they
    hold: they have no shares.
    """
    audited = any(point.simulation.audit is not None for point in plan.points)
    drawn: list[tuple[str, Any, Tensors]] = []

    def note(kind: str, detail: Any, make: Callable[[], Tensors]) -> Tensors:
        drawn.append((kind, detail, make()))
        return drawn[-1][2]

    tests: dict[Any, tuple[ImageSet, tuple[Source, ...]]] = {}
    divided: dict[Any, Holdings] = {}
    ready = []
    for point in plan.points:
        federation = point.simulation.federation
        pictures = (federation.size, federation.images, federation.data_seed)
        about = (tuple(federation.datasets()), federation.combine, *pictures)
        if about not in tests:
            parts = test_sets(federation, data_root)
            names = [Path(name).name for name in federation.datasets()]
            sources = tuple(Source(name, len(x), x.licence) for name, x in zip(names, parts, strict=True))
            tests[about] = concatenate(parts), sources
            if len(tests[about][0]) == 0:
                raise DataError("The test split is empty: there is nothing to compare on.")
        keys = [(federation.model_dump_json(), redraw) for redraw in range(point.simulation.partitions)]
        for key in keys:
            if deployed:
                divided[key] = Holdings((), (0, 0))
            elif key not in divided:
                held = holdings(federation, key[1], data_root, note)
                divided[key] = census(held) if divided and not audited else held
        test, sources = tests[about]
        own = point.simulation.recipe.chosen_on == "coordinator"
        val = val_set(federation, data_root) if own else None
        if val is not None and not len(val):
            raise DataError(
                'recipe.chosen_on = "coordinator", and the validation split is empty.', mend='chosen_on = "pool"'
            )
        ready.append(Ready(test, [divided[key] for key in keys], sources, val))
    return ready, drawn
