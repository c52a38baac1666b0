"""`unroll.trajectory_gradient` as GPUs take it: a CUDA graph for a step, and one for the walk back over a step.

Of the forward sweep only the weights are kept, in buffers: every step's graph of derivatives is computed again on the
way back, where it is three of nine passes through the network, and memory does not grow with the steps but for their
weights. Augmentations differ from step to step: they are applied before the graph, and walked back through after it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedistill.methods.engine.arrival import Arrival, Terms, distance, halfway, with_terms
from fedistill.methods.engine.unroll import TrajectoryGradient
from fedistill.models import Network, Params, objective
from fedistill.training.augment import Draw, apply
from fedistill.training.descent import Descent, lowered
from fedistill.training.graphs import buffer, repeated


class RecordedTrajectory:
    """Trajectory gradients of one network's shape.

    Args:
        net: the network.
        precision: what a GPU computes in.
    """

    def __init__(self, net: Network, precision: str) -> None:
        self._net, self._precision = net, precision
        self._descent: Descent | None = None
        self._path: list[Tensor] = []
        self._back: dict[torch.Size, _Back] = {}

    def __call__(
        self,
        start: Params,
        target: Params,
        images: Tensor,
        labels: Tensor,
        lr: float,
        *,
        batches: Sequence[Tensor],
        draws: Sequence[Draw | None],
        terms: Terms | None = None,
    ) -> TrajectoryGradient:
        """Return the loss and its gradients; arguments are those of `trajectory_gradient`, on one device."""
        descent = self._begin(start, len(batches))
        for i, (at, draw) in enumerate(zip(batches, draws, strict=True)):
            x = images[at]
            descent.step((x if draw is None else apply(x, draw))[None], labels[at][None], lr)
            self._path[i + 1].copy_(descent.vectors[0])
        arrival = self._arrived(target, len(batches), terms)
        self._adjoint.copy_(descent.layout.vector(arrival.by_end))
        by_halfway = None if arrival.by_halfway is None else descent.layout.vector(arrival.by_halfway)
        self._minus_lr.fill_(-lr)

        by_image, by_lr = torch.zeros_like(images), torch.zeros((), dtype=images.dtype, device=images.device)
        for i in reversed(range(len(batches))):
            at, draw = batches[i], draws[i]
            descent.vectors[0].copy_(self._path[i])
            x = images[at].detach().requires_grad_()
            seen = x if draw is None else apply(x, draw)
            back = self._walk(seen.detach(), labels[at])
            back.run()
            by_x = back.by_x if seen is x else torch.autograd.grad(seen, x, back.by_x)[0]
            by_image.index_add_(0, at, by_x, alpha=-lr)
            by_lr -= back.s
            if i == halfway(len(batches)) and by_halfway is not None:
                self._adjoint += by_halfway
        return TrajectoryGradient(arrival.loss, by_image, by_lr, arrival.matched)

    def _arrived(self, target: Params, steps: int, terms: Terms | None) -> Arrival:
        """Return the loss after the steps, and its gradient in the weights."""
        assert self._descent is not None
        start, middle, end = (self._descent.layout.views(self._path[i]) for i in (0, halfway(steps), steps))
        return distance(start, end, target) if terms is None else with_terms(start, middle, end, target, terms)

    def _begin(self, start: Params, steps: int) -> Descent:
        """Return the network at the start, with room for the weights after each step."""
        if self._descent is None:
            self._descent = Descent(self._net, [start], precision=self._precision)
            self._adjoint = torch.zeros_like(self._descent.vectors[0])
            self._minus_lr = torch.zeros_like(self._adjoint[0])
        else:
            self._descent.restart([start])
        while len(self._path) <= steps:
            self._path.append(torch.zeros_like(self._adjoint))
        self._path[0].copy_(self._descent.vectors[0])
        return self._descent

    def _walk(self, x: Tensor, y: Tensor) -> "_Back":
        """Return the graph over a step of this many images, with these in its buffers."""
        assert self._descent is not None
        if x.shape not in self._back:
            self._back[x.shape] = _Back(self._net, self._precision, self._descent, self._adjoint, self._minus_lr, x, y)
        back = self._back[x.shape]
        back.x.copy_(x)
        back.y.copy_(y)
        return back


class _Back:
    """The walk back over one step.

    With s = <gradient at (weights, x), adjoint> it puts ds/dx in `by_x`, s in `s`, and takes lr ds/dweights off the
    adjoint.
    """

    def __init__(
        self,
        net: Network,
        precision: str,
        descent: Descent,
        adjoint: Tensor,
        minus_lr: Tensor,
        x: Tensor,
        y: Tensor,
    ) -> None:
        self._net, self._descent, self._adjoint, self._minus_lr = lowered(net, precision), descent, adjoint, minus_lr
        self.x, self.y = buffer(x, channels_last=net.channels_last), buffer(y)
        self.by_x, self.s = torch.zeros_like(self.x), torch.zeros_like(minus_lr)
        self.run: Callable[[], None] = repeated(self._body, device=x.device, precision=precision, changes=[adjoint])

    def _body(self) -> None:
        params = tuple(w.detach().requires_grad_() for w in self._descent.weights[0])
        x = self.x.detach().requires_grad_()
        loss = objective(self._net(params, x), self.y)
        grads = torch.autograd.grad(loss, params, create_graph=True, materialize_grads=True)
        s = self._descent.layout.vector(grads) @ self._adjoint
        by_x, *by_params = torch.autograd.grad(s, [x, *params], materialize_grads=True)
        self.by_x.copy_(by_x)
        self.s.copy_(s.detach())
        self._adjoint.addcmul_(self._descent.layout.vector(by_params), self._minus_lr)
