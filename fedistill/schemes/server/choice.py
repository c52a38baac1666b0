"""The common recipe's step size, and for schemes without an image budget its number of steps; the best strong recipe.

By default all are chosen within the pool, by cross-validation (`fedistill.schemes.server.cross_validation`).
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
from fedistill.schemes.server.cross_validation import mean_aucs, rate_candidates
from fedistill.schemes.server.federated_eval import sum_tallies
from fedistill.schemes.server.pool import Pool
from fedistill.training.recipe import Optimiser, Recipe
from fedistill.training.search import Grid, search

ADAMW_DECAY = 0.01
"""AdamW's weight decay as it is commonly used: it is no part of the gradient, and SGD's 0.0005 would do nothing."""


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


def compared(simulation: Simulation) -> dict[str, list[Recipe]]:
    """Return the candidates that `choose` and `choose_strong` compare for a scheme with an image budget, by recipe.

    A recipe with a single candidate is left out: about that one nobody is asked.
    """
    common = grid(simulation, grows=False)
    candidates = {
        "common": [common.base.with_lr(lr) for lr in common.lr],
        "strong": strong_candidates(simulation),
    }
    return {name: each for name, each in candidates.items() if name in simulation.recipes and len(each) > 1}


def grid(simulation: Simulation, *, grows: bool) -> Grid:
    """Return the common recipe's candidates; with ``grows``, for schemes without an image budget, also more steps."""
    common = simulation.recipe
    base = Recipe(steps=common.steps, batch=common.batch, augment=common.augment)
    return Grid(base, common.lr, common.max_steps if grows else None)


async def choose_strong(ctx: StudyContext, condition: Condition, pool: Pool, common: Recipe, *, grows: bool) -> Choice:
    """Choose the best of the simulation's stronger grid for a condition's pool, on what the common recipe is chosen on.

    Unlike there, the best one is taken though it may not be surely better: the larger grid is asked what can be
    reached, and not for the safest.

    Args:
        ctx: of the study.
        condition: of recipe ``strong``.
        pool: to train on.
        common: the common recipe as it was chosen; without an image budget (``grows``) all train at least as long.
        grows: whether the scheme has no image budget.

    Raises:
        RunError: fewer sites could score than ``min_sites`` requires.
    """
    candidates = strong_candidates(ctx.simulation, at_least=(common.steps or 1) if grows else 1)
    if len(candidates) == 1:
        return Choice(candidates[0], {})
    values = await _validate(ctx, condition, pool, candidates, surely=False)
    best = max((v for v in values if not np.isnan(v)), default=None)
    return Choice(candidates[0 if best is None else values.index(best)], {})


def strong_candidates(simulation: Simulation, *, at_least: int = 1) -> list[Recipe]:
    """Return the recipes of the stronger grid, each once, in its order.

    Args:
        simulation: whose grid it is.
        at_least: steps; smaller numbers are raised to it.
    """
    common, strong = simulation.recipe, simulation.strong
    sizes: list[tuple[Optimiser, float]] = [("sgd", lr) for lr in strong.sgd]
    sizes += [("adamw", lr) for lr in strong.adamw]
    steps = dict.fromkeys(max(each, at_least) for each in strong.steps)
    return [
        Recipe(
            "strong",
            lr=lr,
            steps=each,
            batch=common.batch,
            augment=common.augment,
            weight_decay=ADAMW_DECAY if optimiser == "adamw" else Recipe.weight_decay,
            optimiser=optimiser,
            mix=mix,
        )
        for each in steps
        for optimiser, lr in sizes
        for mix in strong.mix
    ]


async def _validate(
    ctx: StudyContext, condition: Condition, pool: Pool, candidates: Sequence[Recipe], *, surely: bool = True
) -> list[float]:
    """Return each candidate's validation AUC, or its cross-validated AUC within the pool; NaN if undefined.

    Within the pool, if ``surely``, candidates that are not significantly worse than the best one have its AUC.
    """
    pilots = range(min(ctx.simulation.recipe.pilots, ctx.simulation.networks))
    if ctx.simulation.recipe.chosen_on == "pool":
        aucs_by_candidate = await asyncio.gather(
            *[ctx.trainer.cross_validate(condition, pool, each, pilots) for each in candidates]
        )
        return rate_candidates(aucs_by_candidate) if surely else mean_aucs(aucs_by_candidate)
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
