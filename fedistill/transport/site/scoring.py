"""Federated evaluation at a site: score networks on its own images, and return counts."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedistill.config import Share
from fedistill.data import ImageSet
from fedistill.models import Network, build
from fedistill.training.fit import predict, probabilities, unstack
from fedistill.training.metrics import Tally, tally


def build_network(model: str, width: int, share: Share) -> Network:
    """Return a network shaped for the site's images."""
    x = share.train
    return build(model, channels=x.channels, classes=x.n_classes, size=x.size, width=width)


def score_networks(network: Network, params: Mapping[str, Tensor], split: ImageSet, *, members: int) -> list[Tally]:
    """Return a tally for each group of ``members`` networks, whose predictions are averaged.

    ``params`` are stacked by name with a leading axis over the networks; ``split`` are the site's images.
    """
    x = split.pixels()
    singles = []
    for one in unstack(tuple(params[name] for name in network.names)):
        scores = predict(network, one, x) if len(split) else x.new_zeros((0, split.n_classes))
        singles.append(probabilities(scores, multilabel=split.multilabel))
    groups = [singles[i : i + members] for i in range(0, len(singles), members)]
    return [tally(split.labels, torch.stack(group).mean(0).numpy()) for group in groups]
