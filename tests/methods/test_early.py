import torch

from fedistill.methods import Task
from fedistill.methods.dc import DCSettings, dc
from fedistill.methods.engine import sgd
from fedistill.methods.engine.early import STAGES, EarlySettings, networks, train
from fedistill.methods.engine.method import in_memory
from fedistill.models import objective


def test_the_states_are_stages_of_one_training(blobs):
    images = blobs((20, 2, 20))
    task = Task(images, 1, width=8)
    states = train(task, EarlySettings(early_networks=1, early_steps=40), 0)
    shapes = task.network().init(torch.Generator())
    losses = []
    for theta in states:
        params = sgd.unflatten(theta, shapes)
        losses.append(float(objective(task.network()(params, images.pixels()), images.targets())))
    assert len(states) == STAGES and losses[-1] < losses[0]


def test_networks_are_drawn_from_all_states_and_trained_once(blobs):
    made = []

    def behind(kind, about, make):
        made.append((kind, about["network"]))
        return make()

    task = Task(blobs(), 1, width=4, remember=in_memory(behind))
    settings = EarlySettings(early_networks=2, early_steps=4)
    draw, generator = networks(task, settings), torch.Generator().manual_seed(0)
    drawn = {float(draw(generator)[0].sum()) for _ in range(200)}
    assert len(drawn) == 2 * STAGES
    networks(task, settings)
    assert made == [("early", 0), ("early", 1)]


def test_without_them_every_network_is_fresh(blobs):
    draw, generator = networks(Task(blobs(), 1, width=4), EarlySettings()), torch.Generator().manual_seed(0)
    assert len({float(draw(generator)[0].sum()) for _ in range(10)}) == 10


def test_matching_leaves_the_kept_networks_as_they_are(blobs):
    """Training between matching steps is done on copies."""
    task = Task(blobs(), 1, width=4, remember=in_memory())
    settings = DCSettings(iterations=3, outer=3, inner=2, early_networks=1, early_steps=4, looks=0)
    one, two = dc(task, settings), dc(task, settings)
    assert torch.equal(one.images, two.images)
