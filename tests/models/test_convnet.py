"""ConvNet: pooling as a product, and several networks side by side."""

import pytest
import torch

from fedistill.models import build, objective
from fedistill.models.convnet import halve
from fedistill.training.fit import stack


@pytest.mark.parametrize("side", [(6, 8), (7, 8), (5, 5)])
def test_halve_is_average_pooling(side):
    x = torch.randn(2, 3, *side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(halve(x), torch.nn.functional.avg_pool2d(x, 2))


@pytest.mark.parametrize("size", [8, 28, 30])
def test_networks_side_by_side_are_the_networks_alone(size):
    network = build("convnet", channels=3, classes=5, size=size, width=4)
    g = torch.Generator().manual_seed(0)
    alone = [network.init(g, dtype=torch.float64) for _ in range(3)]
    alone = [tuple((p + torch.randn(p.shape, generator=g)).requires_grad_() for p in params) for params in alone]
    x, y = torch.randn(3, 6, 3, size, size, generator=g, dtype=torch.float64), torch.randint(5, (3, 6), generator=g)
    logits = network.together(stack(alone), x)
    assert logits.shape == (3, 6, 5)
    loss = sum(objective(each, wanted) for each, wanted in zip(logits, y, strict=True))
    for k, params in enumerate(alone):
        torch.testing.assert_close(logits[k], network(params, x[k]))
        together = torch.autograd.grad(loss, params, retain_graph=True)
        wanted = torch.autograd.grad(objective(network(params, x[k]), y[k]), params)
        torch.testing.assert_close(together, wanted)


def test_activations_are_what_the_convolutions_put_out(monkeypatch):
    for size in (28, 64, 30):
        network, counted = build("convnet", channels=1, classes=2, size=size, width=4), []
        true = torch.nn.functional.conv2d

        def conv2d(*arguments, true=true, counted=counted, **named):
            made = true(*arguments, **named)
            counted.append(made.numel())
            return made

        with monkeypatch.context() as patch:
            patch.setattr(torch.nn.functional, "conv2d", conv2d)
            network(network.init(torch.Generator()), torch.zeros(1, 1, size, size))
        assert sum(counted) == network.activations
