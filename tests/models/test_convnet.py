"""ConvNet: pooling as a product, and how large its maps are."""

import pytest
import torch

from fedistill.models import build
from fedistill.models.convnet import halve


@pytest.mark.parametrize("side", [(6, 8), (7, 8), (5, 5)])
def test_halve_is_average_pooling(side):
    x = torch.randn(2, 3, *side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(halve(x), torch.nn.functional.avg_pool2d(x, 2))


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
