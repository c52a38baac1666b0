"""Shadows of an audit: what is attacked, who holds what in which shadow, and how one shadow is made.

What a shadow goes through is the scheme's own (`fedistill.schemes.base.StudyScheme.shadow`); what attacks read off it
is `fedistill.privacy.attacks`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor

from fedistill.config import Simulation
from fedistill.core.events import Event
from fedistill.core.seeds import rng, spawn
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.methods import SyntheticSet, Task
from fedistill.models import Network, Params
from fedistill.privacy.attacks.canaries import canaries
from fedistill.privacy.attacks.shadow_design import Design, halves
from fedistill.privacy.attacks.shadows import Halves
from fedistill.training.ensemble import fit_ensemble
from fedistill.training.recipe import Recipe

Images = tuple[Tensor, Tensor]
"""Images float32 (N, C, H, W) and labels, of one site's Release."""

POPULATION = 1000
"""Images of the test split that RMIA holds records against, at most."""


@dataclass(frozen=True)
class AuditTarget:
    """What is attacked: what one scheme has sites send for one budget.

    Args:
        records: ``halves`` of all records, or ``canaries``.
        rounds: the largest number of rounds, where the scheme has rounds.
    """

    scheme: str
    ipc: int | None
    records: str
    rounds: int | None = None

    @property
    def name(self) -> str:
        """For people.

        >>> AuditTarget("dc", 10, "canaries").name, AuditTarget("fedavg", None, "halves", 5).name
        ('dc ipc 10 canaries', 'fedavg 5 rounds')
        """
        budget = "" if self.ipc is None else f" ipc {self.ipc}"
        rounds = "" if self.rounds is None else f" {self.rounds} round{'s' * (self.rounds > 1)}"
        return f"{self.scheme}{budget}{rounds}{' canaries' if self.records == 'canaries' else ''}"

    def job(self, number: int) -> str:
        """Return the name of a shadow's job."""
        return f"shadow {number + 1} of {self.name}"


class Dealing(Protocol):
    """Says which records are attacked and who is in which shadow: `Halves` or `Canaries` (`privacy.attacks`)."""

    def records(self, images: ImageSet) -> ImageSet:
        """Return the records that attacks look at."""

    def shadow(self, images: ImageSet, number: int) -> ImageSet:
        """Return the images that a shadow holds."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """What all shadows of an audit have in common, large enough to be handed over once.

    Args:
        images: the attacked site's; val: its validation images, by which its method stops.
        dealing: who is in which shadow.
        population: images that no shadow holds.
    """

    images: ImageSet
    val: ImageSet
    dealing: Dealing
    population: ImageSet


@dataclass(frozen=True, eq=False)
class AuditData:
    """The records of one audit and who holds them, before anything is made of them.

    Args:
        name: key of everything in it.
        design: which shadow holds which record.
    """

    attacked: Attacked
    name: str
    design: Design

    @cached_property
    def held(self) -> list[str]:
        """Fingerprint of the images that each shadow holds."""
        a = self.attacked
        return [a.dealing.shadow(a.images, n).fingerprint() for n in range(self.design.shadows)]


def deal(simulation: Simulation, site: str, records: str, images: ImageSet, val: ImageSet, test: ImageSet) -> AuditData:
    """Deal out a site's images to shadows; the same for all schemes and all points of a sweep.

    Args:
        records: ``halves`` or ``canaries``.
        images, val: the site's; test: the official test split, the server's.

    Raises:
        SettingError, DataError: the site holds too few images.
    """
    assert simulation.audit is not None
    seed, shadows = spawn(simulation.seed, "audit", site), simulation.audit.shadows
    dealing: Dealing
    if records == "canaries":
        chosen = canaries(images, shadows, seed=seed)
        dealing, design = chosen, chosen.design
    else:
        design = halves(len(images), shadows, seed=seed, groups=images.groups)
        dealing = Halves(design)
    population = test.take(sorted(rng(seed, "population").permutation(len(test))[:POPULATION]))
    attacked = Attacked(images, val, dealing, population)
    parts = [part.fingerprint() for part in (images, val, population, dealing.records(images))]
    return AuditData(attacked, key_of({"parts": parts, "membership": design.membership.tolist()}), design)


class ShadowMaker(Protocol):
    """What one shadow goes through, on a worker."""

    @property
    def network(self) -> Network:
        """The network that attacks query."""

    def make(self, task: Task, others: Any) -> tuple[SyntheticSet | None, list[Params]]:
        """Return what the site would send, where that is images, and the networks that the server would have.

        Args:
            task: with the images that the shadow holds, and a seed that is its own.
            others: what the other sites add, as `ShadowSpec` has it.
        """


@dataclass(frozen=True, eq=False)
class ShadowSpec:
    """How every shadow of a target is made.

    Args:
        maker: what it goes through; settings: the scheme's, for tables.
        others: what the other sites add, large enough to be handed over once; others_name: its key.
        about: all that goes into a shadow's key beside what it holds and its seed.
        task: arguments of its `Task`: ``ipc``, ``model``, ``width``, ``precision``.
    """

    maker: ShadowMaker
    settings: Any
    others: Any
    others_name: str
    about: Mapping[str, Any]
    task: Mapping[str, Any]


def network_seeds(simulation: Simulation) -> tuple[int, ...]:
    """Return the seeds of a shadow's networks, which are the same in every shadow."""
    assert simulation.audit is not None
    return tuple(spawn(simulation.seed, "audit", "network", i) for i in range(simulation.audit.networks))


def about_shadows(
    simulation: Simulation, data: AuditData, *, method: str | None, network: Network, recipe: Recipe, seeds: Any
) -> dict[str, Any]:
    """Return the part of a shadow's key that all schemes have."""
    return {
        "dealt": data.name,
        "method": method,
        "network": [type(network).__name__, asdict(network)],
        "recipe": recipe.detail(),
        "seeds": list(seeds),
        "threads": simulation.threads,
        "device": "cuda" if simulation.gpus else "cpu",
    }


def task_of(simulation: Simulation, ipc: int | None) -> dict[str, Any]:
    """Return the arguments of a shadow's task."""
    return {
        "ipc": ipc,
        "model": simulation.models[0],
        "width": simulation.width,
        "precision": simulation.precision,
    }


def capped(simulation: Simulation, recipe: Recipe) -> Recipe:
    """Return the recipe with no more steps than the audit allows."""
    audit = simulation.audit
    assert audit is not None
    if audit.steps is None:
        return recipe
    return replace(recipe, steps=min(recipe.steps or audit.steps, audit.steps))


def shadow_networks(
    task: Task,
    network: Network,
    recipe: Recipe,
    seeds: Sequence[int],
    images: Tensor,
    labels: Tensor,
    *,
    mirror: bool,
) -> list[Params]:
    """Return networks trained on a shadow's images, on the processor."""

    def on_step(step: int, steps: int) -> None:
        task.on_event(Event("training", step=step, steps=steps))

    trained = fit_ensemble(
        network,
        images.to(task.device),
        labels.to(task.device),
        recipe,
        seeds=seeds,
        mirror=mirror,
        most=None if task.device != "cpu" else 1,  # on a processor networks take longer together
        on_step=on_step,
    )
    return [tuple(p.cpu() for p in params) for params in trained]
