"""Expert trajectories as MTT's paper trains them (Cazenavette et al., CVPR 2022, arXiv 2203.11932): SGD on the real
images through a DataLoader, a snapshot of the weights after every epoch.
"""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks.plain.epoch import train_epoch


def expert(net: nn.Module, loader: DataLoader, *, epochs: int = 50, lr: float = 0.01) -> list[list[Tensor]]:
    """Train in place; the weights before the first epoch and after each."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    trajectory = [[p.detach().clone() for p in net.parameters()]]
    for _ in range(epochs):
        train_epoch(net, loader, optimizer)
        trajectory.append([p.detach().clone() for p in net.parameters()])
    return trajectory
