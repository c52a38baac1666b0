"""The exact gradient of trajectory matching's loss, in memory bounded however many steps there are.

The loss (`fedistill.methods.engine.arrival`) is taken after N steps of SGD on synthetic images,
theta_{i+1} = theta_i - lr g_i with g_i = grad loss(theta_i, x[batch_i]). Keeping the whole graph costs N networks'
activations. Here only the weights theta_0..theta_N are kept, and the chain rule is walked backwards by hand, with one
step's graph alive at a time (the adjoint method). With lambda_N = dL/dtheta_N and s_i = <g_i, lambda_{i+1}>:

    dL/dx[batch_i] += -lr ds_i/dx[batch_i]        lambda_i = lambda_{i+1} - lr ds_i/dtheta_i        dL/dlr += -s_i

Where the loss depends on the weights halfway as well, its gradient in them joins the adjoint there. Nothing is
approximated: later steps' dependence on earlier images is in lambda. A step's graph that is not kept from
the forward sweep is computed again in the backward one, an eighth more work in all; so the last steps' graphs, the
first to be walked back over, are kept as far as a fixed amount of memory reaches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedistill.methods.engine.arrival import Terms, distance, halfway, with_terms
from fedistill.models import Network, Params, objective
from fedistill.training.augment import Draw, apply

GRAPHS = 3 * 2**29
"""Bytes that graphs kept from the forward sweep may take, whatever the number of steps."""

KEPT = 5
"""Numbers kept for each that a convolution puts out; 4.6 measured at width 128, 20 images a step."""


@dataclass(frozen=True, eq=False)
class TrajectoryGradient:
    """The loss (), its gradient in the images (N, C, H, W), and in the step size (); all detached.

    Args:
        matched: bool (P,), the weights matched so far; None where all always are.
    """

    loss: Tensor
    images: Tensor
    lr: Tensor
    matched: Tensor | None = None


def trajectory_gradient(
    net: Network,
    start: Params,
    target: Params,
    images: Tensor,
    labels: Tensor,
    lr: float,
    *,
    batches: Sequence[Tensor],
    draws: Sequence[Draw | None],
    terms: Terms | None = None,
    graphs: int = GRAPHS,
) -> TrajectoryGradient:
    """Compute the loss after one step of SGD per batch, and its exact gradient.

    Args:
        net: the network.
        start: the expert's weights where the steps begin.
        target: the expert's weights where they should lead.
        images: the synthetic ones, (N, C, H, W).
        labels: theirs.
        lr: the step size.
        batches: positions of the images of each step, int64; an image may come back in later steps.
        draws: the augmentation of each step, or None; the backward sweep replays the same one.
        terms: HoP-TM's; None: the loss is |theta_N - target|^2 / |start - target|^2.
        graphs: bytes that graphs kept from the forward sweep may take.
    """
    path = [tuple(p.detach() for p in start)]
    most = max(len(batch) for batch in batches)
    kept = graphs // (KEPT * images.element_size() * net.activations * most)
    steps: list[_Step | None] = []
    for i in range(len(batches)):
        keep = i >= len(batches) - kept
        step = _step(net, path[-1], images, labels, batches[i], draws[i], differentiable=keep)
        path.append(tuple(torch._foreach_add(path[-1], [g.detach() for g in step.grads], alpha=-lr)))
        steps.append(step if keep else None)

    middle = halfway(len(batches))
    if terms is None:
        arrival = distance(path[0], path[-1], target)
    else:
        arrival = with_terms(path[0], path[middle], path[-1], target, terms)
    adjoint = arrival.by_end
    by_image, by_lr = torch.zeros_like(images), torch.zeros((), dtype=images.dtype, device=images.device)
    for i in reversed(range(len(batches))):
        step = steps.pop() or _step(net, path[i], images, labels, batches[i], draws[i], differentiable=True)
        params, x, grads = step.params, step.images, step.grads
        s = torch.stack([(g * a).sum() for g, a in zip(grads, adjoint, strict=True)]).sum()
        # Before the first step there is nothing left to carry the adjoint to.
        wanted = [x, *params] if i else [x]
        by_x, *by_params = torch.autograd.grad(s, wanted, materialize_grads=True)
        by_image.index_add_(0, batches[i], by_x, alpha=-lr)
        by_lr -= s.detach()
        if i:
            adjoint = tuple(torch._foreach_add(adjoint, by_params, alpha=-lr))
            if i == middle and arrival.by_halfway is not None:
                adjoint = tuple(torch._foreach_add(adjoint, arrival.by_halfway))
    return TrajectoryGradient(arrival.loss, by_image, by_lr, arrival.matched)


@dataclass(frozen=True, eq=False)
class _Step:
    """A step of SGD: leaves, and the gradient of the loss in the parameters."""

    params: Params
    images: Tensor
    grads: tuple[Tensor, ...]


def _step(
    net: Network,
    params: Params,
    images: Tensor,
    labels: Tensor,
    batch: Tensor,
    draw: Draw | None,
    *,
    differentiable: bool,
) -> _Step:
    params, x = _leaves(params), images[batch].detach().requires_grad_(differentiable)
    loss = _loss(net, params, x, labels[batch], draw)
    grads = torch.autograd.grad(loss, params, create_graph=differentiable, materialize_grads=True)
    return _Step(params, x, grads)


def _leaves(params: Params) -> Params:
    return tuple(p.detach().requires_grad_() for p in params)


def _loss(net: Network, params: Params, x: Tensor, y: Tensor, draw: Draw | None) -> Tensor:
    return objective(net(params, x if draw is None else apply(x, draw)), y)
