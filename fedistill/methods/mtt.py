"""MTT: trajectory matching.

Cazenavette et al., *Dataset Distillation by Matching Training Trajectories*, CVPR 2022 (arXiv 2203.11932).

From an expert's weights at some epoch, a network is trained on the synthetic images for a few steps; images and step
size are moved so that it arrives where the expert was some epochs later. The step size is learned as its logarithm:
learned itself, it can turn negative. DATM's choice of where segments start (arXiv 2310.05773) and HoP-TM's terms of
the loss (arXiv 2509.24177) are settings.
"""

import math
from functools import partial

import torch
from torch import Tensor

from fedistill.core import seeds
from fedistill.methods.engine import sgd
from fedistill.methods.engine.arrival import Terms, halfway
from fedistill.methods.engine.loop import Advance, State, steadily
from fedistill.methods.engine.method import SyntheticSet, Task
from fedistill.methods.engine.start import start
from fedistill.methods.engine.unroll import trajectory_gradient
from fedistill.methods.engine.unroll_recorded import RecordedTrajectory
from fedistill.methods.experts import experts
from fedistill.methods.mtt_settings import MTTSettings
from fedistill.training import augment, graphs
from fedistill.training.packing import pulled_back, repeated, shown

# One step may change the step size by this factor at most, and all together by FARTHEST: beyond, training explodes.
FASTEST, FARTHEST = 1.5, 100.0

MATCHED = "matched"  # the weights that HoP-TM matches so far, in the loop's memory


def batches(n: int, size: int | None, steps: int, generator: torch.Generator) -> list[Tensor]:
    """Draw positions for each step: epoch after epoch in fresh order, batches of this size; all at once where they fit.

    >>> [len(b) for b in batches(5, 2, 4, torch.Generator().manual_seed(0))]
    [2, 2, 1, 2]
    """
    if size is None or size >= n:
        return [torch.arange(n)] * steps
    positions: list[Tensor] = []
    while len(positions) < steps:
        positions += torch.randperm(n, generator=generator).split(size)
    return positions[:steps]


def mtt(task: Task, settings: MTTSettings) -> SyntheticSet:
    """Distil images, and a step size, that train a network where the real images would (MTT, arXiv 2203.11932).

    Raises:
        RunError: the images do not stay finite numbers.
    """
    ipc, size, mirror, pack = task.budget, task.images.size, task.images.mirror, settings.pack
    net = task.network()
    paths = experts(task, settings)
    shapes = net.init(torch.Generator())
    begun = start(task, settings.start, seeds.generator(task.seed, "mtt", ipc, "start"), pack=pack)
    images, labels = begun.images.to(task.device), begun.labels.to(task.device)
    trained_labels = repeated(labels, pack)
    recorded = RecordedTrajectory(net, task.computes_in) if graphs.used_on(task.device) else None
    gradient = recorded or partial(trajectory_gradient, net)

    def advance(state: State, pace: float, generator: torch.Generator) -> Advance:
        path = paths[int(torch.randint(len(paths), (1,), generator=generator))]
        epochs = settings.start_epochs(state.numbers["done"])
        first = epochs[int(torch.randint(len(epochs), (1,), generator=generator))]
        steps = batches(len(trained_labels), settings.batch_syn, settings.syn_steps, generator)
        draws = [augment.draw(generator, len(b), size=size, mirror=mirror) if settings.augment else None for b in steps]
        lr = math.exp(state.numbers["log_lr"])
        trajectory = gradient(
            sgd.unflatten(path[first].to(task.device), shapes),
            sgd.unflatten(path[first + settings.expert_epochs].to(task.device), shapes),
            shown(state.images, pack),
            trained_labels,
            lr,
            batches=[b.to(task.device) for b in steps],
            draws=draws,
            terms=terms(path[first + halfway(settings.expert_epochs)], state),
        )
        velocity = settings.momentum_img * state.velocity + pulled_back(trajectory.images, pack)
        slope = lr * float(trajectory.lr)  # in the logarithm of the step size
        lr_velocity = settings.momentum_img * state.numbers["lr_velocity"] + slope
        numbers = {
            "log_lr": next_log_lr(state.numbers["log_lr"], pace * lr_velocity, settings),
            "lr_velocity": lr_velocity,
            "done": state.numbers["done"] + 1,
        }
        memory, said = {}, f"loss {float(trajectory.loss):.3f}, step size {lr:.4f}"
        if trajectory.matched is not None:
            memory = {MATCHED: trajectory.matched}
            said += f", {100 * float(trajectory.matched.float().mean()):.0f} % of weights matched"
        moved = State(state.images - pace * settings.lr_img * velocity, velocity, numbers, memory)
        return Advance(moved, float(trajectory.loss), said)

    def terms(middle: Tensor, state: State) -> Terms | None:
        if not settings.lamb and settings.base_threshold is None:
            return None
        expert = sgd.unflatten(middle.to(task.device), shapes)
        return Terms(expert, settings.lamb, settings.threshold(state.numbers["done"]), state.memory.get(MATCHED))

    numbers = {"log_lr": math.log(settings.lr_teacher), "lr_velocity": 0.0, "done": 0}
    first = State(images, torch.zeros_like(images), numbers)
    return steadily(task, "mtt", settings, labels, first, advance, pack=pack)


def next_log_lr(log_lr: float, velocity: float, settings: MTTSettings) -> float:
    """Return the step size's logarithm after one step of SGD, kept from leaping and from leaving its range.

    d log lr = d lr / lr, so a published lr_lr, which acts on lr, becomes lr_lr / lr_teacher^2 on its logarithm.
    """
    if not math.isfinite(velocity):
        return math.nan  # the loop goes back to the last good state
    change = -settings.lr_lr / settings.lr_teacher**2 * velocity
    fastest, farthest, origin = math.log(FASTEST), math.log(FARTHEST), math.log(settings.lr_teacher)
    moved = log_lr + max(-fastest, min(fastest, change))
    return max(origin - farthest, min(origin + farthest, moved))
