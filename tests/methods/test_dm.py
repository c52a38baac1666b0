"""DM: distribution matching."""

import pytest
import torch
from oracles import dm as oracle

from fedistill.core.seeds import generator
from fedistill.methods.dm import distance, mean_embedding
from fedistill.models import build


@pytest.mark.parametrize("channels", [1, 3])
def test_the_distance_of_all_groups_in_one_batch_is_the_plain_one(channels):
    """It and its gradient, against loops over images in float64."""
    net = build("convnet", channels=channels, classes=3, size=28, width=4)
    params, draw = net.init(generator(0, "init"), torch.float64), generator(0, "pixels")
    real = [torch.randn((n, channels, 28, 28), generator=draw, dtype=torch.float64) for n in (5, 1, 3)]
    made = torch.randn((6, channels, 28, 28), generator=draw, dtype=torch.float64)
    groups = [slice(0, 2), slice(2, 4), slice(4, 6)]
    means = [mean_embedding(net, params, group) for group in real]
    x = made.clone().requires_grad_()
    found = distance(net, params, x, groups, means)
    parts = [made[group] for group in groups]
    torch.testing.assert_close(found.detach(), oracle.distance(net, params, real, parts), rtol=1e-10, atol=0)
    [slope] = torch.autograd.grad(found, x)
    torch.testing.assert_close(slope, torch.cat(oracle.gradient(net, params, real, parts)), rtol=1e-8, atol=1e-12)
