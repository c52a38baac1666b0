"""The metrics of an attack: AUC, TPR at 1 % and at 0.1 % FPR, each with a 95 % interval.

Scores of one shadow share its randomness, and scores of one record share the record, so neither is an independent
trial. Every replicate of the bootstrap draws pairs of shadows and records (patients, where records have groups), each
with replacement, and takes every score as often as its shadow times its record was drawn (the pigeonhole bootstrap,
Owen, Annals of Applied Statistics 2007, arXiv 0712.1111): its intervals err on the wide side. Scores are not computed
anew: a replicate does not repeat the attack with fewer references. On simulated attacks of 16 and 32 shadows, with and
without a leak, 94 to 99 of 100 intervals of the AUC held the truth, and 94 to 100 of the true-positive rate at 1 %.

Beside these averages stands the record of which the attack tells most: see `fedistill.privacy.attacks.exposed`.

Clopper-Pearson intervals hold only for independent trials: one attacked model, and records that nothing ties together.
"""

from dataclasses import dataclass

import numpy as np

from fedistill.core.seeds import rng
from fedistill.errors import SettingError
from fedistill.privacy.attacks.exposed import most_exposed
from fedistill.privacy.attacks.roc import Curve, curve, ranked
from fedistill.privacy.attacks.shadow_design import Design

FPRS = {"tpr_at_1": 0.01, "tpr_at_01": 0.001}
"""False-positive rates at which true positives are reported. An attack's advantage, as schemes are compared by, is its
``auc`` and its ``tpr_at_1``; telling nothing is 0.5 and 0.01."""

REPLICATES = 500
LEVEL = 0.95
_BLOCK = 1 << 21  # numbers in one intermediate array: 16 MB
_ROUND = 1e-9


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval; NaN where nothing can be said."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Leak:
    """The metrics of one attack.

    Args:
        auc, tpr_at_1, tpr_at_01: see `FPRS`.
        exposed: how often the most exposed record is told; see `most_exposed`.
        curve: of all scores together.
        shadows, records: attacked.
    """

    auc: Interval
    tpr_at_1: Interval
    tpr_at_01: Interval
    exposed: Interval
    curve: Curve
    shadows: int
    records: int

    def row(self) -> dict[str, float | int]:
        """Return the metrics as a table's row.

        Its keys: ``auc, auc_low, auc_high, tpr_at_1, ..., exposed, ..., members, nonmembers, shadows, records``.
        """
        row: dict[str, float | int] = {}
        for name in ("auc", *FPRS, "exposed"):
            estimate: Interval = getattr(self, name)
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        counts = {"members": self.curve.members, "nonmembers": self.curve.nonmembers}
        return row | counts | {"shadows": self.shadows, "records": self.records}


def measure(scores: np.ndarray, design: Design, *, seed: int, replicates: int = REPLICATES) -> Leak:
    """Measure how well an attack's scores separate members from non-members.

    Args:
        scores: float (S, N), high: a member.
        design: who was in.
        seed: of the bootstrap.
        replicates: of the bootstrap.

    Raises:
        SettingError: scores that do not fit the design, or are no numbers.
    """
    if scores.shape != design.membership.shape:
        raise SettingError("The scores do not fit the design.", expected=design.membership.shape, found=scores.shape)
    whole = curve(scores, design.membership)
    drawn = _bootstrap(scores, design, rng(seed, "bootstrap"), replicates)
    names = ("auc", *FPRS)
    values = (whole.auc, *(whole.tpr_at(fpr) for fpr in FPRS.values()))
    estimates = {name: _estimate(value, column) for name, value, column in zip(names, values, drawn.T, strict=True)}
    exposed = Interval(*most_exposed(scores, design))
    return Leak(**estimates, exposed=exposed, curve=whole, shadows=design.shadows, records=design.records)


def _estimate(value: float, replicates: np.ndarray) -> Interval:
    known = replicates[~np.isnan(replicates)]
    if np.isnan(value) or not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def _bootstrap(scores: np.ndarray, design: Design, random: np.random.Generator, replicates: int) -> np.ndarray:
    """Compute AUC and the TPRs at `FPRS` in each replicate, float64 (replicates, 3)."""
    pairs, units = design.shadows // 2, int(design.unit.max()) + 1
    # A pair is drawn as one: what one half's shadow holds the other's does not.
    drawn_pairs = random.multinomial(pairs, np.full(pairs, 1 / pairs), size=replicates).astype(np.float64)
    drawn_units = random.multinomial(units, np.full(units, 1 / units), size=replicates).astype(np.float64)
    order, ends = ranked(scores.ravel())
    pair, unit = order // design.records // 2, design.unit[order % design.records]
    member = design.membership.ravel()[order]
    rows, parts = max(1, _BLOCK // len(order)), []
    for at in range(0, replicates, rows):
        weights = drawn_pairs[at : at + rows][:, pair] * drawn_units[at : at + rows][:, unit]
        true_positives = np.cumsum(weights * member, 1)[:, ends]
        false_positives = np.cumsum(weights * ~member, 1)[:, ends]
        parts.append(_figures(true_positives, false_positives))
    return np.concatenate(parts)


def _figures(true_positives: np.ndarray, false_positives: np.ndarray) -> np.ndarray:
    """Compute AUC and TPRs, (B, 3), from weighted counts at each threshold, (B, T)."""
    true_positives, false_positives = (np.pad(counts, ((0, 0), (1, 0))) for counts in (true_positives, false_positives))
    inside, outside = true_positives[:, -1], false_positives[:, -1]
    area = (np.diff(false_positives) * (true_positives[:, 1:] + true_positives[:, :-1])).sum(1) / 2
    with np.errstate(invalid="ignore", divide="ignore"):  # nobody was drawn on one side: NaN
        columns = [area / (inside * outside)]
        for fpr in FPRS.values():
            # The last threshold that accuses no more than allowed; the first one accuses nobody.
            last = (false_positives <= fpr * outside[:, None] * (1 + _ROUND)).sum(1) - 1
            columns.append(true_positives[np.arange(len(true_positives)), last] / inside)
    return np.stack(columns, 1)
