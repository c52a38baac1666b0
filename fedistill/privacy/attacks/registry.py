"""From the signals of all shadows to what each attack found out.

Each shadow is the target in turn, with all others but its partner as references. Attacks on the Release itself go by
how near it comes to a record (``nearest``), or by which way its class means lean (``tracing``); attacks on networks by
how sure they are of the record's label (``lira``, ``rmia``), of moved copies of it (``lira-queries``), or by how much
surer a round made them (``lira-rounds``). ``learned`` combines all of them: it is what an attacker would do.

``lira`` draws a record's shift, learned from few shadows, towards that of all records (see
`fedistill.privacy.attacks.likelihood`); ``lira-own`` takes every record's own, as published, and finds more where few
records leak much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from fedistill.errors import RunError
from fedistill.privacy.attacks.attack_metrics import REPLICATES, Leak, measure
from fedistill.privacy.attacks.learned import FEWEST_LEARNED, learned
from fedistill.privacy.attacks.likelihood import log_ratio
from fedistill.privacy.attacks.lira import lira
from fedistill.privacy.attacks.nn_attack import closeness
from fedistill.privacy.attacks.rmia import rmia
from fedistill.privacy.attacks.shadow_design import FEWEST, Design
from fedistill.privacy.attacks.shadows import Signals
from fedistill.privacy.attacks.tracing import KINDS, Tracer, Traces, chosen_shadows, tracing

SEEN = {
    "nearest-pixels": "images",
    "nearest-features": "images",
    "tracing-pixels": "images",
    "tracing-features": "images",
    "tracing-trained": "images",
    "tracing-mirrored": "images",
    "lira": "network",
    "lira-offline": "network",
    "lira-own": "network",
    "lira-queries": "network",
    "lira-rounds": "network",
    "rmia": "network",
    "rmia-offline": "network",
    "learned": "everything",
}
"""Attacks, and what each looks at: the images a site sends; or a network: one trained on the pool, or by the site."""


@dataclass(frozen=True)
class Knowledge:
    """The attacker's knowledge beside the method and its settings.

    Args:
        population: whether it has images of the same kind that the site does not hold.
        half: whether it knows of half of the other records whether they are members.
    """

    population: bool = True
    half: bool = False


@dataclass(frozen=True, eq=False)
class Evidence:
    """The evidence that an attacker has: all shadows of one target.

    Args:
        signals: a shadow each, in the design's order.
        design: the members of each shadow.
        traces: of the Releases; empty where there are none.
        knows: what else it knows.
    """

    signals: Sequence[Signals]
    design: Design
    traces: Traces = field(default_factory=dict)
    knows: Knowledge = Knowledge()

    @classmethod
    def of(
        cls, signals: Sequence[Signals], design: Design, *, tracer: Tracer | None, knows: Knowledge = Knowledge()
    ) -> "Evidence":
        """Return the evidence, with traces where all shadows sent synthetic images and there is a tracer."""
        releases = [
            (torch.from_numpy(each.images), torch.from_numpy(each.labels))
            for each in signals
            if each.images is not None and each.labels is not None
        ]
        traced = tracer is not None and len(releases) == len(signals)
        return cls(signals, design, tracer.traces(releases) if tracer is not None and traced else {}, knows)

    def only(self, chosen: np.ndarray) -> "Evidence":
        """Return the evidence on some shadows, bool (S,), whole pairs."""
        if chosen.all():
            return self
        left = [each for each, keep in zip(self.signals, chosen, strict=True) if keep]
        design = replace(self.design, membership=self.design.membership[chosen])
        return replace(self, signals=left, design=design, traces=chosen_shadows(self.traces, chosen))

    def attacks(self) -> list[str]:
        """Return the attacks that there is something for, in the order of `SEEN`."""
        first, traced = self.signals[0], {name.partition("-")[0] for name in self.traces}
        here = {
            "nearest": bool(first.distance),
            **{f"tracing-{kind}": kind in traced for kind in KINDS},
            "lira": len(first.confidence) > 0,
            "rmia": self.knows.population and len(first.probability) > 0,
            "lira-queries": first.queries is not None and len(first.queries) > 0,
            "lira-rounds": first.received is not None,
            "learned": self.design.shadows >= FEWEST_LEARNED,
        }
        return [attack for attack in SEEN if here[attack if attack in here else attack.partition("-")[0]]]


def scores(attack: str, evidence: Evidence) -> np.ndarray:
    """Compute the scores of one attack, float64 (S, N); high means member.

    >>> near = Signals({"pixels": np.zeros(1)}, np.zeros(1, bool), *[np.zeros((1, 1))] * 3)
    >>> far = replace(near, distance={"pixels": np.ones(1)})
    >>> inside = np.array([[True], [False]] * 3)
    >>> found = scores("nearest-pixels", Evidence([near, far] * 3, Design(inside, np.array([0]))))
    >>> bool((found[inside] > found[~inside].max()).all())
    True
    """
    signals, design = evidence.signals, evidence.design
    kind, _, reach = attack.partition("-")
    if kind == "learned":
        single = [each for each in evidence.attacks() if each != attack]
        return learned(lambda chosen: {each: scores(each, evidence.only(chosen)) for each in single}, design)
    if kind == "nearest":
        distance = np.stack([each.distance[reach] for each in signals])
        return closeness(distance, np.stack([each.absent for each in signals]), design)
    if kind == "tracing":
        return tracing(evidence.traces, reach, design, half=evidence.knows.half)
    if kind == "lira":
        return _lira(reach, signals, design)
    # The networks of all shadows began alike, number by number: each is held against its own likes, and averaged.
    probability, population = (
        np.stack([getattr(each, name).T for each in signals]) for name in ("probability", "population")
    )
    return rmia(probability, population, design, online=reach != "offline")


def _lira(reach: str, signals: Sequence[Signals], design: Design) -> np.ndarray:
    """Return the scores of the variants of LiRA.

    Several networks of one pool: their mean confidence. Several labels: each is a query, its axis the last.
    """
    if reach == "queries":
        copies = [_last(each.queries.mean(0)) for each in signals if each.queries is not None]
        own = [_last(each.confidence.mean(0)[None]) for each in signals]
        queries = np.concatenate([np.stack(own), np.stack(copies)], 2)
        return lira(queries, design, variance="fixed", shift="shrunk")
    if reach == "rounds":  # what a round added, round by round
        gains = [_last(each.confidence - each.received) for each in signals if each.received is not None]
        return log_ratio(np.stack(gains), design, variance="fixed", shift="shrunk")
    confidence = np.stack([each.confidence.mean(0) for each in signals])
    if reach == "own":
        return lira(confidence, design, variance="fixed", shift="own")
    return lira(confidence, design, online=reach != "offline", variance="fixed", shift="shrunk")


def _last(queries: np.ndarray) -> np.ndarray:
    """Return queries (Q, N) or (Q, N, L) as (N, Q), or (N, Q x L)."""
    return np.moveaxis(queries, 0, 1).reshape(queries.shape[1], -1)


def verdicts(evidence: Evidence, *, seed: int, replicates: int = REPLICATES) -> Mapping[str, Leak]:
    """Measure every attack that there is something for.

    Args:
        evidence: of all shadows.
        seed: of the intervals' bootstrap.
        replicates: of the bootstrap.
    """
    return {
        attack: measure(scores(attack, evidence), evidence.design, seed=seed, replicates=replicates)
        for attack in evidence.attacks()
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
