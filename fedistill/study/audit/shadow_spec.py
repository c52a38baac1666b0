"""What the shadows of an audit are made by: how the site distils, how the server pools and trains; and its key."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from fedistill.config import Simulation
from fedistill.config.scheme_settings import PrivateAloneSettings, scheme_named
from fedistill.core.seeds import rng, spawn
from fedistill.core.store import key_of
from fedistill.data import ImageSet
from fedistill.methods import METHODS, settings_for
from fedistill.methods.engine import loop as steady
from fedistill.privacy.attacks.canaries import canaries
from fedistill.privacy.attacks.shadow_design import Design, halves
from fedistill.privacy.attacks.shadows import VERSION, Halves
from fedistill.release.release import Release, unpack
from fedistill.study.arms.condition import Arm
from fedistill.study.arms.context import Desk
from fedistill.study.arms.image_scheme import Pooled
from fedistill.study.arms.local import Local
from fedistill.study.audit.shadow_task import AmongOthers, Attacked, Dealing, Images, Others, Shape
from fedistill.training.dpsgd import VERSION as DPSGD_VERSION
from fedistill.training.fit import VERSION as FIT_VERSION
from fedistill.training.recipe import Recipe

POPULATION = 1000
"""Images of the test split that RMIA holds records against, at most."""


@dataclass(frozen=True)
class Line:
    """What is attacked: what one scheme has sites send for one budget, through ``halves`` of all records or
    ``canaries``.
    """

    scheme: str
    ipc: int | None
    records: str
    rounds: int | None = None

    @property
    def name(self) -> str:
        """For people.

        >>> Line("dc", 10, "canaries").name, Line("full", None, "halves").name, Line("fedavg", None, "halves", 5).name
        ('dc ipc 10 canaries', 'full', 'fedavg 5 rounds')
        """
        budget = "" if self.ipc is None else f" ipc {self.ipc}"
        rounds = "" if self.rounds is None else f" {self.rounds} round{'s' * (self.rounds > 1)}"
        return f"{self.scheme}{budget}{rounds}{' canaries' if self.records == 'canaries' else ''}"

    def shadow(self, number: int) -> str:
        """A shadow's job."""
        return f"shadow {number + 1} of {self.name}"


@dataclass(frozen=True, eq=False)
class Dealt:
    """The records of one audit and who holds them, before anything is made of them.

    Args:
        name: of everything in it.
        design: which shadow holds which record.
    """

    attacked: Attacked
    name: str
    design: Design

    @cached_property
    def held(self) -> list[str]:
        """What each shadow holds, by fingerprint."""
        a = self.attacked
        return [a.dealing.shadow(a.images, n).fingerprint() for n in range(self.design.shadows)]


def dealt(simulation: Simulation, site: str, records: str, images: ImageSet, val: ImageSet, test: ImageSet) -> Dealt:
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
    return Dealt(attacked, key_of({"parts": parts, "membership": design.membership.tolist()}), design)


@dataclass(frozen=True, eq=False)
class Made:
    """How every shadow of a line is made.

    Args:
        shape, others: see `fedistill.study.audit.shadow_task`.
        about: all that goes into a shadow's key beside what it holds and its seed.
        shared: name of what the others are, under which all shadows have it in common.
    """

    shape: Shape
    others: AmongOthers | Others
    about: Mapping[str, Any]
    shared: str


async def mechanism(desk: Desk, pooled: Pooled, local: Local, line: Line, site: str, dealt: Dealt) -> Made | None:
    """How a line's shadows are made, once it is known what the server or the site itself chose for the line's own arm,
    in the first repeat. Networks are trained by the common recipe, or by DP-SGD. Of rounds, see
    `fedistill.study.audit.shadow_spec_rounds`.

    Returns:
        None where the site itself trained no network; that was told.
    """
    if scheme_named(line.scheme).method is None:
        return await _alone(desk, local, line, site, dealt)
    return await _among_others(desk, pooled, line, site, dealt)


