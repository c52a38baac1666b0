"""Shadows of an audit: the target, the images that each shadow holds, and the specification of a shadow.

Each scheme defines what its shadows train (`fedistill.schemes.base.StudyScheme.shadow`); `fedistill.privacy.attacks`
defines what attacks read from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor

from fedistill.config import Simulation
from fedistill.core.events import Event
from fedistill.core.precision import of_training
from fedistill.core.seeds import rng, spawn
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.methods import SyntheticSet, Task
from fedistill.models import Network, Params
from fedistill.privacy.attacks.canaries import canaries
from fedistill.privacy.attacks.outliers import outliers
from fedistill.privacy.attacks.shadow_design import Design, halves
from fedistill.privacy.attacks.shadows import Halves
from fedistill.privacy.attacks.tracing import Tracer
from fedistill.training.ensemble import fit_ensemble
from fedistill.training.recipe import Recipe

Images = tuple[Tensor, Tensor]
"""Images float32 (N, C, H, W) and labels, of one site's Release."""

POPULATION = 1000
"""Most images of the test split that RMIA compares records with."""


@dataclass(frozen=True)
class AuditTarget:
    """The target of attacks: what sites send for one scheme and budget.

    Args:
        records: ``halves`` of all records, ``canaries`` or ``outliers``.
        rounds: the largest number of rounds, if the scheme has rounds.
        seed_known: whether the attacker knows the site's seed.
        releases: Releases of the site that the server holds; None if the scheme has no budget.
    """

    scheme: str
    ipc: int | None
    records: str
    rounds: int | None = None
    seed_known: bool = False
    releases: int | None = None

    @property
    def name(self) -> str:
        """Label for people.

        >>> AuditTarget("dc", 10, "canaries").name, AuditTarget("fedavg", None, "halves", 5).name
        ('dc ipc 10 canaries', 'fedavg 5 rounds')
        >>> AuditTarget("dm", 10, "halves", None, True, 2).name
        'dm ipc 10 2 Releases seed known'
        """
        budget = "" if self.ipc is None else f" ipc {self.ipc}"
        rounds = "" if self.rounds is None else f" {self.rounds} round{'s' * (self.rounds > 1)}"
        releases = f" {self.releases} Releases" if (self.releases or 1) > 1 else ""
        records = "" if self.records == "halves" else f" {self.records}"
        return f"{self.scheme}{budget}{rounds}{releases}{records}{' seed known' * self.seed_known}"

    def job(self, number: int) -> str:
        """Return the name of a shadow's job."""
        return f"shadow {number + 1} of {self.name}"


class Dealing(Protocol):
    """The records under attack and their assignment to shadows: `Halves` or `Canaries` (`privacy.attacks`)."""

    def records(self, images: ImageSet) -> ImageSet:
        """Return the records under attack."""

    def shadow(self, images: ImageSet, number: int) -> ImageSet:
        """Return the images that a shadow holds."""


@dataclass(frozen=True, eq=False)
class Attacked:
    """The data that all shadows of an audit share, handed to the workers once.

    Args:
        images: the attacked site's training images.
        val: its validation images, used for early stopping.
        dealing: the assignment of records to shadows.
        population: images that no shadow holds.
    """

    images: ImageSet
    val: ImageSet
    dealing: Dealing
    population: ImageSet


@dataclass(frozen=True, eq=False)
class AuditData:
    """The records of one audit and their assignment to shadows.

    Args:
        name: key of the whole content.
        design: membership of records in shadows.
    """

    attacked: Attacked
    name: str
    design: Design

    @cached_property
    def fingerprints(self) -> list[str]:
        """Fingerprint of each shadow's images."""
        a = self.attacked
        return [a.dealing.shadow(a.images, n).fingerprint() for n in range(self.design.shadows)]

    @cached_property
    def tracers(self) -> dict[bool, Tracer]:
        """Tracers by whether the attacker knows the population; made when first asked for."""
        return {}

    def tracer(self, *, population: bool) -> Tracer:
        """Return the tracer of these records, the same for all schemes."""
        if population not in self.tracers:
            a = self.attacked
            known = a.population if population else None
            self.tracers[population] = Tracer(a.dealing.records(a.images), known, seed=spawn(0, self.name))
        return self.tracers[population]


