"""The pieces of work, as functions of a device: FeDistill's, whichever form it takes there, and the textbook's.

Each of FeDistill's returns what it made, so that a card's form can be held against the readable one, and the seconds
of its parts. Times end when the device has done the work.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.plain import dc as plain_dc
from benchmarks.plain import experts as plain_experts
from benchmarks.plain import fit as plain_fit
from benchmarks.plain import mtt as plain_mtt
from benchmarks.plain.convnet import ConvNet
from benchmarks.plain.epoch import train_epoch
from fedistill.core import seeds
from fedistill.core.events import OnEvent, ignore
from fedistill.data.imageset import ImageSet
from fedistill.methods import SyntheticSet, Task
from fedistill.methods.dc import DCSettings, dc
from fedistill.methods.dm import DMSettings, dm
from fedistill.methods.engine import sgd
from fedistill.methods.engine.clusters import ClusterSettings
from fedistill.methods.engine.matching import matched, real_gradient
from fedistill.methods.engine.start import start
from fedistill.methods.engine.unroll import trajectory_gradient
from fedistill.methods.engine.unroll_recorded import RecordedTrajectory
from fedistill.methods.experts import train
from fedistill.methods.mtt_settings import MTTSettings
from fedistill.models import Network, Params, build
from fedistill.training import augment, graphs
from fedistill.training.device import computing_in
from fedistill.training.ensemble import fit_ensemble
from fedistill.training.graphs import buffer, repeated
from fedistill.training.recipe import Recipe


@dataclass(frozen=True)
class Sizes:
    """How much work there is; the defaults are PathMNIST's shape and the published schedules at ipc 10."""

    images: int = 89_996
    classes: int = 9
    side: int = 28
    width: int = 128
    ipc: int = 10
    batch_real: int = 256
    outer: int = 10
    inner: int = 50
    unroll: tuple[int, ...] = (20, 60)
    batch_expert: int = 256
    networks: int = 20
    fit_steps: int = 300


# For comparing numbers: seconds on one core.
TINY = Sizes(60, 3, 8, 4, 2, 5, 2, 2, (3,), 8, 2, 4)


