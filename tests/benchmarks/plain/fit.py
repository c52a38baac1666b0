"""Training a network on synthetic images, as DC's paper evaluates them (Zhao, Mopuri & Bilen, ICLR 2021)."""

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.plain.epoch import train_epoch


def fit(net: nn.Module, loader: DataLoader, *, epochs: int = 300, lr: float = 0.01) -> None:
    """Train in place: momentum 0.9, weight decay 5e-4, the step size falls to a tenth at half time."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [-(-epochs // 2)], gamma=0.1)
    net.train()
    for _ in range(epochs):
        train_epoch(net, loader, optimizer)
        scheduler.step()
