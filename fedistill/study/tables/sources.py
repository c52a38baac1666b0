"""sources.csv: the metrics on each of the sets that a test split consists of.

Overall metrics hide poor results on a small set behind a large one. The networks and their probabilities are those of
results.csv: nothing is trained or scored again.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fedistill.schemes.server.condition import Result
from fedistill.study.preflight import SourceSet
from fedistill.training.metrics import score

METRICS = ("accuracy", "balanced_accuracy", "auc")

KEYS = ["partition", "scheme", "ipc", "rounds", "seed", "recipe", "model", "site", "left_out"]
"""Columns that identify a condition."""


def score_sources(labels: np.ndarray, sources: Sequence[SourceSet], scored: Sequence[Result]) -> pd.DataFrame:
    """Return a row for each condition, network and source.

    Args:
        labels: int64 (N,) or (N, L), of the test split.
        sources: the sets that it consists of, in order.
        scored: results with the networks' probabilities on it.

    Returns:
        `KEYS`, ``network``, ``source``, ``test_images`` of it, and the metrics of `score_source`.
    """
    rows: list[dict[str, Any]] = []
    for each in scored:
        condition = {name: getattr(each.condition, name) for name in KEYS}
        for network, probabilities in enumerate(each.probabilities):
            first = 0
            for source in sources:
                part = slice(first, first + source.images)
                about = {"network": network, "source": source.name, "test_images": source.images}
                rows.append({**condition, **about, **score_source(labels, probabilities, part)})
                first += source.images
    frame = pd.DataFrame(rows, columns=[*KEYS, "network", "source", "test_images", *METRICS])
    for column in ("ipc", "rounds"):
        frame[column] = frame[column].astype("Int64")
    return frame


def score_source(labels: np.ndarray, probabilities: np.ndarray, part: slice) -> dict[str, float]:
    """Return the metrics of one network on one source's images, in 0..1.

    ``accuracy`` and ``balanced_accuracy``, the mean recall of the source's classes, count predictions of any class.
    ``auc`` is the mean over these classes of the probability that an image of the source scores higher in its class
    than an image of another class from any source, so it is defined for a source of a single class, too. Multi-label
    metrics are those of `score` on the source's images. All are NaN for non-finite probabilities or without images.

    Args:
        labels: of all sources, int64 (N,) or (N, L).
        probabilities: float (N, K), or (N, L).
        part: positions of the source's images.

    >>> p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    >>> score_source(np.array([0, 0, 1]), p, slice(0, 2))
    {'accuracy': 0.5, 'balanced_accuracy': 0.5, 'auc': 1.0}
    """
    own, given = labels[part], probabilities[part]
    if not len(own) or not np.isfinite(probabilities).all():
        return dict.fromkeys(METRICS, float("nan"))
    if labels.ndim == 2:
        metrics = score(own, given)
        return {name: metrics[name] for name in METRICS}
    hit, classes = given.argmax(1) == own, np.unique(own)
    aucs = [_ahead(given[own == k, k], probabilities[labels != k, k]) for k in classes]
    known = [value for value in aucs if not np.isnan(value)]
    return {
        "accuracy": float(hit.mean()),
        "balanced_accuracy": float(np.mean([hit[own == k].mean() for k in classes])),
        "auc": float(np.mean(known)) if known else float("nan"),
    }


def _ahead(first: np.ndarray, others: np.ndarray) -> float:
    """Return the share of pairs in which the first is larger, ties counting half; NaN without a pair."""
    if not len(others):
        return float("nan")
    ranked = np.sort(others)
    below, upto = np.searchsorted(ranked, first, "left"), np.searchsorted(ranked, first, "right")
    return float((below + upto).mean() / (2 * len(others)))
