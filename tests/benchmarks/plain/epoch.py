"""One pass over a loader, as PyTorch's tutorials write it."""

import torch
from torch import nn
from torch.utils.data import DataLoader


def train_epoch(net: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer) -> None:
    """Cross-entropy, a step a batch."""
    criterion = nn.CrossEntropyLoss()
    for x, y in loader:
        loss = criterion(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
