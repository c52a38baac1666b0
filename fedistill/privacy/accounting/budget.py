"""The arithmetic of a site's privacy budget, over the charges in its ledger (`fedistill.privacy.accounting.ledger`).

Epsilons of several Releases of the same patients do not simply add up: they are composed, as one sequence of noisy sums
(see `fedistill.core.accounting`), which is tighter, and never above the sum. Everything in one ledger composes,
whatever the images' fingerprints are: with one image more, the patients are still the same. A hospital whose data sets
hold different patients keeps a ledger for each.

What was charged counts, whether or not a Release came of it. Seeded noise is the exception that a simulation needs: the
same answers asked for again are the same numbers, and cost once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedistill.core.accounting import PrivacyCost, epsilon_of
from fedistill.errors import PolicyError

SLACK = 1e-6
"""Share by which a total may lie above a limit that it was chosen to reach: what floating-point sums may differ by."""


@dataclass(frozen=True)
class Charge:
    """Noise that was paid for, before it was drawn.

    Args:
        key: SHA-256 of what determines the answers.
        account: budgets add up within one. Empty at a real site, which has one; in a simulation, schemes and repeats
            are alternatives of which a site would release one, and each has its own.
        images: fingerprint of the images asked.
        unit: whom the bound is for, ``image`` or ``patient``.
        entropy: of the noise, ``seeded`` (a simulation's) or ``system``.
        cost: what is spent.
        limit: the policy's epsilon_max and delta at that time; None where it set none.
    """

    key: str
    account: str
    images: str
    unit: str
    entropy: str
    cost: PrivacyCost
    limit: tuple[float, float] | None = None


def spent(costs: Sequence[PrivacyCost], *, delta: float) -> float:
    """Compute the epsilon of these costs together at this delta; by ``rdp`` if any of them was counted by it.

    >>> from fedistill.core.accounting import Mechanism
    >>> one = PrivacyCost(Mechanism(sigma=2.0), epsilon=2.0, delta=1e-5)
    >>> spent([], delta=1e-5), round(spent([one], delta=1e-5), 2), round(spent([one] * 4, delta=1e-5), 2)
    (0.0, 1.99, 4.38)
    """
    accountant = "rdp" if any(cost.accountant == "rdp" for cost in costs) else "pld"
    return epsilon_of([cost.mechanism for cost in costs], delta=delta, accountant=accountant)


def within(costs: Sequence[PrivacyCost], *, epsilon: float, delta: float) -> bool:
    """Return whether these costs together stay within a budget.

    A single cost is believed to keep its promise and is not counted again.
    """
    if len(costs) == 1 and costs[0].delta <= delta and costs[0].epsilon <= epsilon:
        return True
    return spent(costs, delta=delta) <= epsilon * (1 + SLACK)


def of_account(charges: Sequence[Charge], account: str) -> list[PrivacyCost]:
    """Return the costs that were charged to an account."""
    return [charge.cost for charge in charges if charge.account == account]


def already_paid(charges: Sequence[Charge], charge: Charge) -> bool:
    """Return whether the same seeded answers were charged to the same account before."""
    return charge.entropy == "seeded" and any(
        (each.key, each.account) == (charge.key, charge.account) for each in charges
    )


def require_affordable(before: Sequence[Charge], new: Sequence[Charge]) -> None:
    """Refuse charges that a site's budget does not cover, all of them or none.

    Args:
        before: of the ledger.
        new: of one account and one policy.

    Raises:
        PolicyError: names the rule, what was spent, and what this would spend.
    """
    fresh = [charge for charge in new if not already_paid(before, charge)]
    if not fresh or fresh[0].limit is None:
        return
    epsilon, delta = fresh[0].limit
    paid, requested = of_account(before, fresh[0].account), [charge.cost for charge in fresh]
    if within([*paid, *requested], epsilon=epsilon, delta=delta):
        return
    total = spent([*paid, *requested], delta=delta)
    raise PolicyError(
        "The site's policy forbids it: its privacy budget does not cover it (rule epsilon_max). No noise was drawn.",
        expected=f"epsilon {epsilon:g} at delta {delta:g} in all",
        found=f"{spent(paid, delta=delta):.4g} spent before, {total:.4g} with this",
        mend="ask for a smaller epsilon, or for answers that were paid for before",
    )
