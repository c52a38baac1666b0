"""The common recipe's step size, and for schemes without an image budget its number of steps.

By default both are chosen within the pool, by cross-validation (`fedistill.schemes.server.cross_validation`).
Alternatively they are chosen on validation images: the coordinator's own, or the sites', to which the server sends
pilot networks. A site returns only counts of concordant pairs, whose sums give one AUC per candidate. Test data play no
part in any choice.
"""

import asyncio
from collections.abc import Sequence

import numpy as np

from fedistill.config import Simulation
from fedistill.schemes.server.condition import Choice, Condition
from fedistill.schemes.server.context import StudyContext
from fedistill.schemes.server.cross_validation import rate_candidates
from fedistill.schemes.server.federated_eval import sum_tallies
from fedistill.schemes.server.pool import Pool
from fedistill.training.recipe import Recipe
from fedistill.training.search import Grid, search


async def choose(ctx: StudyContext, condition: Condition, pool: Pool, *, grows: bool) -> Choice:
    """Choose a recipe for a condition's pool.

    A scheme with an image budget keeps the recipe's number of steps, so that all budgets and schemes take equally many.
    Without a budget (``grows``), the number grows while the validation quality improves (see
    `fedistill.training.search`).

    Raises:
        RunError: fewer sites could score than ``min_sites`` requires.
    """
    tried: dict[tuple[float, int | None], float] = {}
    candidates_search = search(grid(ctx.simulation, grows=grows))
    try:
        candidates = next(candidates_search)
        while True:
            values = await _validate(ctx, condition, pool, candidates)
            tried |= {(recipe.lr, recipe.steps): v for recipe, v in zip(candidates, values, strict=True)}
            candidates = candidates_search.send(values)
    except StopIteration as stop:
        return Choice(stop.value, tried)


def question_name(condition: Condition, steps: Sequence[int | None]) -> str:
    """Return the name of the question to sites by which candidates of these numbers of steps are compared."""
    return f"validation {condition.name} {', '.join(dict.fromkeys(map(str, steps)))} steps"


def grid(simulation: Simulation, *, grows: bool) -> Grid:
    """Return the common recipe's candidates; with ``grows``, for schemes without an image budget, also more steps."""
    common = simulation.recipe
    base = Recipe(steps=common.steps, batch=common.batch, augment=common.augment)
    return Grid(base, common.lr, common.max_steps if grows else None)


async def _validate(ctx: StudyContext, condition: Condition, pool: Pool, candidates: Sequence[Recipe]) -> list[float]:
    """Return each candidate's validation AUC, or its cross-validated AUC within the pool; NaN if undefined."""
    pilots = range(min(ctx.simulation.recipe.pilots, ctx.simulation.networks))
    if ctx.simulation.recipe.chosen_on == "pool":
        aucs_by_candidate = await asyncio.gather(
            *[ctx.trainer.cross_validate(condition, pool, each, pilots) for each in candidates]
        )
        return rate_candidates(aucs_by_candidate)
    trained = await asyncio.gather(*[ctx.trainer.train(condition, pool, recipe, pilots) for recipe in candidates])
    networks = [network for each in trained for network in each]
    if ctx.simulation.recipe.chosen_on == "coordinator":
        aucs = np.array(await ctx.trainer.validate(networks, condition.model)).reshape(len(candidates), len(pilots))
        return [float(value) for value in aucs.mean(1)]
    totals = await sum_tallies(
        ctx,
        pool.sites,
        question_name(condition, [recipe.steps for recipe in candidates]),
        ctx.trainer.stacked(networks, condition.model),
        model=condition.model,
        partition=condition.partition,
    )
    aucs = np.array([total.auc for total in totals]).reshape(len(candidates), len(pilots))
    return [float(value) for value in aucs.mean(1)]
