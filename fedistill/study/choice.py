"""The common recipe's step size, and for schemes without an image budget its number of steps, chosen at the sites.

The server has no validation data. It sends pilot networks to the sites; each counts concordant pairs on its own
validation images and returns counts only; added up they give one AUC per candidate. Test data have no part in it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fedistill.distill import METHODS
from fedistill.errors import RunError
from fedistill.federation.coordinator import Coordinator
from fedistill.federation.messages import Question
from fedistill.plan import Simulation
from fedistill.study.arm import Arm, Choice
from fedistill.study.pool import Pool
from fedistill.study.trainer import Trained, Trainer
from fedistill.training.metrics import Tally
from fedistill.training.recipe import Recipe

Missed = Callable[[str, str, str], None]
"""``missed(site, question, why)``: told of a site that could not score."""


async def choose(
    simulation: Simulation, coordinator: Coordinator, trainer: Trainer, arm: Arm, pool: Pool, *, missed: Missed
) -> Choice:
    """Choose a recipe for an arm's pool.

    Raises:
        RunError: fewer sites could score than ``min_sites`` wants.

    A scheme with an image budget keeps the recipe's number of steps, so that all budgets and schemes take equally many.
    For one without, the number is doubled as long as validation gains, every step size tried each time: what all images
    together can do must not be understated.
    """
    common = simulation.recipe
    base = Recipe(steps=common.steps, batch=common.batch, augment=common.augment)
    candidates = [base.with_lr(lr) for lr in common.lr]
    grows = not METHODS[arm.scheme].budget
    if len(candidates) == 1 and not grows:
        return Choice(candidates[0], {})
    tried = dict(
        zip(candidates, await _validate(simulation, coordinator, trainer, arm, pool, candidates, missed), strict=True)
    )
    best = _best(tried, candidates[len(candidates) // 2])
    steps = common.steps * 2
    while grows and steps <= common.max_steps:
        longer = [replace(candidate, steps=steps) for candidate in candidates]
        values = await _validate(simulation, coordinator, trainer, arm, pool, longer, missed)
        tried |= dict(zip(longer, values, strict=True))
        if _best(tried, best) not in longer:
            break
        best, steps = _best(tried, best), steps * 2
    return Choice(best, {(recipe.lr, recipe.steps): value for recipe, value in tried.items()})


def _best(tried: dict[Recipe, float], otherwise: Recipe) -> Recipe:
    """The recipe with the highest AUC; without any (no site has validation images of two classes) the grid's middle."""
    known = {recipe: value for recipe, value in tried.items() if not np.isnan(value)}
    return max(known, key=lambda recipe: known[recipe]) if known else otherwise


async def _validate(
    simulation: Simulation,
    coordinator: Coordinator,
    trainer: Trainer,
    arm: Arm,
    pool: Pool,
    candidates: Sequence[Recipe],
    missed: Missed,
) -> list[float]:
    """Validation AUC of each candidate, mean over its pilots; NaN where no site has images of two classes."""
    pilots = range(min(simulation.recipe.pilots, simulation.networks))
    trained = await asyncio.gather(*[trainer.networks(arm, pool, recipe, pilots) for recipe in candidates])
    networks: list[Trained] = [network for each in trained for network in each]
    stacked = trainer.stacked(networks, arm.model)
    steps = ", ".join(dict.fromkeys(str(recipe.steps) for recipe in candidates))

    def question(site: str) -> Question:
        return Question(
            f"{site} validation {arm.name} {steps} steps", arm.model, simulation.width, arm.partition, stacked
        )

    replies = await asyncio.gather(*[coordinator.score(site, question(site)) for site in pool.sites])
    tallies = []
    for site, reply in zip(pool.sites, replies, strict=True):
        problem = reply if isinstance(reply, str) else _problem(reply, len(networks), pool.classes)
        if problem:
            missed(site, question(site).name, problem)
        else:
            tallies.append(reply)
    if len(tallies) < simulation.sites_needed:
        raise RunError(
            f"Too few sites could score {arm.name!r} on their validation images.",
            expected=f"at least {simulation.sites_needed} (min_sites)",
            found=len(tallies),
            mend="see the run folder's failures/; run again to resume, or lower min_sites",
        )
    totals = [sum(per_site[1:], start=per_site[0]) for per_site in zip(*tallies, strict=True)]
    aucs = np.array([total.auc for total in totals]).reshape(len(candidates), len(pilots))
    return [float(value) for value in aucs.mean(1)]


def _problem(tallies: Sequence[Tally], networks: int, classes: int) -> str:
    """What is wrong with a site's counts; empty where nothing is."""
    if len(tallies) != networks:
        return f"counts for {len(tallies)} networks came, not for {networks}"
    for tally in tallies:
        parts = (tally.concordant, tally.pairs, tally.correct, tally.count)
        if any(part.shape != (classes,) or not np.isfinite(part).all() or (part < 0).any() for part in parts):
            return "its counts are not counts"
        if (tally.concordant > tally.pairs).any() or (tally.correct > tally.count).any():
            return "its counts exceed what was counted"
    return ""
