"""Evaluation networks: training one on a pool of images by DC's published recipe, a few of its epochs."""

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases.case import OURS, PLAIN, Case, Order, Sizes, module_like, network_for, plain_pixels
from benchmarks.plain import fit as plain_fit
from fedistill.core import seeds
from fedistill.data import ImageSet
from fedistill.training.fit import fit
from fedistill.training.recipe import Recipe

SEED = 0


def training(images: ImageSet, sizes: Sizes) -> Case:
    """One network on `pool` images, `epochs` epochs; times are per SGD step. Real images stand for synthetic ones."""
    pool = images.take(np.resize(np.arange(len(images)), sizes.pool))
    x, y, network = plain_pixels(pool), pool.targets(), network_for(images, sizes)
    recipe = Recipe("native", lr=0.01, steps=None, epochs=sizes.epochs, batch=sizes.batch, augment=False)

    def plain() -> list[Tensor]:
        net = module_like(network, network.init(seeds.generator(SEED, "init")))  # FeDistill's weights and order
        order = Order(len(x), seeds.generator(SEED, "order"))
        loader = DataLoader(TensorDataset(x, y), batch_size=recipe.batch, sampler=order)
        plain_fit.fit(net, loader, epochs=recipe.epochs, lr=recipe.lr)
        return [p.detach() for p in net.parameters()]

    def ours() -> list[Tensor]:
        return list(fit(network, x, y, recipe, seed=SEED, mirror=pool.mirror))

    return Case(recipe.steps_for(len(x)), {PLAIN: plain, OURS: ours})
