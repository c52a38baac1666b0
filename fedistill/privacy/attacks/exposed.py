"""The most exposed record: the patient of whom the attack tells most, and how surely.

An average over all records hides them. But the record with the highest score among hundreds is partly the luckiest, so
it is chosen on some shadows and counted on others. The question on those is the plainest there is: of two shadows, a
half with the record and the other half without, which one holds it? Each pair of shadows is one trial, won where the
record scores higher in the shadow that holds it; a coin wins half. Pairs are drawn independently of each other, so the
interval is the exact one of Clopper and Pearson.
"""

import numpy as np

from fedistill.privacy.attacks.shadow_design import Design

LEVEL = 0.95


def most_exposed(scores: np.ndarray, design: Design) -> tuple[float, float, float]:
    """Return the share of pairs of shadows in which the most exposed record is told, with its 95 % interval.

    The record is chosen on every other pair of shadows and counted on the rest; then the other way round. The two may
    be two records.

    Args:
        scores: float (S, N), high: a member.
        design: the members of each shadow.

    >>> inside = np.array([[True, True], [False, False]] * 4)
    >>> share, low, high = most_exposed(inside * np.array([1.0, 0.0]), Design(inside, np.arange(2)))
    >>> share, round(low, 2), high
    (1.0, 0.4, 1.0)
    """
    margins = _margins(scores, design)
    wins = trials = 0.0
    for part in (0, 1):
        chosen = int(np.argmax(_clearness(margins[part::2])))
        counted = margins[1 - part :: 2, chosen]
        wins += float((counted > 0).sum() + 0.5 * (counted == 0).sum())
        trials += len(counted)
    return (wins / trials, *clopper_pearson(wins, trials))


def clopper_pearson(wins: float, trials: float) -> tuple[float, float]:
    """Return the exact 95 % interval of a chance; a tie counts as half a win.

    >>> [round(end, 4) for end in clopper_pearson(8, 10)]
    [0.4439, 0.9748]
    """
    from scipy.stats import beta

    tail = (1 - LEVEL) / 2
    low = 0.0 if wins <= 0 else float(beta.ppf(tail, wins, trials - wins + 1))
    high = 1.0 if wins >= trials else float(beta.ppf(1 - tail, wins + 1, trials - wins))
    return low, high


def _margins(scores: np.ndarray, design: Design) -> np.ndarray:
    """Return by how much each record scores higher in the shadow of a pair that holds it, float64 (S / 2, N)."""
    # Infinite scores (a Release without the record's class) as far apart as any.
    finite = scores[np.isfinite(scores)]
    most = float(np.abs(finite).max()) + 1.0 if len(finite) else 1.0
    bounded = np.clip(scores, -most, most)
    return np.where(design.membership[0::2], 1.0, -1.0) * (bounded[0::2] - bounded[1::2])


def _clearness(margins: np.ndarray) -> np.ndarray:
    """Return the mean of each record's margins over their spread, (N,).

    Half of the spread is everybody's, because few pairs say little of one record's.
    """
    own = margins.var(0)
    return np.asarray(margins.mean(0) / np.sqrt((own + own.mean()) / 2 + 1e-12))
