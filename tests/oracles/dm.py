"""DM's distance as a textbook would write it: group after group, image after image."""

import torch


def distance(net, params, real, made):
    """Return the sum over groups of the squared distance between mean embeddings of real and of synthetic images.

    Args:
        real: a list of real images (N, C, H, W) for each group.
        made: a list of synthetic images for each group.
    """
    total = 0.0
    for group_real, group_made in zip(real, made, strict=True):
        one = sum(net.embed(params, image[None])[0] for image in group_real) / len(group_real)
        other = sum(net.embed(params, image[None])[0] for image in group_made) / len(group_made)
        total = total + ((one - other) ** 2).sum()
    return total


def gradient(net, params, real, made):
    """Return the distance's gradient in each group's synthetic images."""
    made = [group.clone().requires_grad_() for group in made]
    return torch.autograd.grad(distance(net, params, real, made), made)