async def _among_others(desk: Desk, pooled: Pooled, line: Line, site: str, dealt: Dealt) -> Made:
    """Where sites make Releases: the pool of this line has the other sites' own in it."""
    simulation, model = desk.simulation, desk.simulation.models[0]
    chosen = (await pooled.choice(Arm(0, line.scheme, line.ipc, 0, model, "common"))).recipe
    method = scheme_named(line.scheme).method
    assert method is not None
    dataset = dealt.attacked.images.name
    settings = settings_for(method, simulation.settings(line.scheme), ipc=line.ipc, dataset=dataset)
    shape = shape_of(desk, line, method, settings, _capped(simulation, chosen))
    releases = await pooled.releases(0, line.scheme, line.ipc, 0)
    place = desk.sites.index(site)
    before = [name for name in desk.sites[:place] if name in releases]
    after = [name for name in desk.sites[place + 1 :] if name in releases]
    sizes = {name: len(share.train) for name, share in zip(desk.sites, desk.holdings[0].shares, strict=True)}
    sizes[site] = int(dealt.design.membership.sum(1).max())
    others = AmongOthers(
        [_images(releases[name], line.ipc) for name in before],
        [_images(releases[name], line.ipc) for name in after],
        simulation.pooling,
        [sizes[name] for name in (*before, site, *after)],
    )
    about = {
        "settings": asdict(settings),
        "distilled": [shape.ipc, shape.model, shape.width, shape.precision, shape.encoding],
        "others": [hashlib.sha256(releases[name]).hexdigest() for name in (*before, *after)],
        "place": len(before),
        "pooling": [simulation.pooling, *(others.examples if simulation.pooling == "weighted" else ())],
        "version": [METHODS[method].version, steady.VERSION, FIT_VERSION, VERSION],
    }
    about = {**common(simulation, shape, dealt), **about}
    return Made(shape, others, about, key_of(about))


async def _alone(desk: Desk, local: Local, line: Line, site: str, dealt: Dealt) -> Made | None:
    """Where a site trains networks on its own images alone, by the recipe it chose itself."""
    simulation, known = desk.simulation, scheme_named(line.scheme)
    arm = Arm(0, line.scheme, None, 0, simulation.models[0], "common", site=site)
    learned = await local.local(site, arm)
    if isinstance(learned, str):
        return None
    settings = known.read(simulation.settings(line.scheme))
    shape = shape_of(desk, line, None, settings, learned.recipe)
    if isinstance(settings, PrivateAloneSettings):
        # As many steps as the epsilon is for; and one network, for each spends it.
        shape = replace(shape, private=settings.private, seeds=shape.seeds[:1])
    else:
        shape = replace(shape, recipe=_capped(simulation, learned.recipe))
    about = {
        "private": None if shape.private is None else asdict(shape.private),
        "version": [DPSGD_VERSION if shape.private else 0, FIT_VERSION, VERSION],
    }
    about = {**common(simulation, shape, dealt), **about}
    return Made(shape, AmongOthers((), (), "concat", ()), about, key_of(about))


def _capped(simulation: Simulation, recipe: Recipe) -> Recipe:
    """The recipe with no more steps than the audit allows."""
    audit = simulation.audit
    assert audit is not None
    return recipe if audit.steps is None else replace(recipe, steps=min(recipe.steps or audit.steps, audit.steps))


def shape_of(desk: Desk, line: Line, method: str | None, settings: Any, recipe: Recipe) -> Shape:
    """What this line's shadows are made with, by what follows from the simulation alone."""
    simulation = desk.simulation
    assert simulation.audit is not None
    return Shape(
        method,
        settings,
        line.ipc,
        simulation.models[0],
        simulation.width,
        simulation.precision,
        simulation.encoding,
        desk.trainer.network(simulation.models[0]),
        recipe,
        tuple(spawn(simulation.seed, "audit", "network", i) for i in range(simulation.audit.networks)),
    )


def common(simulation: Simulation, shape: Shape, dealt: Dealt) -> dict[str, Any]:
    """What goes into every shadow's key."""
    return {
        "dealt": dealt.name,
        "method": shape.method,
        "network": [type(shape.network).__name__, asdict(shape.network)],
        "recipe": shape.recipe.detail(),
        "seeds": list(shape.seeds),
        "threads": simulation.threads,
        "device": "cuda" if simulation.gpus else "cpu",
    }


def _images(data: bytes, ipc: int | None) -> Images:
    """A Release file's images as the server trains on them, and their labels."""
    made = unpack(Release.from_bytes(data).sets[ipc], ipc)
    return made.images, made.labels
