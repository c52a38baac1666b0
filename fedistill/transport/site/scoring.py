"""Federated evaluation at a site: score networks on its own images, and return counts.

A simulation's counts are exact. A deployed site's have noise, and its privacy budget pays for them before it is drawn.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedistill.config import Share
from fedistill.consent.items import SCORES
from fedistill.core.text import printable
from fedistill.data import ImageSet
from fedistill.errors import PolicyError
from fedistill.models import Network, build
from fedistill.privacy.policy.noisy_scores import ScoreNoise, noisy_tallies, one_each
from fedistill.release.release import sha256
from fedistill.training.fit import predict, probabilities, unstack
from fedistill.training.metrics import Tally, tally
from fedistill.training.noise import source_for
from fedistill.transport.protocol.messages import EvalRequest
from fedistill.transport.site.context import SiteContext
from fedistill.transport.site.ledger import open_account

IMAGES_OF = {"val": "validation images", "held_out": "images set aside (held_out)"}


def build_network(model: str, width: int, share: Share) -> Network:
    """Return a network shaped for the site's images."""
    x = share.train
    return build(model, channels=x.channels, classes=x.n_classes, size=x.size, width=width)


def score_networks(network: Network, params: Mapping[str, Tensor], split: ImageSet, *, members: int) -> list[Tally]:
    """Return a tally for each group of ``members`` networks, whose predictions are averaged.

    ``params`` are stacked by name with a leading axis over the networks; ``split`` are the site's images.
    """
    return [tally(split.labels, each.numpy()) for each in _probabilities(network, params, split, members=members)]


def score_with_noise(question: EvalRequest, site: SiteContext, noise: ScoreNoise) -> list[Tally]:
    """Return a tally for each group of a question's networks, from counts with noise; one image a patient is scored.

    The noise is for the groups: what an image changes in a group's counts does not depend on how many it averages.

    Raises:
        PolicyError: the site's rules do not allow it, it has no such images, its privacy budget does not cover it, or
            these are not networks of the study's shape, or not as many as it has. No noise was drawn.
    """
    if site.policy.limit is None or site.policy.scores < noise.scored:
        raise PolicyError(
            "The site's policy allows fewer networks to be scored, or has no privacy budget for it (rule scores).",
            expected=f"scores = {noise.scored} and an epsilon_max",
            found=f"scores = {site.policy.scores}",
        )
    whole = site.whole(question.partition)
    network = build_network(question.model, question.width, whole)
    _require_shape(network, question.params, noise.networks * question.members)
    images = one_each({"val": whole.val, "held_out": whole.held_out}[question.split])
    if not len(images):
        raise PolicyError(f"The site has no {IMAGES_OF[question.split]} to score networks on (rule scores).")
    account = open_account(site, SCORES, question.name, images)
    digest = sha256(b"".join(question.params[name].numpy().tobytes() for name in network.names))
    account.charge({"images": images.fingerprint(), "seed": question.name, "networks": digest}, noise.cost)
    told = _probabilities(network, question.params, images, members=question.members)
    source = source_for(site.entropy, site.mixed(0, question.name), "scores")
    return noisy_tallies(images.labels, [each.numpy() for each in told], noise, source)


def _probabilities(network: Network, params: Mapping[str, Tensor], split: ImageSet, *, members: int) -> list[Tensor]:
    """Return the probabilities, (N, K), of each group of ``members`` networks, the mean of theirs."""
    x = split.pixels()
    singles: list[Tensor] = []
    for one in unstack(tuple(params[name] for name in network.names)):
        scores = predict(network, one, x) if len(split) else x.new_zeros((0, split.n_classes))
        singles.append(probabilities(scores, multilabel=split.multilabel))
    return [torch.stack(singles[i : i + members]).mean(0) for i in range(0, len(singles), members)]


def _require_shape(network: Network, params: Mapping[str, Tensor], networks: int) -> None:
    like = dict(zip(network.names, network.init(torch.Generator().manual_seed(0)), strict=True))
    fits = set(params) == set(like)
    fits = fits and all(params[name].shape == (networks, *value.shape) for name, value in like.items())
    if not fits or not all(params[name].dtype == value.dtype for name, value in like.items()):
        raise PolicyError(
            "These are not the study's networks, or not as many as it has (rule agreement).",
            expected=[networks, *sorted(like)],
            found=printable({name: tuple(value.shape) for name, value in params.items()}, most=300),
        )
