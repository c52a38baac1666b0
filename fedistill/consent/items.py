"""Items: the finite list of what a study asks of one site, worked out from the site's own copy of the study."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

from fedistill.config.scheme import scheme_named
from fedistill.config.simulation import Simulation
from fedistill.errors import PlanError
from fedistill.privacy.policy.rules import PolicyRequest

SCORES = "scores"
"""What stands in the place of a scheme for scores of networks, which a site may refuse by themselves."""

Kind = Literal["release", "round", "networks", "scores"]


@dataclass(frozen=True)
class Item:
    """An answer that a site is asked for in a study; a server can name it, and no more.

    Args:
        name: of the item; one name, one answer.
        kind: a Release; a network after a round; networks trained to their end; scores of networks.
        scheme: of the study.
        sends: what would leave, as a site's rules judge it.
        key: SHA-256 of what decides its bytes, so that the same Release in two studies is known as one.
        build: makes the scheme's request of what came with the message: nothing for a Release, else networks or other
            sites' Releases.
        networks: how many leave, or are scored; an ensemble that is scored is one.
        per_class: images of a class that leave, of all budgets and draws together; None: all of them.
        split: images that networks are scored on, ``val`` or ``held_out``; empty where none are scored.
    """

    name: str
    kind: Kind
    scheme: str
    sends: PolicyRequest
    key: str
    build: Callable[[Any], Any] = field(repr=False, compare=False)
    networks: int = 0
    per_class: int | None = 0
    split: str = ""


def whatever_comes(request: Any) -> Callable[[Any], Any]:
    """Return a `build` that makes this request, whatever comes with the message."""
    return lambda payload: request


def items_of(study: Simulation, site: str) -> dict[str, Item]:
    """Return all that a study asks of a site, by name, in the order of the schemes' names.

    That order is the same on both sides: what two schemes share, such as the networks of ``local`` and ``ensemble``, is
    the first one's everywhere.

    Raises:
        PlanError: the study has no such site, or asks two things under one name.
    """
    if site not in study.federation.sites:
        raise PlanError(
            f"The study {study.name!r} has no site {site!r}.",
            expected=", ".join(study.federation.sites),
            found=site,
            mend="`name` in the site's file is the name that the study's federation has for this hospital",
        )
    items: dict[str, Item] = {}
    for name in sorted(study.scheme):
        scheme = scheme_named(name)
        for item in chain(scheme.items(study, site), scheme.score_items(study, site)):
            known = items.setdefault(item.name, item)
            if known is not item and (known.kind, known.key) != (item.kind, item.key):
                raise PlanError(f"The study asks two things under the name {item.name!r}.")
    return items


def answerable(items: Mapping[str, Item], *, held_out: bool) -> dict[str, Item]:
    """Return the items that a site can answer: without images set aside, none that asks for scores on them."""
    return {name: item for name, item in items.items() if held_out or item.split != "held_out"}


def schemes_of(items: Mapping[str, Item]) -> list[str]:
    """Return the schemes of these items, in their order."""
    return list(dict.fromkeys(item.scheme for item in items.values()))