@dataclass(frozen=True)
class Site:
    """Where and on what: the images, and what FeDistill computes in there."""

    images: ImageSet
    sizes: Sizes
    device: torch.device
    precision: str

    @property
    def network(self) -> Network:
        sizes = self.sizes
        return build("convnet", channels=3, classes=sizes.classes, size=sizes.side, width=sizes.width)

    def task(self, ipc: int | None, on_event: OnEvent = ignore) -> Task:
        return Task(
            self.images,
            ipc,
            width=self.sizes.width,
            precision=self.precision,
            device=self.device.type,
            on_event=on_event,
        )

    def batch(self, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Noise for images, and labels, the same on every device."""
        g = torch.Generator().manual_seed(seed)
        x = torch.randn((n, 3, self.sizes.side, self.sizes.side), generator=g)
        return x.to(self.device), (torch.arange(n) % self.sizes.classes).to(self.device)

    def params(self, seed: int = 0) -> Params:
        return tuple(p.to(self.device) for p in self.network.init(torch.Generator().manual_seed(seed)))

    def done(self) -> float:
        """Wait for the device; the time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def noise(sizes: Sizes) -> ImageSet:
    """Images of nothing, evenly in all classes."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (sizes.images, sizes.side, sizes.side, 3), dtype=np.uint8)
    labels = np.arange(sizes.images) % sizes.classes
    return ImageSet(pixels, labels.astype(np.int64), tuple(f"class {c}" for c in range(sizes.classes)), mirror=True)


@dataclass(frozen=True)
class Made:
    """What a piece of work gave.

    Args:
        tensors: its result, on the processor.
        seconds: of each unit of it, the first of which pays for what is done once (graphs, kernels).
    """

    tensors: list[Tensor]
    seconds: list[float]


# --- FeDistill's -----------------------------------------------------------------------------------------------------


def dc_iterations(site: Site, n: int, method: Callable[[Task, DCSettings], SyntheticSet] = dc) -> Made:
    """Iterations of DC, or DSA, by the published schedule."""
    sizes, ends = site.sizes, [site.done()]
    task = site.task(sizes.ipc, lambda event: ends.append(site.done()) if event.step is not None else None)
    settings = DCSettings(iterations=n, outer=sizes.outer, inner=sizes.inner, batch_real=sizes.batch_real)
    return Made([_moved(method(task, settings), task, method.__name__, settings)], np.diff(ends).tolist())


def dm_iterations(site: Site, n: int) -> Made:
    """Iterations of DM, as published but from noise."""
    ends = [site.done()]
    task = site.task(site.sizes.ipc, lambda event: ends.append(site.done()) if event.step is not None else None)
    settings = DMSettings(iterations=n, batch_real=site.sizes.batch_real)
    return Made([_moved(dm(task, settings), task, "dm", settings)], np.diff(ends).tolist())


def _moved(made: SyntheticSet, task: Task, name: str, settings: ClusterSettings) -> Tensor:
    """How far the images moved from the noise they began with, which would hide what moved them."""
    return made.images - start(task, "noise", seeds.generator(task.seed, name, task.ipc, "start"), settings).images


def steps(site: Site, batch: int, n: int) -> Made:
    """Steps of SGD, without momentum, on one batch."""
    x, y = site.batch(batch)
    trained = sgd.Training(site.network, site.params(), site.precision)
    seconds = []
    with computing_in(site.precision, site.device):
        for size in (1, n, n, n):
            begin = site.done()
            for _ in range(size):
                trained.step(x, y, 0.01)
            seconds.append((site.done() - begin) / size)
    return Made([p.detach().cpu() for p in trained.params], seconds)


def real_gradients(site: Site, n: int) -> Made:
    """The gradients of a real batch of every class, as a matching step takes them."""
    sizes, params = site.sizes, sgd.fresh(site.params())
    last = site.network.channels_last
    batches = [buffer(site.batch(sizes.batch_real, seed=c)[0], channels_last=last) for c in range(sizes.classes)]
    labels = [torch.full((sizes.batch_real,), c, device=site.device) for c in range(sizes.classes)]
    out = [[torch.zeros_like(p) for p in matched(params)] for _ in batches]
    dtype = torch.bfloat16 if site.precision == "bfloat16" else torch.float32

    def body() -> None:
        for x, y, kept in zip(batches, labels, out, strict=True):
            wanted = real_gradient(site.network, params, x, y, micro_batch=len(x), precision=dtype)
            torch._foreach_copy_(kept, wanted)

    run = repeated(body, device=site.device, precision=site.precision)
    seconds = []
    with computing_in(site.precision, site.device):
        for size in (1, n, n, n):
            begin = site.done()
            for _ in range(size):
                run()
            seconds.append((site.done() - begin) / size)
    return Made([w.cpu() for kept in out for w in kept], seconds)


def expert(site: Site, epochs: int, *, augmented: bool) -> Made:
    """An expert's epochs; the first pays for its graph, and for handing over the images."""
    ends = [site.done()]
    task = site.task(None, lambda event: ends.append(site.done()))
    settings = MTTSettings(
        epochs=epochs + 1,
        expert_epochs=1,
        max_start_epoch=epochs,
        syn_steps=1,
        batch_expert=site.sizes.batch_expert,
        augment=augmented,
    )
    return Made([train(task, settings, 0)], np.diff(ends).tolist())


def evaluation(site: Site) -> Made:
    """Evaluation networks on a pool of synthetic images, seconds of each."""
    sizes = site.sizes
    x, y = site.batch(sizes.ipc * sizes.classes)
    recipe = Recipe("native", lr=0.01, steps=sizes.fit_steps, batch=256, augment=False)
    begin = site.done()
    made = fit_ensemble(site.network, x, y, recipe, seeds=range(sizes.networks), mirror=True, precision=site.precision)
    seconds = (site.done() - begin) / sizes.networks
    return Made([p.cpu() for params in made for p in params], [seconds])


def mtt_iterations(site: Site, unroll: int, n: int, *, augmented: bool = False) -> Made:
    """Gradients of MTT's loss through so many steps on all synthetic images."""
    sizes, weights = site.sizes, site.params()
    g = torch.Generator().manual_seed(1)
    target = tuple(p + 0.02 * torch.randn(p.shape, generator=g).to(site.device) for p in weights)
    images, labels = site.batch(sizes.ipc * sizes.classes)
    draws = [augment.draw(g, len(images), size=sizes.side, mirror=True) if augmented else None for _ in range(unroll)]
    given = {"batches": [torch.arange(len(images), device=site.device)] * unroll, "draws": draws}
    recorded = graphs.used_on(site.device)
    gradient = RecordedTrajectory(site.network, site.precision) if recorded else None
    seconds = []
    with computing_in(site.precision, site.device):
        for _ in range(n):
            begin = site.done()
            if gradient is None:
                found = trajectory_gradient(site.network, weights, target, images, labels, 0.01, **given)
            else:
                found = gradient(weights, target, images, labels, 0.01, **given)
            seconds.append(site.done() - begin)
    return Made([each.cpu() for each in (found.loss, found.images, found.lr)], seconds)


# --- The textbook's, in PyTorch's default precision: convolutions in TF32, products in float32 -----------------------


def module(site: Site) -> nn.Module:
    return ConvNet(3, site.sizes.classes, width=site.sizes.width).to(site.device)


def plain_dc_iterations(site: Site, x: Tensor, y: Tensor, n: int) -> list[float]:
    ends = [site.done()]
    plain_dc.dc(
        x,
        y,
        ipc=site.sizes.ipc,
        iterations=n,
        batch_real=site.sizes.batch_real,
        width=site.sizes.width,
        on_iteration=lambda state: ends.append(site.done()),
    )
    return np.diff(ends).tolist()


def plain_steps(site: Site, batch: int, n: int) -> list[float]:
    net, one = module(site), [site.batch(batch)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    return _timed(site, lambda: train_epoch(net, one * n, optimizer), n)


def plain_real_gradients(site: Site, n: int) -> list[float]:
    net, criterion = module(site), nn.CrossEntropyLoss()
    batches = [site.batch(site.sizes.batch_real, seed=c) for c in range(site.sizes.classes)]

    def work() -> None:
        for _ in range(n):
            for x, y in batches:
                torch.autograd.grad(criterion(net(x), y), list(net.parameters()))

    return _timed(site, work, n)


def plain_expert(site: Site, x: Tensor, y: Tensor) -> list[float]:
    loader = DataLoader(TensorDataset(x, y), batch_size=site.sizes.batch_expert, shuffle=True)
    return _timed(site, lambda: plain_experts.expert(module(site), loader, epochs=1), 1, repeats=2)


def plain_evaluation(site: Site) -> list[float]:
    x, y = site.batch(site.sizes.ipc * site.sizes.classes)
    loader = DataLoader(TensorDataset(x, y), batch_size=256, shuffle=True)
    return _timed(site, lambda: plain_fit.fit(module(site), loader, epochs=site.sizes.fit_steps), 1, repeats=3)


def plain_mtt_iterations(site: Site, unroll: int, n: int) -> list[float]:
    net, weights = module(site), site.params()
    target = tuple(p + 0.02 * torch.randn_like(p) for p in weights)
    images, labels = site.batch(site.sizes.ipc * site.sizes.classes)
    images.requires_grad_()
    lr = torch.tensor(0.01, device=site.device, requires_grad=True)
    optimizers = [torch.optim.SGD([images], lr=1e-3, momentum=0.5), torch.optim.SGD([lr], lr=1e-9, momentum=0.5)]
    order = [torch.arange(len(images), device=site.device)] * unroll
    return _timed(
        site, lambda: plain_mtt.iteration(net, weights, target, images, labels, lr, order, optimizers), 1, repeats=n
    )


def _timed(site: Site, work: Callable[[], object], units: int, repeats: int = 4) -> list[float]:
    """Seconds of a unit, call by call; the first call pays for what is done once."""
    seconds = []
    for _ in range(repeats):
        begin = site.done()
        work()
        seconds.append((site.done() - begin) / units)
    return seconds
