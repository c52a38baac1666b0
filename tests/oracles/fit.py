"""Plain training of one network: torch.optim, a batch at a time; mixtures of images, a pixel at a time."""

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


def adamw(network, images, labels, *, params, orders, lr, weight_decay, steps):
    """AdamW over given batches; the step size falls to a tenth at half time."""
    params = [p.clone().requires_grad_() for p in params]
    optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay)
    for step, batch in enumerate(orders):
        for group in optimizer.param_groups:
            group["lr"] = lr if step < -(-steps // 2) else lr / 10
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(tuple(params), images[batch]), labels[batch]).backward()
        optimizer.step()
    return [p.detach() for p in params]


def mixed(images, partner, share, box):
    """Mixup, or CutMix where there is a box (top, bottom, left, right)."""
    out = images.clone()
    n, _, height, width = images.shape
    for i in range(n):
        for row in range(height):
            for column in range(width):
                own, other = images[i, :, row, column], images[partner[i], :, row, column]
                if box is None:
                    out[i, :, row, column] = share * own + (1 - share) * other
                elif box[0] <= row < box[1] and box[2] <= column < box[3]:
                    out[i, :, row, column] = other
    return out


def mixed_loss(logits, labels, partner, share, classes):
    """Cross-entropy against soft labels: the image's own class has its share, the partner's the rest."""
    soft = torch.zeros(len(labels), classes)
    for i, label in enumerate(labels):
        soft[i, label] += share
        soft[i, labels[partner[i]]] += 1 - share
    return -(soft * logits.log_softmax(1)).sum(1).mean()
