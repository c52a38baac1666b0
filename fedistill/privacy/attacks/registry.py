"""From the signals of all shadows to what each attack found out.

Each shadow is the target in turn, with all others but its partner as references. Attacks on the Release itself go by
how near it comes to a record; attacks on the global network by how sure it is of the record's label. The two that learn
a record's shift from few shadows draw it towards that of all records (see `fedistill.privacy.attacks.likelihood`): they
find more than the paper's own where every record leaks a little.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fedistill.errors import RunError
from fedistill.privacy.attacks.attack_metrics import REPLICATES, Leak, measure
from fedistill.privacy.attacks.lira import lira
from fedistill.privacy.attacks.nn_attack import closeness
from fedistill.privacy.attacks.rmia import rmia
from fedistill.privacy.attacks.shadow_design import FEWEST, Design
from fedistill.privacy.attacks.shadows import Signals

SEEN = {
    "nearest-pixels": "images",
    "nearest-features": "images",
    "lira": "network",
    "lira-offline": "network",
    "rmia": "network",
    "rmia-offline": "network",
}
"""Attacks, and what each looks at: the images a site sends; or a network: one trained on the pool, or by the site."""


def scores(attack: str, signals: Sequence[Signals], design: Design) -> np.ndarray:
    """Compute the scores of one attack, float64 (S, N); high means member.

    Args:
        attack: of `SEEN`.
        signals: a shadow each, in the design's order.
        design: the members of each shadow.

    >>> near = Signals({"pixels": np.zeros(1)}, np.zeros(1, bool), *[np.zeros((1, 1))] * 3)
    >>> far = replace(near, distance={"pixels": np.ones(1)})
    >>> inside = np.array([[True], [False]] * 3)
    >>> found = scores("nearest-pixels", [near, far] * 3, Design(inside, np.array([0])))
    >>> bool((found[inside] > found[~inside].max()).all())
    True
    """
    if attack.startswith("nearest-"):
        space = attack.removeprefix("nearest-")
        distance = np.stack([each.distance[space] for each in signals])
        return closeness(distance, np.stack([each.absent for each in signals]), design)
    kind, _, reach = attack.partition("-")
    online = reach != "offline"
    if kind == "lira":
        # Several networks of one pool: their mean confidence. Several labels: each is a query, its axis the last.
        confidence = np.stack([each.confidence.mean(0) for each in signals])
        return lira(confidence, design, online=online, variance="fixed", shift="shrunk")
    # The networks of all shadows began alike, number by number: each is held against its own likes, and averaged.
    probability, population = (
        np.stack([getattr(each, name).T for each in signals]) for name in ("probability", "population")
    )
    return rmia(probability, population, design, online=online)


def verdicts(
    signals: Sequence[Signals], design: Design, *, seed: int, replicates: int = REPLICATES
) -> Mapping[str, Leak]:
    """Measure every attack of `SEEN`; those on images only if the scheme shares images.

    Args:
        signals: of each shadow.
        design: the members of each shadow.
        seed: of the intervals' bootstrap.
        replicates: of the bootstrap.
    """
    images = bool(signals[0].distance)
    return {
        attack: measure(scores(attack, signals, design), design, seed=seed, replicates=replicates)
        for attack, seen in SEEN.items()
        if images or seen != "images"
    }


def whole_pairs(signals: Sequence[Signals | None], design: Design, *, what: str) -> tuple[list[Signals], Design]:
    """Return the shadows whose partner succeeded too, and their design.

    Args:
        signals: None for shadows that failed.
        design: the members of each shadow.
        what: was attacked, for the message.

    Raises:
        RunError: fewer than `FEWEST` are left.
    """
    there = np.array([each is not None for each in signals])
    kept = np.repeat(there.reshape(-1, 2).all(1), 2)
    if kept.sum() < FEWEST:
        raise RunError(
            f"Too few shadows are left to attack {what}.",
            expected=f"at least {FEWEST}, in pairs",
            found=f"{int(kept.sum())} of {len(kept)}: {int((~there).sum())} failed",
            mend="see the failures folder; run again to resume, or leave the scheme out of audit.schemes",
        )
    left = [each for each, keep in zip(signals, kept, strict=True) if keep and each is not None]
    return left, replace(design, membership=design.membership[kept])
