"""The ``[audit]`` table of a simulation: whose images are attacked, what is looked at, and by how many shadows.

An attack on one site's Releases is measured on shadows: Releases of random halves of the site's images, or of all but
some of its canaries (see `fedistill.privacy.attacks.shadow_design`, `fedistill.privacy.attacks.canaries`).

What the attacker knows is set here too. A deployed site mixes a secret into every seed, so its seed is unknown: that is
what holds in a deployment. A simulation's seed is in its file: ``seed = "known"`` measures what the secret is worth.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from fedistill.config.scheme import scheme_named, scheme_names
from fedistill.core.settings import Frozen
from fedistill.errors import nearest
from fedistill.privacy.attacks.shadow_design import FEWEST


class Audit(Frozen):
    """The settings of an audit: its targets and the strength of the attacks.

    Args:
        site: whose images; the first unless given.
        shadows: an even number; each costs a distillation and the training of ``networks``.
        schemes: those that are attacked: what sites make of images, or networks they train, in rounds with others or
            alone (of ``local``, which sends none, what whoever got hold of one would learn). All of these unless given.
        networks: global networks trained on each shadow's pool, or trajectories of rounds. A private training is made
            once, for each time spends its epsilon.
        ipc: budgets that are attacked; the largest unless given.
        canaries: kinds of canaries that are attacked as well, each kind in as many shadows again, every canary in half
            of them: ``mislabelled`` (also ``true``), and ``outliers``: blank images, noise, another modality, and
            those farthest from their class's mean.
        seed: whether the attacker knows the seed of the site: ``unknown``, ``known``, or both, each with shadows of its
            own.
        population: whether the attacker has images of the same kind that the site does not hold (the official test
            split): ``known`` or ``unknown``.
        members: whether the attacker knows of half of the other records whether they are members: ``unknown`` or
            ``half``.
        releases: Releases of the site that the server holds, each from a seed of its own. Private schemes are attacked
            on one: a second costs its epsilon again.
        steps: of training a shadow's network at most, so that an audit fits the time; those of the scheme's own arm
            unless given. Rounds and private training always go to their end: of the largest number of rounds.
    """

    site: str | None = None
    shadows: Annotated[int, Field(ge=FEWEST)] = 32
    schemes: tuple[str, ...] | None = None
    networks: Annotated[int, Field(ge=1)] = 1
    ipc: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    canaries: tuple[Literal["mislabelled", "outliers"], ...] = ()
    seed: tuple[Literal["unknown", "known"], ...] = ("unknown",)
    population: Literal["known", "unknown"] = "known"
    members: Literal["unknown", "half"] = "unknown"
    releases: Annotated[int, Field(ge=1, le=100)] = 1
    steps: Annotated[int, Field(ge=1)] | None = None

    @field_validator("shadows")
    @classmethod
    def _pairs(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"shadows come in pairs, a half and the other half: an even number, not {value}")
        return value

    @field_validator("schemes", "ipc", "canaries", "seed", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        if isinstance(value, bool):  # of canaries alone: other fields refuse the words
            return ("mislabelled",) if value else ()
        return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int | str) else value

    @field_validator("canaries")
    @classmethod
    def _no_kind_twice(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("schemes", "ipc", "seed")
    @classmethod
    def _each_once(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if value is not None and (not value or len(set(value)) < len(value)):
            raise ValueError(f"needs at least one value, each once, not {list(value)}")
        return tuple(sorted(value)) if value and isinstance(value[0], int) else value

    def site_of(self, sites: Sequence[str]) -> str:
        """Return the name of the attacked site."""
        return sites[0] if self.site is None else self.site

    def schemes_of(self, schemes: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the attacked schemes, in the order of the simulation's file."""
        chosen = schemes if self.schemes is None else self.schemes
        return tuple(name for name in schemes if name in chosen and scheme_named(name).attackable)

    def budgets_of(self, scheme: str, ipc: Sequence[int]) -> tuple[int | None, ...]:
        """Return the attacked budgets among a simulation's; (None,) for a scheme without budgets."""
        if not scheme_named(scheme).has_budget:
            return (None,)
        return (max(ipc),) if self.ipc is None else self.ipc

    def records(self) -> tuple[str, ...]:
        """Return the sets of records that are attacked, each with shadows of its own."""
        names = {"mislabelled": "canaries", "outliers": "outliers"}
        return ("halves", *(names[kind] for kind in self.canaries))

    def check(self, sites: Sequence[str], schemes: Mapping[str, Any], ipc: Sequence[int]) -> None:
        """Raise ValueError for what a simulation of these sites, schemes and budgets does not have."""
        if self.site is not None and self.site not in sites:
            raise ValueError(f"audit.site: there is no site {self.site!r}: {nearest(self.site, sites)}")
        attackable = [name for name in schemes if scheme_named(name).attackable]
        for name in self.schemes or ():
            if name not in attackable:
                known = nearest(name, attackable) if attackable else "this simulation has none"
                what = scheme_named(name).unattacked if name in scheme_names() else "is no scheme"
                raise ValueError(f"audit.schemes: {name!r} {what}, or has no [scheme.{name}] table here: {known}")
        if not attackable:
            raise ValueError("audit: no scheme here is what one site makes of its own images, so nothing is attacked")
        lost = sorted(set(self.ipc or ()) - set(ipc))
        if lost:
            raise ValueError(f"audit.ipc: {lost[0]} is none of the simulation's budgets, {list(ipc)}")
