"""A site that trains networks: one round of federated averaging, or alone to the end.

Its own validation images choose the recipe of training alone; what it sends is the networks, where its policy allows.
Private training (`site_private`) looks at none of them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from fedistill.config import Share
from fedistill.core.seeds import spawn
from fedistill.core.store import Store, key_of
from fedistill.data import ImageSet
from fedistill.errors import DataError
from fedistill.models import Network, Params, build
from fedistill.release.release import Release, unpack
from fedistill.training.device import device_for
from fedistill.training.fit import VERSION, fit, predict, probabilities, stack, unstack
from fedistill.training.metrics import Tally, tally
from fedistill.training.recipe import Recipe
from fedistill.training.search import settle
from fedistill.transport.protocol.training_messages import LocalTrainReply, LocalTrainRequest, RoundRequest
from fedistill.transport.site.private_training import Private

OnEvent = Callable[[dict[str, Any]], None]


def train_round(
    asked: RoundRequest, arrays: Params, share: Share, private: Private, *, site: str, gpus: float, on_event: OnEvent
) -> Params:
    """The parameters after this site's local epochs, or its private steps, on the processor.

    Args:
        arrays: the round's global parameters.
        private: trains where the round is private.

    Raises:
        DataError: the site has nothing to train on.
    """
    train, device, network = _some(share), device_for(gpus), network_for(asked.model, asked.width, share)
    if asked.private is not None:
        steps = asked.recipe.steps_for(len(train))
        return private.round(asked.private, network, arrays, train, seed=asked.seed, steps=steps)
    made = fit(
        network,
        train.pixels().to(device),
        train.targets().to(device),
        asked.recipe,
        seed=spawn(asked.seed, site),
        mirror=train.mirror,
        start=arrays,
        proximal=asked.mu,
        on_step=_reporting(on_event),
    )
    return tuple(p.cpu() for p in made)


def train_alone(
    asked: LocalTrainRequest, share: Share, store: Store, private: Private, *, gpus: float, on_event: OnEvent
) -> LocalTrainReply:
    """Networks trained on this site's images and what others released, by the recipe its own validation images choose.

    Found in the site's store where it was done before.

    Args:
        private: trains where the request is private.

    Raises:
        DataError: the site has nothing to train on.
    """
    train = _some(share)
    network = network_for(asked.model, asked.width, share)
    detail = {
        "seeds": asked.seeds,
        "model": asked.model,
        "width": asked.width,
        "recipe": [asked.grid.base.detail(), asked.grid.lr, asked.grid.max_steps, asked.pilots],
        "train": train.fingerprint(),
        "val": share.val.fingerprint(),
        "releases": [key_of({"release": data.hex()}) for data in asked.releases],
        "share": asked.share,
        "device": str(device_for(gpus)),
        "threads": torch.get_num_threads(),
        "version": VERSION,
        **({} if asked.private is None else private.detail(asked.private)),
    }
    key = key_of(detail)
    with store.making("alone", key):  # another point of a sweep may ask the same
        found = store.get("alone", key)
        if found is None:
            learned = _learned(asked, network, train, share, private, gpus=gpus, on_event=on_event)
            made = {"recipe": asdict(learned.recipe), "seconds": learned.seconds}
            store.put("alone", key, dict(learned.params), made)
            return learned
    tensors, note = found
    return LocalTrainReply(tensors, Recipe(**note["recipe"]), float(note["seconds"]), len(train))


def _learned(
    asked: LocalTrainRequest,
    network: Network,
    train: ImageSet,
    share: Share,
    private: Private,
    *,
    gpus: float,
    on_event: OnEvent,
) -> LocalTrainReply:
    """`train_alone` where nothing is found."""
    start = time.perf_counter()
    if asked.private is not None:
        recipe = asked.private.recipe()
        params = stack([private.network(asked.private, network, train, seed=seed) for seed in asked.seeds])
    else:
        images, labels = _joined(train.pixels(), train.targets(), asked)
        recipe, params = _trained(asked, network, images, labels, share, gpus=gpus, on_event=on_event)
    named = dict(zip(network.names, params, strict=True))
    return LocalTrainReply(named, recipe, time.perf_counter() - start, len(train))


def network_for(model: str, width: int, share: Share) -> Network:
    """A network shaped for the site's images."""
    x = share.train
    return build(model, channels=x.channels, classes=x.n_classes, size=x.size, width=width)


def _trained(
    asked: LocalTrainRequest,
    network: Network,
    images: Tensor,
    labels: Tensor,
    share: Share,
    *,
    gpus: float,
    on_event: OnEvent,
) -> tuple[Recipe, Params]:
    """The chosen recipe and the networks' parameters, stacked; the pilots among them are not trained twice."""
    device, mirror, val = device_for(gpus), share.train.mirror, share.val
    x, y, v = images.to(device), labels.to(device), val.pixels()
    done: dict[tuple[Recipe, int], Params] = {}

    def trained(recipe: Recipe, seed: int) -> Params:
        if (recipe, seed) not in done:
            report = _reporting(on_event)
            made = fit(network, x, y, recipe, seed=seed, mirror=mirror, on_step=report)
            done[recipe, seed] = tuple(p.cpu() for p in made)
        return done[recipe, seed]

    def quality(recipe: Recipe) -> float:
        if not len(val):
            return float("nan")
        scores = [predict(network, trained(recipe, seed), v) for seed in asked.seeds[: asked.pilots]]
        aucs = [tally(val.labels, probabilities(s, multilabel=val.multilabel).numpy()).auc for s in scores]
        return sum(aucs) / len(aucs)

    recipe = settle(asked.grid, lambda candidates: [quality(candidate) for candidate in candidates])
    return recipe, stack([trained(recipe, seed) for seed in asked.seeds])


def _joined(images: Tensor, labels: Tensor, asked: LocalTrainRequest) -> tuple[Tensor, Tensor]:
    """Own images and the others', these repeated to their share."""
    others = [unpack(packed, ipc) for data in asked.releases for ipc, packed in Release.from_bytes(data).sets.items()]
    if not others:
        return images, labels
    x, y = torch.cat([each.images for each in others]), torch.cat([each.labels for each in others])
    wanted = max(len(x), round(len(images) * asked.share / (1 - asked.share)))
    again = torch.arange(wanted) % len(x)
    return torch.cat([images, x[again]]), torch.cat([labels, y[again]])


def counts(network: Network, params: Mapping[str, Tensor], split: ImageSet, *, members: int) -> list[Tally]:
    """A tally for each group of ``members`` networks, whose predictions are averaged, on a split of a site's images."""
    x = split.pixels()
    singles = []
    for one in unstack(tuple(params[name] for name in network.names)):
        scores = predict(network, one, x) if len(split) else x.new_zeros((0, split.n_classes))
        singles.append(probabilities(scores, multilabel=split.multilabel))
    groups = [singles[i : i + members] for i in range(0, len(singles), members)]
    return [tally(split.labels, torch.stack(group).mean(0).numpy()) for group in groups]


def _some(share: Share) -> ImageSet:
    if not len(share.train):
        raise DataError("The site has no images to train on.", expected="at least one", found=0)
    return share.train


def _reporting(on_event: OnEvent) -> Callable[[int, int], None]:
    start = time.perf_counter()

    def on_step(step: int, steps: int) -> None:
        on_event({"stage": "training", "step": step, "steps": steps, "seconds": time.perf_counter() - start})

    return on_step
