"""Division of a training set among sites, by a named rule.

The rules are Flower's partitioners (flwr-datasets). Three things are added to them: every rule draws its images at
random from our seed (five of Flower's take them in file order), a patient's images stay together, and whatever the rule
gives to nobody is reported.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedistill.core.seeds import rng, spawn
from fedistill.data.apportion import apportion
from fedistill.data.imageset import ImageSet
from fedistill.errors import DataError, nearest

# The options of every rule; those in the second set may be left out.
_OPTIONS: dict[str, tuple[set[str], set[str]]] = {
    "iid": (set(), set()),
    "dirichlet": ({"alpha"}, {"min_size"}),
    "pathological": ({"classes"}, set()),
    "shards": ({"shards"}, set()),
    "sizes": ({"sizes"}, set()),
    "linear": (set(), set()),
    "square": (set(), set()),
    "exponential": (set(), set()),
}
LARGEST_ALPHA = 1e6
"""Shares are as good as equal far below it; far above it they cannot be drawn."""

_BY_CLASS = {"dirichlet", "pathological", "shards"}


@dataclass(frozen=True, eq=False)
class Partition:
    """Positions in an ImageSet, each held by one site or by none.

    Args:
        parts: one sorted int64 array per site.
        unheld: sorted int64, the positions that no site holds.
    """

    parts: tuple[np.ndarray, ...]
    unheld: np.ndarray


def partition(train: ImageSet, rule: Mapping[str, Any], sites: int, *, seed: int | None = None) -> Partition:
    """Divide a training set among sites.

    Args:
        train: the training images.
        rule: ``by`` and that rule's options, as in a federation file:
            ``iid``;
            unequal sizes: ``linear``, ``square``, ``exponential`` (sites of growing size), or ``sizes`` with ``sizes``:
            one fraction of the whole, or one count, per site;
            unequal class mixes: ``dirichlet`` with ``alpha`` (small: unlike sites) and ``min_size`` (default 10, less
            where images are few), or ``shards`` with ``shards`` of label-sorted images per site;
            both: ``dirichlet`` with one ``alpha`` per site, in whose proportion sites hold images on average;
            missing classes: ``pathological`` with the number of ``classes`` that each site has.
            Where images have groups all numbers count groups, and a group's class is that of most of its images.
        sites: how many.
        seed: default the rule's own ``seed``, else 0.

    Raises:
        DataError: an unknown rule or option, a rule that does not fit the data, or a site that would hold nothing.
    """
    by, options = _read(rule, train.multilabel)
    seed = rule.get("seed", 0) if seed is None else seed
    unit_of, labels = _units(train)
    if not 1 <= sites <= len(labels):
        raise DataError(
            "The images cannot be divided among so many sites.",
            expected=f"1 to {len(labels)} sites, one for every {'image' if train.groups is None else 'group'}",
            found=sites,
        )
    order = rng(seed, "partition", "order").permutation(len(labels))
    taken = _divide(labels[order], by, options, sites, spawn(seed, "partition", by))
    site_of = np.full(len(labels), sites)
    for site, at in enumerate(taken):
        if len(at) == 0:
            raise DataError(
                f"This rule leaves no image for site number {site + 1} of {sites}.",
                found=dict(rule),
                mend="use fewer sites or another rule",
            )
        site_of[order[at]] = site
    parts = [np.flatnonzero(site_of[unit_of] == site) for site in range(sites + 1)]
    return Partition(tuple(parts[:-1]), parts[-1])


def _read(rule: Mapping[str, Any], multilabel: bool) -> tuple[str, dict[str, Any]]:
    by = rule.get("by")
    if not isinstance(by, str) or by not in _OPTIONS:
        raise DataError(f"There is no partition by {by!r}.", mend=nearest(str(by), _OPTIONS))
    if multilabel and by in _BY_CLASS:
        raise DataError(
            f"Images with several labels each cannot be divided by {by!r}, which needs one class per image.",
            mend=f"use one of {', '.join(sorted(set(_OPTIONS) - _BY_CLASS))}",
        )
    required, optional = _OPTIONS[by]
    options = {key: value for key, value in rule.items() if key not in ("by", "seed")}
    for key in sorted(options.keys() - required - optional):
        known = required | optional
        raise DataError(
            f"A partition by {by!r} has no option {key!r}.",
            mend=nearest(key, known) if known else "leave it out: this rule has none",
        )
    if lacking := sorted(required - options.keys()):
        raise DataError(f"A partition by {by!r} needs {', '.join(lacking)}.", found=dict(rule))
    for key in ("classes", "shards", "min_size"):
        if key in options and (type(options[key]) is not int or options[key] < 1):
            raise DataError(f"{key} of a partition by {by!r} cannot be used.", expected=">= 1", found=options[key])
    return by, options


def _units(train: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Return what is never separated: the unit (image or group) of every image (N,), and every unit's label (U,)."""
    plain = np.zeros(len(train), np.int64) if train.multilabel else train.labels
    if train.groups is None:
        return np.arange(len(train)), plain
    ids, unit_of = np.unique(train.groups, return_inverse=True)
    votes = np.zeros((len(ids), train.n_classes), np.int64)
    np.add.at(votes, (unit_of, plain), 1)
    return unit_of, votes.argmax(1)


