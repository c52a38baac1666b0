"""The steps of a training: the same alone and beside others, however far ahead they are drawn."""

import torch

from fedistill.core.seeds import generator
from fedistill.training import augment
from fedistill.training.recipe import Recipe
from fedistill.training.schedule import AHEAD, schedule

CPU = torch.device("cpu")


def planned(seeds, recipe, images=10):
    return list(schedule(recipe, images, seeds=seeds, size=28, mirror=True, device=CPU))


def test_a_networks_steps_are_its_own_whoever_is_beside():
    recipe = Recipe(steps=AHEAD + 7, batch=4)
    both, [first, second] = planned([5, 6], recipe), [planned([seed], recipe) for seed in (5, 6)]
    assert len(both) == AHEAD + 7
    for step, *ones in zip(both, first, second, strict=True):
        for k, one in enumerate(ones):
            assert torch.equal(step.at[k], one.at[0])
            assert step.draws[k].op == one.draws[0].op
            assert torch.equal(step.draws[k].values, one.draws[0].values)


def test_the_augmentation_is_drawn_as_ever():
    recipe, draws = Recipe(steps=2 * AHEAD, batch=4), generator(5, "augment")
    for step in planned([5], recipe):
        wanted = augment.draw(draws, 4, size=28, mirror=True)
        assert step.draws[0].op == wanted.op and torch.equal(step.draws[0].values, wanted.values)


def test_whole_epochs_one_running_into_the_next():
    steps = planned([0], Recipe(steps=15, batch=4, augment=False), images=6)
    assert all(step.draws is None for step in steps)
    seen = torch.cat([step.at[0] for step in steps]).view(10, 6)
    assert torch.equal(seen.sort(1).values, torch.arange(6).expand(10, 6))
    assert len({tuple(epoch) for epoch in seen.tolist()}) > 5
