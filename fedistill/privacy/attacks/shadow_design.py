"""The members of each shadow: the design of a membership attack (Carlini et al., S&P 2022, arXiv 2112.03570).

The attacker is the server. It sees what a site releases, knows the method, its settings and the population, and not the
seed. So it distils random halves of the site's images itself, the shadows, and learns from them how a release differs
when a record was in it. Each shadow is attacked in turn, with the others as references.

Shadows come in pairs, a half and its complement. The references of a shadow are all but itself and its partner: then
every record is in exactly half of them, whether or not the attacked shadow held it. With the partner left among them, a
record that the shadow holds would have one reference more on the outside, and an attack could score the count.
"""

from dataclasses import dataclass

import numpy as np

from fedistill.core.seeds import rng
from fedistill.errors import SettingError

FEWEST = 6
"""Shadows at least: without one pair, two references hold a record and two do not, and a variance can be estimated."""


@dataclass(frozen=True, eq=False)
class Design:
    """Which shadow holds which record.

    Args:
        membership: bool (S, N), shadows by records; rows 2k and 2k+1 are each other's complement.
        unit: int64 (N,), records with one number are one patient's: in the same shadows, and drawn together when an
            interval is bootstrapped.

    Raises:
        SettingError: rows that are no pairs, fewer than `FEWEST`, or units that do not fit.

    >>> inside = np.array([[True, False], [False, True]] * 3)
    >>> design = Design(inside, np.array([0, 1]))
    >>> design.shadows, design.records, design.references(1).tolist()
    (6, 2, [False, False, True, True, True, True])
    """

    membership: np.ndarray
    unit: np.ndarray

    def __post_init__(self) -> None:
        inside = self.membership
        if inside.dtype != np.bool_ or inside.ndim != 2 or len(inside) < FEWEST or len(inside) % 2:
            raise SettingError(
                "This is no design of shadows.",
                expected=f"bool (shadows, records), an even number of shadows, at least {FEWEST}",
                found=f"{inside.dtype}, {inside.shape}",
            )
        if not (inside[0::2] ^ inside[1::2]).all():
            raise SettingError(
                "Shadows 2k and 2k+1 are a half of the records and the other half.",
                expected="each record in exactly one of the two",
                found="a record in both or in neither",
                mend="if a shadow failed, leave out its partner too",
            )
        if self.unit.shape != (inside.shape[1],):
            raise SettingError("The units do not fit the records.", expected=inside.shape[1:], found=self.unit.shape)

    @property
    def shadows(self) -> int:
        """Return the number of shadows, S."""
        return int(self.membership.shape[0])

    @property
    def records(self) -> int:
        """Return the number of records, N."""
        return int(self.membership.shape[1])

    def references(self, target: int) -> np.ndarray:
        """Return the shadows that an attack on this one may learn from, bool (S,): all but itself and its partner."""
        chosen = np.ones(self.shadows, bool)
        first = target - target % 2
        chosen[first : first + 2] = False
        return chosen

    def check(self, values: np.ndarray, what: str) -> None:
        """Refuse signals that are not finite numbers (S, N) or (S, N, A).

        Raises:
            SettingError: names ``what``.
        """
        if values.ndim not in (2, 3) or values.shape[:2] != self.membership.shape:
            raise SettingError(
                f"The {what} do not fit the design.",
                expected=f"{self.membership.shape}, or with one axis more",
                found=values.shape,
            )
        if not np.isfinite(values).all():
            where = np.unique(np.nonzero(~np.isfinite(values))[0])
            raise SettingError(
                f"The {what} hold values that are no numbers.",
                found=f"in shadows {', '.join(map(str, where[:8]))}",
                mend="a network that diverged tells nothing: leave its shadow out, and the shadow's partner",
            )


def halves(n: int, shadows: int, *, seed: int, groups: np.ndarray | None = None) -> Design:
    """Draw random halves of n records in pairs of shadows, so that half of the shadows hold each record.

    Args:
        n: records.
        shadows: an even number, at least `FEWEST`.
        seed: the design comes from it.
        groups: int (n,), patients; their records stay together, and halves are as equal in records as that allows.

    Raises:
        SettingError: fewer than two records or patients, or shadows that are no pairs.

    >>> design = halves(10, 8, seed=0)
    >>> design.membership.sum(0).tolist(), design.membership.sum(1).tolist()
    ([4, 4, 4, 4, 4, 4, 4, 4, 4, 4], [5, 5, 5, 5, 5, 5, 5, 5])
    """
    unit = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    if unit.shape != (n,):
        raise SettingError("The groups do not fit the records.", expected=f"({n},)", found=unit.shape)
    if n < 2 or unit.max() < 1:
        raise SettingError(
            "These records cannot be halved.", expected="at least two records, of two patients", found=f"{n} records"
        )
    if shadows < FEWEST or shadows % 2:
        raise SettingError("Shadows come in pairs.", expected=f"an even number, at least {FEWEST}", found=shadows)
    random, sizes = rng(seed, "halves"), np.bincount(unit)
    membership = np.empty((shadows, n), bool)
    for first in range(0, shadows, 2):
        membership[first] = _half(sizes, random)[unit]
        membership[first + 1] = ~membership[first]
    return Design(membership, unit.astype(np.int64))


def _half(sizes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw a random half of units, bool (U,): a coin decides between each two units of about equal size.

    Where all are equally large, every half is equally likely: which two meet is random too.
    """
    shuffled = random.permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    coins = random.integers(2, size=-(-len(sizes) // 2)).astype(bool)
    chosen = np.empty(len(sizes), bool)
    chosen[order] = np.stack([coins, ~coins], 1).reshape(-1)[: len(sizes)]
    return chosen
