"""Plain training of one network: torch.optim, a batch at a time."""

import torch


def fit(network, images, labels, *, params, orders, lr, momentum, weight_decay, steps):
    """SGD over given batches; the step size falls to a tenth at half time."""
    params = [p.clone().requires_grad_() for p in params]
    optimizer = torch.optim.SGD(params, lr=lr, momentum=momentum, weight_decay=weight_decay)
    for step, batch in enumerate(orders):
        for group in optimizer.param_groups:
            group["lr"] = lr if step < -(-steps // 2) else lr / 10
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(tuple(params), images[batch]), labels[batch]).backward()
        optimizer.step()
    return [p.detach() for p in params]