def _divide(labels: np.ndarray, by: str, options: dict[str, Any], sites: int, seed: int) -> list[np.ndarray]:
    """Return positions per site, by one of Flower's partitioners.

    They are imported here alone, for the import costs 2 s and 186 MB.
    """
    from datasets import Dataset
    from flwr_datasets import partitioner as flower

    def make() -> Any:
        match by:
            case "iid":
                return flower.IidPartitioner(sites)
            case "linear":
                return flower.LinearPartitioner(sites)
            case "square":
                return flower.SquarePartitioner(sites)
            case "exponential":
                return flower.ExponentialPartitioner(sites)
            case "sizes":
                return flower.SizePartitioner(_counts(options["sizes"], len(labels), sites))
            case "dirichlet":
                alpha = _alpha(options["alpha"], sites)
                least = options.get("min_size", min(10, len(labels) // (2 * sites)))
                _require_enough(least, len(labels), sites)
                return flower.DirichletPartitioner(sites, "label", alpha, min_partition_size=least, seed=seed)
            case "pathological":
                return flower.PathologicalPartitioner(sites, "label", options["classes"], seed=seed)
            case _:
                return flower.ShardPartitioner(sites, "label", num_shards_per_partition=options["shards"], seed=seed)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Flower warns of is raised or reported here
        rule = make()
        rule.dataset = Dataset.from_dict({"label": labels, "at": np.arange(len(labels))})
        try:
            return [np.array(rule.load_partition(site)["at"], np.int64) for site in range(sites)]
        except (ValueError, ArithmeticError) as error:
            mend = {
                "dirichlet": "raise alpha, lower min_size, use fewer sites, or another seed",
                "pathological": "lower classes, use fewer sites, or another seed",
                "shards": "lower shards or use fewer sites",
            }
            raise DataError(
                f"A partition of {len(labels)} by {by!r} among {sites} sites failed.",
                found=f"{options}: {error}",
                mend=mend.get(by, "use fewer sites"),
            ) from error


def _require_enough(least: int, total: int, sites: int) -> None:
    if least * sites > total:
        raise DataError(
            f"min_size = {least} for each of {sites} sites is more than the {total} that there are.",
            expected=f"at most {total // sites}",
            found=least,
            mend="lower min_size, or use fewer sites",
        )


def _alpha(alpha: Any, sites: int) -> Any:
    each = alpha if isinstance(alpha, list) else [alpha] * sites
    numbers = all(isinstance(a, int | float) and not isinstance(a, bool) and 0 < a <= LARGEST_ALPHA for a in each)
    if not numbers or len(each) != sites:
        raise DataError(
            "alpha cannot be used.",
            expected=f"a number above 0 and at most {LARGEST_ALPHA:,.0f}, or {sites} of them",
            found=alpha,
            mend="for equal shares take by = 'iid'",
        )
    return [float(a) for a in each]


def _counts(sizes: Any, total: int, sites: int) -> list[int]:
    """Convert counts, or fractions of the whole, to counts per site."""
    wanted = sizes if isinstance(sizes, list | tuple) else []
    whole = all(type(s) is int for s in wanted)
    numbers = all(isinstance(s, int | float) and not isinstance(s, bool) and s > 0 for s in wanted)
    if not numbers or len(wanted) != sites or sum(wanted) > (total if whole else 1 + 1e-9):
        raise DataError(
            "sizes cannot be used.",
            expected=f"{sites} fractions, together at most 1, or {sites} counts, together at most {total}",
            found=sizes,
        )
    if whole:
        return [int(s) for s in wanted]
    shares = apportion(total, np.array([*wanted, max(0.0, 1 - sum(wanted))]))
    counts = [int(s) for s in shares[:-1]]
    if 0 in counts:
        raise DataError(
            f"These sizes leave no image for site number {counts.index(0) + 1} of {sites}.",
            expected=f"fractions of which each is at least one of the {total}",
            found=sizes,
            mend="raise its fraction, or use counts",
        )
    return counts
