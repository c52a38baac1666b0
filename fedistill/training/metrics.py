"""Quality of predictions as MedMNIST defines it (Yang et al., Scientific Data 10:41, 2023); balanced accuracy, F1.

`score` is for who holds the labels. `tally` gives counts that sites can add up without showing a prediction.
"""

import warnings
from dataclasses import dataclass

import numpy as np

METRICS = ("accuracy", "auc", "balanced_accuracy", "f1_macro")


def score(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Compute the four metrics, in 0..1.

    Args:
        labels: int64 (N,), or (N, L) of 0 and 1.
        probabilities: float (N, K), or (N, L) for each label on its own.

    AUC is one class against the rest, averaged over the classes that have both sides (two classes: the second's).
    Multi-label: every metric is the mean over labels, at a threshold of one half. All are NaN where a probability is no
    number; AUC alone is NaN where it is not defined: see `without_auc`.

    >>> perfect = score(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]))
    >>> perfect["auc"], perfect["accuracy"]
    (1.0, 1.0)
    """
    if not np.isfinite(probabilities).all():  # a network that diverged has no quality, and no number that hides it
        return dict.fromkeys(METRICS, float("nan"))
    if labels.ndim == 2:
        parts = []
        for k in range(labels.shape[1]):
            p = probabilities[:, k]
            parts.append(score(labels[:, k], np.stack([1 - p, p], 1)))
        # A label that nobody or everybody has leaves no AUC, and no say in the mean.
        return {m: _mean([part[m] for part in parts]) for m in METRICS}
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    guess = probabilities.argmax(1)
    with warnings.catch_warnings():
        # A class that only the predictions have is no class of the recall's mean: what scikit-learn warns of is meant.
        warnings.simplefilter("ignore", UserWarning)
        balanced = balanced_accuracy_score(labels, guess)
    return {
        "accuracy": float(accuracy_score(labels, guess)),
        "auc": _auc(labels, probabilities),
        "balanced_accuracy": float(balanced),
        "f1_macro": float(f1_score(labels, guess, average="macro", zero_division=0.0)),
    }


def _auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    present = [k for k in classes if 0 < (labels == k).sum() < len(labels)]
    return _mean([float(roc_auc_score(labels == k, probabilities[:, k])) for k in present])


def _mean(values: list[float]) -> float:
    finite = [v for v in values if not np.isnan(v)]
    return float(np.mean(finite)) if finite else float("nan")


def without_auc(labels: np.ndarray, classes: int) -> list[int]:
    """List the classes that have no AUC, because nobody has them or everybody has; they have no part in its mean.

    Where they are all of them, AUC is not defined.

    Args:
        labels: as for `score`.
        classes: how many there are.

    >>> without_auc(np.array([0, 1, 1]), 3), without_auc(np.array([1, 1]), 2)
    ([2], [0, 1])
    """
    counts = labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=classes)
    return [k for k in range(classes) if not 0 < counts[k] < len(labels)]


@dataclass(frozen=True)
class Tally:
    """Counts of one network's predictions on one site's images; tallies of several sites add up.

    Args:
        concordant: float (K,): pairs of an image of class k and one of another class, the first scored higher for k
            (ties half).
        pairs: float (K,): all such pairs.
        correct: float (K,): images of class k that were recognised. Multi-label: right decisions on label k.
        count: float (K,): images of class k. Multi-label: images.
    """

    concordant: np.ndarray
    pairs: np.ndarray
    correct: np.ndarray
    count: np.ndarray

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.concordant + other.concordant,
            self.pairs + other.pairs,
            self.correct + other.correct,
            self.count + other.count,
        )

    @property
    def auc(self) -> float:
        """Return the share of concordant pairs within sites, averaged over classes; NaN without any pair."""
        has = self.pairs > 0
        return float((self.concordant[has] / self.pairs[has]).mean()) if has.any() else float("nan")

    @property
    def accuracy(self) -> float:
        """Return the share of right decisions; NaN without any image."""
        return float(self.correct.sum() / self.count.sum()) if self.count.sum() else float("nan")

    @property
    def balanced_accuracy(self) -> float:
        """Return the share recognised, averaged over classes that have images; NaN without any image."""
        has = self.count > 0
        return float((self.correct[has] / self.count[has]).mean()) if has.any() else float("nan")


def tally(labels: np.ndarray, probabilities: np.ndarray) -> Tally:
    """Count; arguments as for `score`. No images give zeros.

    >>> one = tally(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]))
    >>> (one + one).auc, one.pairs.tolist()
    (1.0, [2.0, 2.0])
    """
    k = probabilities.shape[1]
    truth = labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(k)
    concordant, pairs = np.zeros(k), np.zeros(k)
    for c in range(k):
        positives, negatives = probabilities[truth[:, c], c], probabilities[~truth[:, c], c]
        pairs[c] = len(positives) * len(negatives)
        if pairs[c]:
            ranked = np.sort(negatives)
            below, upto = np.searchsorted(ranked, positives, "left"), np.searchsorted(ranked, positives, "right")
            concordant[c] = (below + upto).sum() / 2
    if labels.ndim == 2:
        right = (probabilities > 0.5) == truth
        return Tally(concordant, pairs, right.sum(0).astype(float), np.full(k, float(len(labels))))
    hit = truth & (probabilities.argmax(1)[:, None] == np.arange(k))
    return Tally(concordant, pairs, hit.sum(0).astype(float), truth.sum(0).astype(float))
