"""sources.csv: how well networks do on each of the sets that a test split is joined of.

Overall figures hide a set that is read badly behind one that is large. The networks are the same, and so are the
probabilities: nothing is trained or scored anew.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedistill.schemes.server.condition import Result
from fedistill.study.preflight import Source
from fedistill.training.metrics import score

METRICS = ("accuracy", "balanced_accuracy", "auc")

KEYS = ["partition", "scheme", "ipc", "rounds", "seed", "recipe", "model", "site", "left_out"]
"""Columns that say which condition."""


def by_source(labels: np.ndarray, sources: Sequence[Source], scored: Sequence[Result]) -> pd.DataFrame:
    """A row a condition, network and source.

    Args:
        labels: int64 (N,) or (N, L), of the test split.
        sources: what it is joined of, in this order.
        scored: conditions with their networks' probabilities on it.

    Returns:
        `KEYS`, ``network``, ``source``, ``test_images`` of it, and the metrics of `of_source`.
    """
    rows: list[dict[str, Any]] = []
    for each in scored:
        condition = {name: getattr(each.condition, name) for name in KEYS}
        for network, probabilities in enumerate(each.probabilities):
            first = 0
            for source in sources:
                mine = slice(first, first + source.images)
                about = {"network": network, "source": source.name, "test_images": source.images}
                rows.append({**condition, **about, **of_source(labels, probabilities, mine)})
                first += source.images
    frame = pd.DataFrame(rows, columns=[*KEYS, "network", "source", "test_images", *METRICS])
    for column in ("ipc", "rounds"):
        frame[column] = frame[column].astype("Int64")
    return frame


def of_source(labels: np.ndarray, probabilities: np.ndarray, mine: slice) -> dict[str, float]:
    """The metrics of one network on one source's images, in 0..1.

    ``accuracy`` and ``balanced_accuracy``, the mean recall of the classes that the source has, let the network name any
    class. ``auc`` is the mean over these classes of how often an image of the source is given more of its class than an
    image of another class is, from whatever source: a source of a single class has one as well. Of several labels an
    image, all are as `score` has them on the source's images alone. NaN where a probability is no number, or nothing is
    there to count.

    Args:
        labels: of all sources, int64 (N,) or (N, L).
        probabilities: float (N, K), or (N, L).
        mine: which of these are the source's.

    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    >>> of_source(np.array([0, 0, 1]), p, slice(0, 2))
    {'accuracy': 0.5, 'balanced_accuracy': 0.5, 'auc': 1.0}
    """
    own, given = labels[mine], probabilities[mine]
    if not len(own) or not np.isfinite(probabilities).all():
        return dict.fromkeys(METRICS, float("nan"))
    if labels.ndim == 2:
        found = score(own, given)
        return {name: found[name] for name in METRICS}
    hit, classes = given.argmax(1) == own, np.unique(own)
    aucs = [_ahead(given[own == k, k], probabilities[labels != k, k]) for k in classes]
    known = [value for value in aucs if not np.isnan(value)]
    return {
        "accuracy": float(hit.mean()),
        "balanced_accuracy": float(np.mean([hit[own == k].mean() for k in classes])),
        "auc": float(np.mean(known)) if known else float("nan"),
    }


def _ahead(mine: np.ndarray, others: np.ndarray) -> float:
    """Share of pairs in which the first is larger, ties half; NaN without any pair."""
    if not len(others):
        return float("nan")
    ranked = np.sort(others)
    below, upto = np.searchsorted(ranked, mine, "left"), np.searchsorted(ranked, mine, "right")
    return float((below + upto).mean() / (2 * len(others)))
