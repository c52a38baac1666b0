"""Federated averaging by hand: every site trains by plain torch.optim, the mean is taken by image counts."""

import torch


def fedavg(network, params, sites, *, batches, lr, momentum, weight_decay, mu=0.0):
    """One round.

    Args:
        params: global parameters; sites: (images, labels) of each; batches: positions of each site's steps.
        mu: FedProx's, whose term stands in the loss as published.
    """
    total, mean = sum(len(y) for _, y in sites), [torch.zeros_like(p) for p in params]
    for (x, y), orders in zip(sites, batches, strict=True):
        mine = [p.clone().requires_grad_() for p in params]
        optimizer = torch.optim.SGD(mine, lr=lr, momentum=momentum, weight_decay=weight_decay)
        for at in orders:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(tuple(mine), x[at]), y[at])
            loss = loss + mu / 2 * sum(((p - p0) ** 2).sum() for p, p0 in zip(mine, params, strict=True))
            loss.backward()
            optimizer.step()
        for whole, part in zip(mean, mine, strict=True):
            whole += part.detach() * (len(y) / total)
    return mean
