"""How much work a simulation is: steps, tasks and bytes, counted from its file and from who holds what.

What a run decides on its way cannot be counted before: how long a scheme without an image budget trains (between the
first doubling and the last, the middle is taken), and whether a distillation stops early (it is taken not to).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fedistill.config import Holdings, Simulation
from fedistill.config.scheme_settings import DPFedAvgSettings, PrivateAloneSettings, scheme_named
from fedistill.data import ImageSet
from fedistill.study.arms.condition import Arm
from fedistill.study.arms.cross_validation import fold_sizes
from fedistill.training.dpsgd import DPSGD
from fedistill.training.recipe import Recipe

OVERHEAD_BYTES = 3_000  # of a reply around its tensors; of a request a sixth


@dataclass(frozen=True)
class Training:
    """SGD steps of networks, one by one or in a chain at a site.

    Args:
        steps: of all networks together; tasks: that they are spread over.
        images: in the pool that is trained on; model: the network's name.
        scored: images that networks are scored on in all.
        asked: networks that go to sites to be scored, each to all of them.
        at_sites: whether sites train; else the server.
        private: settings of DP-SGD where its steps are those.
    """

    model: str
    images: int
    steps: float
    tasks: int
    scored: float
    asked: float = 0.0
    at_sites: bool = False
    private: DPSGD | None = None


def weight(images: ImageSet, ipc: int | None, batch_real: int | None) -> int:
    """What an iteration at a site is in proportion to: the images, made and real, that it looks at."""
    held = [int(n) for n in images.counts() if n] if not images.multilabel else [len(images)]
    made = (ipc or 1) * (images.n_classes if images.multilabel else len(held))
    return made + (0 if batch_real is None else sum(min(batch_real, n) for n in held))


def pool_size(simulation: Simulation, arm: Arm, held: Holdings) -> int:
    """Images that one network of an arm trains on."""
    trains = [share.train for share in held.shares]
    if arm.ipc is None:
        return max(1, sum(map(len, trains)))
    return max(1, sum(weight(x, arm.ipc, None) for x in trains if len(x)))


def trainings(simulation: Simulation, arms: Sequence[Arm], held: Holdings, test: int) -> list[Training]:
    """What has to be trained and scored for the arms of one partition."""
    made: list[Training] = []
    seen: set[tuple[object, ...]] = set()
    for arm in arms:
        kind = scheme_named(arm.scheme).kind
        if kind in ("images", "central"):
            made.append(_of_pool(simulation, arm, held, test))
        elif kind == "rounds":
            if (course := (arm.scheme, arm.seed, arm.model)) not in seen:
                seen.add(course)
                made += _of_rounds(simulation, arm, held, test)
        else:
            sites = [arm.site] if arm.site else list(simulation.federation.sites)
            name = arm.scheme.replace("ensemble", "local")  # which has the same networks
            for site in sites:
                if (key := (name, site, arm.seed, arm.ipc, arm.model)) not in seen:
                    seen.add(key)
                    made.append(_alone(simulation, arm, held, site, test))
    return made


def grown(simulation: Simulation, *, grows: bool, chooses: bool, folds: int = 0) -> tuple[float, float]:
    """Return SGD steps of all networks of a pool, and networks that are scored on validation images.

    Args:
        grows: whether the number of steps may grow; chooses: whether a recipe is chosen for this pool.
        folds: networks trained for each pilot where the choice is made within the pool, none of which is used again;
            0 where it is made on validation images.
    """
    recipe, n = simulation.recipe, simulation.networks
    pilots = min(recipe.pilots, n) * len(recipe.lr)
    again = pilots // len(recipe.lr) if not folds else 0  # pilots of the recipe that is chosen are not trained twice
    if not grows:
        if len(recipe.lr) == 1 or not chooses:
            return n * recipe.steps, 0.0
        return (pilots * max(1, folds) + n - again) * recipe.steps, 0.0 if folds else pilots
    tried = [recipe.steps]
    while tried[-1] * 2 <= recipe.max_steps:
        tried.append(tried[-1] * 2)
    more = n - again
    least = pilots * max(1, folds) * sum(tried[:2]) + more * tried[0]
    most = pilots * max(1, folds) * sum(tried) + more * tried[-1]
    return (least + most) / 2, 0.0 if folds else pilots * (len(tried[:2]) + len(tried)) / 2


def _of_pool(simulation: Simulation, arm: Arm, held: Holdings, test: int) -> Training:
    images, networks = pool_size(simulation, arm, held), simulation.networks
    if arm.recipe == "native":
        native = Recipe("native", steps=None, epochs=1000, batch=256)
        steps, asked = float(networks * native.steps_for(images)), 0.0
    else:
        first = arm.seed == 0 and not arm.left_out
        within = len(fold_sizes(images)) if simulation.recipe.chosen_on == "pool" else 0
        steps, asked = grown(simulation, grows=arm.ipc is None, chooses=first, folds=within)
    scored = networks * test + asked * _validated(held)
    if simulation.recipe.chosen_on == "coordinator":
        asked = 0.0  # scored where they were trained: nothing crosses
    return Training(arm.model, images, steps, networks, scored, asked)


def _of_rounds(simulation: Simulation, arm: Arm, held: Holdings, test: int) -> list[Training]:
    """Federated averaging: every network through all rounds, at the sites drawn."""
    settings = scheme_named(arm.scheme).read(simulation.settings(arm.scheme))
    private = settings.private if isinstance(settings, DPFedAvgSettings) else None
    lrs = len(simulation.recipe.lr) if private is None else 1
    pilots = min(simulation.recipe.pilots, simulation.networks)
    courses = simulation.networks + (lrs - 1) * pilots
    rounds = max(settings.rounds)
    asked = 0 if private else courses * rounds  # nothing of private training is chosen by validation images
    made = []
    for share in held.shares:
        batch = min(simulation.recipe.batch, max(1, len(share.train)))
        local = settings.local_steps if private else settings.local_epochs * -(-len(share.train) // batch)
        visits = courses * rounds * settings.fraction
        steps, tasks = visits * local, round(visits)
        made.append(
            Training(arm.model, max(1, len(share.train)), steps, tasks, 0.0, visits, at_sites=True, private=private)
        )
    made.append(Training(arm.model, 1, 0.0, courses, rounds * simulation.networks * test + asked * _validated(held)))
    return made


def _alone(simulation: Simulation, arm: Arm, held: Holdings, site: str, test: int) -> Training:
    share, networks = held.shares[simulation.federation.sites.index(site)], simulation.networks
    known = scheme_named(arm.scheme)
    settings = known.read(simulation.settings(arm.scheme))
    private = settings.private if isinstance(settings, PrivateAloneSettings) else None
    if private:
        steps, asked = float(networks * private.steps), 0.0
    else:
        steps, asked = grown(simulation, grows=True, chooses=True)
    scored, images = asked * len(share.val) + networks * test, max(1, len(share.train))
    return Training(arm.model, images, steps, 1, scored, networks / 2, at_sites=True, private=private)


def _validated(held: Holdings) -> int:
    return sum(len(share.val) for share in held.shares)


def release_bytes(images: ImageSet, ipc: int | None, draws: int, pixel: int) -> int:
    """Of one Release with this budget."""
    count = len(images) if ipc is None else weight(images, ipc, None) * draws
    label = 4 * images.n_classes if images.multilabel else 8
    return count * (pixel * images.channels * images.size**2 + label + 8 * (draws > 1)) + OVERHEAD_BYTES
