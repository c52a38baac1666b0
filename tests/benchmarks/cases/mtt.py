"""MTT: one iteration, that is the gradient through an unrolled training, and the step on images and step size."""

import math

import torch
from torch import Tensor

from benchmarks.cases.case import OURS, PLAIN, Case, Sizes, module_like, network_for
from benchmarks.plain import mtt as plain_mtt
from fedistill.data import ImageSet
from fedistill.methods.engine.unroll import trajectory_gradient
from fedistill.methods.mtt import batches, next_log_lr
from fedistill.methods.mtt_settings import MTTSettings

SETTINGS = MTTSettings()

# How far apart the two ends of a segment are, against the weights: enough for the loss to be well away from 0 and 1.
AWAY = 0.02


def iteration(images: ImageSet, sizes: Sizes, *, ipc: int, unroll: int, dtype: torch.dtype = torch.float32) -> Case:
    """One iteration of so many synthetic steps, all synthetic images in each. Returned: how far the images
    moved, and the loss's gradient in the step size (which FeDistill learns as its logarithm, and the paper as itself).
    """
    generator = torch.Generator().manual_seed(0)
    network = network_for(images, sizes)
    start = network.init(generator, dtype)
    target = tuple(p + AWAY * torch.randn(p.shape, generator=generator, dtype=dtype) for p in start)
    labels = torch.arange(images.n_classes).repeat_interleave(ipc)
    first = torch.randn((len(labels), images.channels, images.size, images.size), generator=generator, dtype=dtype)
    order = batches(len(labels), SETTINGS.batch_syn, unroll, generator)
    net = module_like(network, start)

    def plain() -> list[Tensor]:
        made = first.clone().requires_grad_()
        lr = torch.tensor(SETTINGS.lr_teacher, dtype=dtype, requires_grad=True)
        of_images = torch.optim.SGD([made], lr=SETTINGS.lr_img, momentum=SETTINGS.momentum_img)
        of_lr = torch.optim.SGD([lr], lr=SETTINGS.lr_lr, momentum=SETTINGS.momentum_img)
        plain_mtt.iteration(net, start, target, made, labels, lr, order, [of_images, of_lr])
        assert lr.grad is not None
        return [made.detach() - first, lr.grad]

    def ours() -> list[Tensor]:
        lr, velocity = SETTINGS.lr_teacher, torch.zeros_like(first)
        found = trajectory_gradient(network, start, target, first, labels, lr, batches=order, draws=[None] * len(order))
        velocity = SETTINGS.momentum_img * velocity + found.images
        next_log_lr(math.log(lr), lr * float(found.lr), SETTINGS)
        made = first - SETTINGS.lr_img * velocity
        return [made - first, found.lr]

    return Case(1, {PLAIN: plain, OURS: ours})
