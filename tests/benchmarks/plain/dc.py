"""DC as its paper writes it (Zhao, Mopuri & Bilen, ICLR 2021, arXiv 2006.05929): a loop over classes, whole batches."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.plain.convnet import ConvNet
from benchmarks.plain.epoch import train_epoch

SCHEDULE = {1: (1, 1), 10: (10, 50), 50: (50, 10)}


@dataclass(frozen=True, eq=False)
class State:
    """All that the next iteration depends on: the images, their momentum, and PyTorch's random state."""

    iteration: int
    images: Tensor
    velocity: Tensor
    random: Tensor


def distance(real: list[Tensor], made: list[Tensor]) -> Tensor:
    """Sum over weights and their output rows of 1 - cosine; biases and norms (one dimension) are left out."""
    total = torch.zeros(())
    for a, b in zip(real, made, strict=True):
        if a.ndim == 1:
            continue
        a, b = a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1)
        total = total + torch.sum(1 - torch.sum(a * b, -1) / (torch.norm(a, dim=-1) * torch.norm(b, dim=-1) + 1e-6))
    return total


def matching_step(
    net: nn.Module, real: list[Tensor], images: Tensor, labels: Tensor, ipc: int, optimizer: torch.optim.Optimizer
) -> float:
    """One step on the images: for every class its real batch's gradient against its synthetic images' one."""
    criterion = nn.CrossEntropyLoss()
    parameters = list(net.parameters())
    loss = torch.zeros(())
    for c, x in enumerate(real):
        target = torch.full((len(x),), c, device=x.device)
        wanted = torch.autograd.grad(criterion(net(x), target), parameters)
        mine = slice(c * ipc, (c + 1) * ipc)
        made = torch.autograd.grad(criterion(net(images[mine]), labels[mine]), parameters, create_graph=True)
        loss = loss + distance([g.detach().clone() for g in wanted], list(made))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train_on_synthetic(net: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One epoch on the synthetic images, through a DataLoader."""
    loader = DataLoader(TensorDataset(images.detach().clone(), labels), batch_size=256, shuffle=True)
    train_epoch(net, loader, optimizer)


def dc(
    real_images: Tensor,
    real_labels: Tensor,
    *,
    ipc: int,
    iterations: int = 1000,
    batch_real: int = 256,
    width: int = 128,
    seed: int = 0,
    on_iteration: Callable[[State], None] = lambda state: None,
    since: State | None = None,
) -> tuple[Tensor, Tensor]:
    """Distil (N, C, 28, 28) images with labels 0..K-1 into K x ipc images; the published schedule.

    Given the state after some iteration, it goes on from there, and ends with the same images.
    """
    torch.manual_seed(seed)
    classes, channels = int(real_labels.max()) + 1, real_images.shape[1]
    outer, inner = SCHEDULE[ipc]
    where = [torch.nonzero(real_labels == c).flatten() for c in range(classes)]
    device = real_images.device
    images = torch.randn((classes * ipc, *real_images.shape[1:]), device=device).requires_grad_()
    labels = torch.arange(classes, device=device).repeat_interleave(ipc)
    optimizer = torch.optim.SGD([images], lr=0.1, momentum=0.5)
    if since is not None:
        images.data.copy_(since.images)
        optimizer.state[images]["momentum_buffer"] = since.velocity.clone()
        torch.set_rng_state(since.random)
    for i in range(since.iteration if since else 0, iterations):
        net = ConvNet(channels, classes, width=width).to(device)
        net_optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for j in range(outer):
            batches = [real_images[at[torch.randperm(len(at))[:batch_real].to(device)]] for at in where]
            matching_step(net, batches, images, labels, ipc, optimizer)
            if j < outer - 1:
                for _ in range(inner):
                    train_on_synthetic(net, images, labels, net_optimizer)
        velocity = optimizer.state[images]["momentum_buffer"].clone()
        on_iteration(State(i + 1, images.detach().clone(), velocity, torch.get_rng_state()))
    return images.detach(), labels
