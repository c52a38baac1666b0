"""The common recipe's step size, and for schemes without an image budget its number of steps.

By default chosen within the pool, by cross-validation (`fedistill.schemes.server.cross_validation`). Or on validation
images: the coordinator's own; or the sites', where the server sends them pilot networks, each counts concordant pairs
and returns counts only, which added up give one AUC per candidate. Test data have no part in any.
"""

import asyncio
from collections.abc import Sequence

import numpy as np

from fedistill.config import Simulation
from fedistill.schemes.server.condition import Choice, Condition
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.cross_validation import qualities
from fedistill.schemes.server.federated_eval import tallied
from fedistill.schemes.server.pool import Pool
from fedistill.training.recipe import Recipe
from fedistill.training.search import Grid, search


async def choose(ctx: StudyContext, condition: Condition, pool: Pool, *, grows: bool) -> Choice:
    """Choose a recipe for a condition's pool.

    A scheme with an image budget keeps the recipe's number of steps, so that all budgets and schemes take equally many;
    for one without, the number grows as long as validation gains (see `fedistill.training.search`).

    Args:
        grows: whether the number of steps may grow.

    Raises:
        RunError: fewer sites could score than ``min_sites`` wants.
    """
    tried: dict[tuple[float, int | None], float] = {}
    asking = search(grid(ctx.simulation, grows=grows))
    try:
        candidates = next(asking)
        while True:
            values = await _validate(ctx, condition, pool, candidates)
            tried |= {(recipe.lr, recipe.steps): v for recipe, v in zip(candidates, values, strict=True)}
            candidates = asking.send(values)
    except StopIteration as found:
        return Choice(found.value, tried)


def grid(simulation: Simulation, *, grows: bool) -> Grid:
    """The common recipe's candidates; ``grows`` where there is no image budget to keep the number of steps to."""
    common = simulation.recipe
    base = Recipe(steps=common.steps, batch=common.batch, augment=common.augment)
    return Grid(base, common.lr, common.max_steps if grows else None)


async def _validate(ctx: StudyContext, condition: Condition, pool: Pool, candidates: Sequence[Recipe]) -> list[float]:
    """Return each candidate's quality, higher being better: validation AUC; or within the pool, that of what was set
    aside. NaN where there is nothing to tell it by.
    """
    pilots = range(min(ctx.simulation.recipe.pilots, ctx.simulation.networks))
    if ctx.simulation.recipe.chosen_on == "pool":
        found = await asyncio.gather(
            *[ctx.trainer.cross_validated(condition, pool, each, pilots) for each in candidates]
        )
        return qualities(found)
    trained = await asyncio.gather(*[ctx.trainer.networks(condition, pool, recipe, pilots) for recipe in candidates])
    networks = [network for each in trained for network in each]
    if ctx.simulation.recipe.chosen_on == "coordinator":
        aucs = np.array(await ctx.trainer.validated(networks, condition.model)).reshape(len(candidates), len(pilots))
        return [float(value) for value in aucs.mean(1)]
    steps = ", ".join(dict.fromkeys(str(recipe.steps) for recipe in candidates))
    totals = await tallied(
        ctx,
        pool.sites,
        f"validation {condition.name} {steps} steps",
        ctx.trainer.stacked(networks, condition.model),
        model=condition.model,
        partition=condition.partition,
    )
    aucs = np.array([total.auc for total in totals]).reshape(len(candidates), len(pilots))
    return [float(value) for value in aucs.mean(1)]
