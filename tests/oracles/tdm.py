"""TDM's distance as a textbook would write it: group after group, image after image, number after number."""

import numpy as np
import torch
import torch.nn.functional as F


def features(net, params, image):
    """Return the features of one image (C, H, W) at each depth, each a row (D,)."""
    rows = []
    for part in net.maps(params, image[None]):
        if part.ndim == 4 and part.shape[-1] > 4:
            part = F.adaptive_avg_pool2d(part, 4)
        rows.append(part.flatten().numpy())
    return rows


def distance(net, params, real, made, deviations):
    """Return the distance between real and synthetic images.

    Args:
        real: a list of real images (N, C, H, W) for each group.
        made: a list of synthetic images for each group.
    """
    rows_real = [[features(net, params, image) for image in group] for group in real]
    rows_made = [[features(net, params, image) for image in group] for group in made]
    total = 0.0
    for depth in range(len(rows_real[0][0])):
        everyone = np.stack([rows[depth] for group in rows_real for rows in group])
        variance = ((everyone - everyone.mean(0)) ** 2).mean(0).sum()
        for group_real, group_made in zip(rows_real, rows_made, strict=True):
            one = np.stack([rows[depth] for rows in group_real])
            other = np.stack([rows[depth] for rows in group_made])
            total += ((one.mean(0) - other.mean(0)) ** 2).sum() / variance
            if len(other) > 1:
                total += deviations * ((one.std(0) - other.std(0)) ** 2).sum() / variance
    return total / len(real)


def adam(gradients, *, lr, beta1=0.9, beta2=0.99, eps=1e-8):
    """Return where Adam arrives from 0 after these gradients: torch's own."""
    x = torch.zeros_like(gradients[0]).requires_grad_()
    optimiser = torch.optim.Adam([x], lr=lr, betas=(beta1, beta2), eps=eps)
    for gradient in gradients:
        x.grad = gradient.clone()
        optimiser.step()
    return x.detach()
