"""The ROC curve of scores, its area, and the TPR at low FPR.

An attack that is sure of a few patients harms them, however it does on average; so the share of members found at a
false-positive rate of 1 % or 0.1 % is reported beside the area under the curve (Carlini et al., S&P 2022).
"""

from dataclasses import dataclass

import numpy as np

from fedistill.errors import SettingError

_ROUND = 1e-9  # 0.1 % of 1000 is one, whatever binary fractions make of it


@dataclass(frozen=True, eq=False)
class Curve:
    """A ROC curve: a point for each value of the score, from (0, 0) to (1, 1).

    Args:
        fpr, tpr: float64 (T,), shares of non-members and of members that score at least so high.
        members, nonmembers: how many there were.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    members: int
    nonmembers: int

    @property
    def auc(self) -> float:
        """Return the AUC; NaN without members or without non-members.

        It is the share of (member, non-member) pairs in which the member scores higher; ties count half.
        """
        if not self.members or not self.nonmembers:
            return float("nan")
        return float((np.diff(self.fpr) * (self.tpr[1:] + self.tpr[:-1]) / 2).sum())

    def tpr_at(self, fpr: float) -> float:
        """Return the largest TPR at an FPR of at most `fpr`.

        No interpolation: the attacker needs a threshold. NaN where there are fewer than 1 / fpr non-members, so that
        not one false alarm would be allowed: 100 for 1 %, 1000 for 0.1 %.

        >>> curve(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False])).tpr_at(0.5)
        1.0
        """
        if not self.members or not can_say(self.nonmembers, fpr):
            return float("nan")
        return float(self.tpr[self.fpr <= fpr * (1 + _ROUND)].max())

    def log_log(self, points: int = 100) -> tuple[np.ndarray, np.ndarray]:
        """Return (fpr, tpr) for two logarithmic axes: evenly spaced in log fpr, from one false positive to 1.

        Where no member is found yet there is no logarithm: those points are left out.
        """
        if not self.members or not self.nonmembers:
            return np.empty(0), np.empty(0)
        at = np.unique(np.append(np.geomspace(1 / self.nonmembers, 1.0, points), 1.0))
        tpr = self.tpr[np.searchsorted(self.fpr, at * (1 + _ROUND), side="right") - 1]
        return at[tpr > 0], tpr[tpr > 0]


def can_say(nonmembers: int, fpr: float) -> bool:
    """Return whether there are enough non-members, 1 / fpr, to estimate a TPR at this FPR.

    >>> can_say(1000, 0.001), can_say(999, 0.001)
    (True, False)
    """
    return nonmembers * fpr >= 1 - _ROUND


def curve(scores: np.ndarray, members: np.ndarray) -> Curve:
    """Compute the ROC curve of scores that are high for members.

    Args:
        scores: float, any shape, infinities allowed.
        members: bool, the same shape.

    Raises:
        SettingError: shapes that differ, or a score that is no number.

    >>> c = curve(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]))
    >>> c.fpr.tolist(), c.tpr.tolist(), c.auc
    ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0], 0.875)
    """
    scores, members = np.asarray(scores, np.float64).ravel(), np.asarray(members)
    if members.dtype != np.bool_ or members.size != scores.size:
        raise SettingError(
            "Scores and members do not fit.", expected=f"bool, {scores.size}", found=f"{members.dtype}, {members.size}"
        )
    if np.isnan(scores).any():
        raise SettingError(
            "A score is no number.", expected="finite or infinite scores", found=f"{int(np.isnan(scores).sum())} NaN"
        )
    members = members.ravel()
    order, ends = ranked(scores)
    true_positives, false_positives = np.cumsum(members[order])[ends], np.cumsum(~members[order])[ends]
    inside, outside = int(members.sum()), int((~members).sum())
    return Curve(
        np.concatenate([[0.0], false_positives / max(outside, 1)]),
        np.concatenate([[0.0], true_positives / max(inside, 1)]),
        inside,
        outside,
    )


def ranked(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions by falling score, int64 (N,), and the last position of each value in that order, int64 (T,)."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    return order, np.append(np.flatnonzero(falling[1:] != falling[:-1]), max(len(scores) - 1, 0))[: len(scores)]
