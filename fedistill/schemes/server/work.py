"""The work of networks, SGD steps and scored images, forecast from a simulation and its data.

A run decides two things on the way: how long a scheme without an image budget trains (the forecast takes the mean of
the shortest and the longest search), and whether a distillation stops early (the forecast assumes not).
"""

from dataclasses import dataclass

from fedistill.config import Holdings, Share, Simulation
from fedistill.data import ImageSet
from fedistill.schemes.server.condition import Condition
from fedistill.schemes.server.cross_validation import fold_sizes
from fedistill.training.dpsgd import DPSGD


@dataclass(frozen=True)
class TrainingWork:
    """The training of networks, independent or in a chain at a site.

    Args:
        model: name of the architecture.
        images: in the training set.
        steps: SGD steps of all networks together.
        tasks: number of tasks that they are spread over.
        scored: number of images scored, over all networks.
        sent: networks sent to the sites; those of the server to every site, to be scored.
        at_sites: whether sites train; else the server.
        private: settings of DP-SGD if the steps are private.
    """

    model: str
    images: int
    steps: float
    tasks: int
    scored: float
    sent: float = 0.0
    at_sites: bool = False
    private: DPSGD | None = None


@dataclass(frozen=True, eq=False)
class Forecast:
    """The data that a forecast depends on.

    Args:
        holdings: the sites' data in the partition of the condition.
        test: number of images in the official test split.
    """

    simulation: Simulation
    holdings: Holdings
    test: int

    def share(self, site: str) -> Share:
        """Return a site's data."""
        return self.holdings.shares[self.simulation.federation.sites.index(site)]

    @property
    def validated(self) -> int:
        """Number of validation images at all sites."""
        return sum(len(share.val) for share in self.holdings.shares)

    def pool_size(self, ipc: int | None) -> int:
        """Return the number of images in a pool of Releases with ``ipc`` images per class."""
        trains = [share.train for share in self.holdings.shares]
        if ipc is None:
            return max(1, sum(map(len, trains)))
        return max(1, sum(iteration_images(x, ipc, None) for x in trains if len(x)))

    def of_pool(self, condition: Condition) -> TrainingWork:
        """Return the training on a pool by the common recipe, with the choice of the recipe."""
        simulation, images = self.simulation, self.pool_size(condition.ipc)
        networks, first = simulation.networks, condition.seed == 0 and not condition.left_out
        within = len(fold_sizes(images)) if simulation.recipe.chosen_on == "pool" else 0
        steps, sent = expected_steps(simulation, grows=condition.ipc is None, chooses=first, folds=within)
        scored = networks * self.test + sent * self.validated
        if simulation.recipe.chosen_on == "coordinator":
            sent = 0.0  # scored by the server itself
        return TrainingWork(condition.model, images, steps, networks, scored, sent)

    def of_strong(self, condition: Condition) -> TrainingWork:
        """Return the training on a pool by the best of the stronger grid, with its choice.

        A step takes as long as one of SGD. Without an image budget, the number of steps is the grid's, though it is
        raised to what the common recipe has grown to.
        """
        simulation, images = self.simulation, self.pool_size(condition.ipc)
        grid, networks = simulation.strong, simulation.networks
        candidates = len(grid.steps) * (len(grid.sgd) + len(grid.adamw)) * len(grid.mix)
        pilots = min(simulation.recipe.pilots, networks)
        within = len(fold_sizes(images)) if simulation.recipe.chosen_on == "pool" else 1
        mean = sum(grid.steps) / len(grid.steps)
        chooses = candidates > 1 and condition.seed == 0 and not condition.left_out
        tried = candidates * pilots if chooses else 0
        steps = tried * within * mean + networks * mean
        sent = tried if simulation.recipe.chosen_on == "sites" else 0
        scored = networks * self.test + sent * self.validated
        return TrainingWork(condition.model, images, steps, networks, scored, sent)


def iteration_images(images: ImageSet, ipc: int | None, batch_real: int | None) -> int:
    """Return the number of images, synthetic and real, in one iteration at a site; its time is proportional to it."""
    counts = [int(n) for n in images.counts() if n] if not images.multilabel else [len(images)]
    synthetic = (ipc or 1) * (images.n_classes if images.multilabel else len(counts))
    return synthetic + (0 if batch_real is None else sum(min(batch_real, n) for n in counts))


def expected_steps(simulation: Simulation, *, grows: bool, chooses: bool, folds: int = 0) -> tuple[float, float]:
    """Return the expected SGD steps of all networks of a pool, and the number of networks scored on validation images.

    Args:
        simulation: gives the recipe and the number of networks.
        grows: whether the number of steps may grow.
        chooses: whether a recipe is chosen for this pool.
        folds: networks trained for each pilot if the choice is made within the pool, none of which is used again; 0 if
            it is made on validation images.
    """
    recipe, n = simulation.recipe, simulation.networks
    pilots = min(recipe.pilots, n) * len(recipe.lr)
    again = pilots // len(recipe.lr) if not folds else 0  # the chosen recipe's pilots are not trained twice
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