def deal(simulation: Simulation, site: str, records: str, images: ImageSet, val: ImageSet, test: ImageSet) -> AuditData:
    """Assign a site's images to shadows, the same for all schemes and all points of a sweep.

    Args:
        simulation: with an audit.
        site: the attacked site.
        records: ``halves``, ``canaries`` or ``outliers``.
        images: the site's training images.
        val: the site's validation images.
        test: the official test split, which the server holds.

    Raises:
        SettingError: the site holds fewer than two records or patients.
        DataError: it holds too few records, or a single class, for canaries.
    """
    assert simulation.audit is not None
    seed, shadows = spawn(simulation.seed, "audit", site), simulation.audit.shadows
    dealing: Dealing
    if records != "halves":
        chosen = {"canaries": canaries, "outliers": outliers}[records](images, shadows, seed=seed)
        dealing, design = chosen, chosen.design
    else:
        design = halves(len(images), shadows, seed=seed, groups=images.groups)
        dealing = Halves(design)
    population = test.take(sorted(rng(seed, "population").permutation(len(test))[:POPULATION]))
    attacked = Attacked(images, val, dealing, population)
    parts = [part.fingerprint() for part in (images, val, population, dealing.records(images))]
    return AuditData(attacked, key_of({"parts": parts, "membership": design.membership.tolist()}), design)


@dataclass(frozen=True, eq=False)
class ShadowOutputs:
    """The outputs of one shadow, as an attacker gets them.

    Args:
        release: the site's images as the server decodes them, of all its Releases; None if it sends none.
        networks: those that the server has: trained on the pool, or sent by the site.
        received: the network from which the site trained each of ``networks``; empty outside of rounds.
        real: whether the Release's images are real ones.
    """

    release: SyntheticSet | None
    networks: list[Params]
    received: Sequence[Params] = ()
    real: bool = False


class ShadowMaker(Protocol):
    """The training of one shadow, on a worker."""

    @property
    def network(self) -> Network:
        """The network that attacks query."""

    def make(self, task: Task, others: Any) -> ShadowOutputs:
        """Return the site's images, if it sends any, and the networks that the server would have.

        Args:
            task: with the shadow's images and its own seed.
            others: the other sites' contribution, of `ShadowSpec`.
        """


@dataclass(frozen=True, eq=False)
class ShadowSpec:
    """The specification of a target's shadows.

    Args:
        maker: trains one shadow.
        settings: the scheme's, for tables.
        others: the other sites' contribution, handed to the workers once.
        others_name: its key.
        about: content of a shadow's key, except its images and its seed.
        task: arguments of its `Task`: ``ipc``, ``model``, ``width``, ``precision``.
    """

    maker: ShadowMaker
    settings: Any
    others: Any
    others_name: str
    about: Mapping[str, Any]
    task: Mapping[str, Any]


def network_seeds(simulation: Simulation) -> tuple[int, ...]:
    """Return the seeds of a shadow's networks, the same in every shadow."""
    assert simulation.audit is not None
    return tuple(spawn(simulation.seed, "audit", "network", i) for i in range(simulation.audit.networks))


def shadow_detail(
    simulation: Simulation, data: AuditData, *, method: str | None, network: Network, recipe: Recipe, seeds: Any
) -> dict[str, Any]:
    """Return the part of a shadow's key that all schemes share."""
    return {
        "dealt": data.name,
        "method": method,
        "network": [type(network).__name__, asdict(network)],
        "recipe": recipe.detail(),
        "seeds": list(seeds),
        "threads": simulation.threads,
        "device": "cuda" if simulation.gpus else "cpu",
    }


def task_arguments(simulation: Simulation, ipc: int | None) -> dict[str, Any]:
    """Return the arguments of a shadow's task."""
    return {
        "ipc": ipc,
        "model": simulation.models[0],
        "width": simulation.width,
        "precision": simulation.precision,
    }


def cap_steps(simulation: Simulation, recipe: Recipe) -> Recipe:
    """Return the recipe with no more steps than the audit allows."""
    audit = simulation.audit
    assert audit is not None
    if audit.steps is None:
        return recipe
    return replace(recipe, steps=min(recipe.steps or audit.steps, audit.steps))


def train_shadow_networks(
    task: Task,
    network: Network,
    recipe: Recipe,
    seeds: Sequence[int],
    images: Tensor,
    labels: Tensor,
    *,
    mirror: bool,
    soft: bool = False,
) -> list[Params]:
    """Train networks on a shadow's images; return their parameters on the CPU. ``soft``: whether labels are soft."""

    def on_step(step: int, steps: int) -> None:
        task.on_event(Event("training", step=step, steps=steps))

    trained = fit_ensemble(
        network,
        images.to(task.device),
        labels.to(task.device),
        recipe,
        seeds=seeds,
        mirror=mirror,
        precision=of_training(task.device),
        soft=soft,
        on_step=on_step,
    )
    return [tuple(p.cpu() for p in params) for params in trained]
