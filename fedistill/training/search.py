"""Which recipe: one step size of a grid, and where it may grow, a number of steps, by validation.

The rule is written once, as a generator that asks for the values of candidates and is sent them, so that it serves the
server, who waits for sites, and a site, who does not wait, alike.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from fedistill.core.ranges import AS_TABLE, AS_TUPLE
from fedistill.training.recipe import Recipe

Search = Generator[list[Recipe], Sequence[float], Recipe]


@dataclass(frozen=True)
class Grid:
    """The candidates of a search.

    Args:
        base: everything but the step size.
        lr: step sizes.
        max_steps: where doubling the steps ends; None where their number is fixed.
    """

    base: Annotated[Recipe, AS_TABLE]
    lr: Annotated[tuple[float, ...], AS_TUPLE]
    max_steps: int | None = None


def search(grid: Grid) -> Search:
    """Yield candidates, be sent their validation AUC (NaN where there is none), return the recipe to use.

    Every step size is tried. Where the steps may grow their number is doubled as long as validation gains, every step
    size tried each time: what all images together can do must not be understated. Without any value (no site has
    validation images of two classes) the grid's middle is taken. A grid of one point that may not grow asks nothing.

    >>> asking = search(Grid(Recipe(steps=10), (0.01, 0.1), max_steps=20))
    >>> [recipe.lr for recipe in next(asking)]
    [0.01, 0.1]
    >>> [(recipe.lr, recipe.steps) for recipe in asking.send([0.6, 0.8])]
    [(0.01, 20), (0.1, 20)]
    """
    candidates = [grid.base.with_lr(lr) for lr in grid.lr]
    middle = candidates[len(candidates) // 2]
    if len(candidates) == 1 and grid.max_steps is None:
        return middle
    tried = dict(zip(candidates, (yield candidates), strict=True))
    best = _best(tried, middle)
    steps = (grid.base.steps or 1) * 2
    while grid.max_steps is not None and steps <= grid.max_steps:
        longer = [replace(candidate, steps=steps) for candidate in candidates]
        tried |= dict(zip(longer, (yield longer), strict=True))
        if _best(tried, best) not in longer:
            break
        best, steps = _best(tried, best), steps * 2
    return best


def settle(grid: Grid, value: Callable[[list[Recipe]], Sequence[float]]) -> Recipe:
    """Run `search` to its end where values come at once.

    >>> settle(Grid(Recipe(), (0.01, 0.1)), lambda recipes: [recipe.lr for recipe in recipes]).lr
    0.1
    """
    asking = search(grid)
    try:
        candidates = next(asking)
        while True:
            candidates = asking.send(value(candidates))
    except StopIteration as found:
        recipe: Recipe = found.value
        return recipe


def _best(tried: dict[Recipe, float], otherwise: Recipe) -> Recipe:
    known = {recipe: value for recipe, value in tried.items() if not np.isnan(value)}
    return max(known, key=lambda recipe: known[recipe]) if known else otherwise
