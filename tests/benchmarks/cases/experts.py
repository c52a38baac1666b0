"""MTT's experts: an epoch of training on the real images, with its snapshots."""

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases.case import OURS, PLAIN, Case, Order, Sizes, module_like, network_for, plain_pixels
from benchmarks.plain import experts as plain_experts
from fedistill.core import seeds
from fedistill.data import ImageSet
from fedistill.methods import Task
from fedistill.methods.experts import AHEAD, train
from fedistill.methods.mtt_settings import MTTSettings


def epoch(images: ImageSet, sizes: Sizes) -> Case:
    """One epoch of as many SGD steps as FeDistill's shortest epoch has, without augmentation; times are per step.

    So a schedule's cost is its number of steps times this: FeDistill trains the epochs that are read, the paper all.
    A set with too few images for these steps is gone through again: the time does not depend on what they show.
    """
    n = AHEAD * sizes.batch_expert
    images = images.take(np.resize(np.arange(len(images)), n))
    settings = MTTSettings(
        epochs=2, expert_epochs=1, max_start_epoch=1, syn_steps=1, batch_expert=sizes.batch_expert, augment=False
    )
    task = Task(images, None, width=sizes.width)
    network, x, y = network_for(images, sizes), plain_pixels(images), images.targets()

    def plain() -> list[Tensor]:
        generator = seeds.generator(task.seed, "mtt", "expert", 0)  # FeDistill's: the same weights, the same order
        net = module_like(network, network.init(generator))
        loader = DataLoader(TensorDataset(x, y), batch_size=sizes.batch_expert, sampler=Order(n, generator))
        path = plain_experts.expert(net, loader, epochs=1, lr=settings.lr_teacher)
        return [torch.cat([p.flatten() for p in weights]) for weights in path]

    def ours() -> list[Tensor]:
        return list(train(task, settings, 0))

    return Case(AHEAD, {PLAIN: plain, OURS: ours})
