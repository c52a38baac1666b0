"""DC: a whole matching step, and the training of the network between two of them."""

from functools import partial

import torch
from torch import Tensor

from benchmarks.cases.case import OURS, OURS_BF16, PLAIN, Case, Sizes, module_like, network_for, plain_pixels, reset
from benchmarks.plain import dc as plain_dc
from fedistill.core.precision import has_bfloat16
from fedistill.data import ImageSet
from fedistill.methods import settings_for
from fedistill.methods.dc import DCSettings
from fedistill.methods.engine import sgd
from fedistill.methods.engine.matching import match, real_gradient
from fedistill.methods.engine.method import classes_held

# The published numbers, on both sides.
SETTINGS = DCSettings()


def step(images: ImageSet, sizes: Sizes, *, ipc: int, dtype: torch.dtype = torch.float32) -> Case:
    """One matching step: every class's real batch, its synthetic images, and the update of these.

    FeDistill takes the real gradient in pieces of the size it ships with, and does the step in bfloat16 as well where
    the processor has it. Returned: how far the images moved.
    """
    generator = torch.Generator().manual_seed(0)
    network = network_for(images, sizes)
    params = sgd.fresh(network.init(generator, dtype))
    net = module_like(network, params)
    x, y = images.pixels().to(dtype), images.targets()
    drawn = [at[torch.randperm(len(at), generator=generator)[: sizes.batch_real]] for at in classes_held(images)]
    real, targets = [x[at] for at in drawn], [y[at] for at in drawn]
    plain_real = [plain_pixels(images).to(dtype)[at] for at in drawn]
    start, labels = _synthetic(images, ipc, generator, dtype)
    micro_batch = settings_for("dc", ipc=ipc).micro_batch

    def plain() -> list[Tensor]:
        made = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([made], lr=SETTINGS.lr_img, momentum=SETTINGS.momentum_img)
        plain_dc.matching_step(net, plain_real, made, labels, ipc, optimizer)
        return [made.detach() - start]

    def ours(precision: torch.dtype) -> list[Tensor]:
        made, velocity, gradient = start.clone(), torch.zeros_like(start), torch.empty_like(start)
        loss = torch.zeros((), dtype=dtype)
        for c, (batch, target) in enumerate(zip(real, targets, strict=True)):
            mine = slice(c * ipc, (c + 1) * ipc)
            wanted = real_gradient(network, params, batch, target, micro_batch=micro_batch, precision=precision)
            away, gradient[mine] = match(network, params, made[mine], labels[mine], wanted, precision=precision)
            loss = loss + away
        velocity = SETTINGS.momentum_img * velocity + gradient
        made = made - SETTINGS.lr_img * velocity
        loss.item()
        return [made - start]

    sides = {PLAIN: plain, OURS: lambda: ours(torch.float32)}
    if has_bfloat16():
        sides[OURS_BF16] = lambda: ours(torch.bfloat16)
    return Case(1, sides)


def inner(images: ImageSet, sizes: Sizes, *, ipc: int, dtype: torch.dtype = torch.float32) -> Case:
    """Some epochs of training the network on the synthetic images: one SGD step each where these fit a batch."""
    generator = torch.Generator().manual_seed(0)
    network = network_for(images, sizes)
    fresh = network.init(generator, dtype)
    net = module_like(network, fresh)
    x, labels = _synthetic(images, ipc, generator, dtype)

    def plain() -> list[Tensor]:
        reset(net, fresh)
        optimizer = torch.optim.SGD(net.parameters(), lr=SETTINGS.lr_net)
        for _ in range(sizes.inner):
            plain_dc.train_on_synthetic(net, x, labels, optimizer)
        return [p.detach() for p in net.parameters()]

    def ours() -> list[Tensor]:
        params = sgd.fresh(fresh)
        batch, order = SETTINGS.batch_train, torch.Generator().manual_seed(0)
        take = partial(sgd.step, network, params, lr=SETTINGS.lr_net)
        sgd.epochs(take, x, labels, n=sizes.inner, batch=batch, generator=order)
        return [p.detach() for p in params]

    return Case(sizes.inner * -(-len(x) // SETTINGS.batch_train), {PLAIN: plain, OURS: ours})


def _synthetic(images: ImageSet, ipc: int, generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    shape = (ipc * images.n_classes, images.channels, images.size, images.size)
    labels = torch.arange(images.n_classes).repeat_interleave(ipc)
    return torch.randn(shape, generator=generator, dtype=dtype), labels
