"""How much work networks are: SGD steps and scored images, counted from a simulation's file and from who holds what.

What a run decides on its way cannot be counted before: how long a scheme without an image budget trains (between the
first doubling and the last, the middle is taken), and whether a distillation stops early (it is taken not to).
"""

from dataclasses import dataclass

from fedistill.config import Holdings, Share, Simulation
from fedistill.data import ImageSet
from fedistill.schemes.server.condition import Condition
from fedistill.schemes.server.cross_validation import fold_sizes
from fedistill.training.dpsgd import DPSGD


@dataclass(frozen=True)
class Training:
    """SGD steps of networks, one by one or in a chain at a site.

    Args:
        model: the network's name; images: in the pool that is trained on.
        steps: of all networks together; tasks: that they are spread over.
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


@dataclass(frozen=True, eq=False)
class Forecast:
    """What work is counted from.

    Args:
        holdings: who holds what, in the partition of the condition.
        test: images of the official test split.
    """

    simulation: Simulation
    holdings: Holdings
    test: int

    def share(self, site: str) -> Share:
        """Return what a site holds."""
        return self.holdings.shares[self.simulation.federation.sites.index(site)]

    @property
    def validated(self) -> int:
        """Validation images at all sites."""
        return sum(len(share.val) for share in self.holdings.shares)

    def pool_size(self, ipc: int | None) -> int:
        """Return how many images one network trains on, at so many images per class."""
        trains = [share.train for share in self.holdings.shares]
        if ipc is None:
            return max(1, sum(map(len, trains)))
        return max(1, sum(weight(x, ipc, None) for x in trains if len(x)))

    def of_pool(self, condition: Condition) -> Training:
        """Count the common recipe's training on a pool, and what choosing it takes."""
        simulation, images = self.simulation, self.pool_size(condition.ipc)
        networks, first = simulation.networks, condition.seed == 0 and not condition.left_out
        within = len(fold_sizes(images)) if simulation.recipe.chosen_on == "pool" else 0
        steps, asked = expected_steps(simulation, grows=condition.ipc is None, chooses=first, folds=within)
        scored = networks * self.test + asked * self.validated
        if simulation.recipe.chosen_on == "coordinator":
            asked = 0.0  # scored where they were trained: nothing crosses
        return Training(condition.model, images, steps, networks, scored, asked)


def weight(images: ImageSet, ipc: int | None, batch_real: int | None) -> int:
    """Return what an iteration at a site is in proportion to: the images, synthetic and real, that it looks at."""
    held = [int(n) for n in images.counts() if n] if not images.multilabel else [len(images)]
    synthetic = (ipc or 1) * (images.n_classes if images.multilabel else len(held))
    return synthetic + (0 if batch_real is None else sum(min(batch_real, n) for n in held))


def expected_steps(simulation: Simulation, *, grows: bool, chooses: bool, folds: int = 0) -> tuple[float, float]:
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
