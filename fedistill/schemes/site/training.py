"""Training at a site: one round of federated averaging, or networks of its own to the end.

The site chooses the recipe of its own networks on its own validation images, and sends the networks if its policy
allows it. Private training (`fedistill.schemes.site.private_training`) uses no validation image.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fedistill.config import Share
from fedistill.core.events import Event, OnEvent
from fedistill.core.seeds import generator, spawn
from fedistill.core.store import Store, key_of
from fedistill.data import ImageSet
from fedistill.errors import DataError, PolicyError
from fedistill.models import Network, Params
from fedistill.privacy.policy.disclosure import disclosed_count
from fedistill.privacy.policy.floors import MethodSettings
from fedistill.privacy.policy.rules import check_weights
from fedistill.release.release import Release, unpack
from fedistill.schemes.site.private_training import Private
from fedistill.training.device import device_for
from fedistill.training.dpsgd import fit_privately
from fedistill.training.fit import VERSION, fit, predict, probabilities, stack
from fedistill.training.metrics import tally
from fedistill.training.noise import source_for
from fedistill.training.recipe import Recipe
from fedistill.training.search import settle
from fedistill.transport.backend.events import emitter
from fedistill.transport.protocol.codec import params_of
from fedistill.transport.protocol.round_messages import RoundReply, RoundRequest, RoundSettings
from fedistill.transport.protocol.training_messages import LocalTrainReply, LocalTrainRequest
from fedistill.transport.site.context import SiteContext
from fedistill.transport.site.deployed_rules import require_bounded
from fedistill.transport.site.ledger import open_account
from fedistill.transport.site.scoring import build_network


def answer_round(request: RoundRequest, site: SiteContext) -> RoundReply:
    """Train the round's global network on the site's own images, by local epochs or by private steps.

    Raises:
        PolicyError: the site's policy forbids it.
        ReleaseError: the network's parameters are invalid.
        DataError: the site has nothing to train on.
    """
    start, settings = time.perf_counter(), request.settings
    share = _share(site, settings)
    network = build_network(settings.model, settings.width, share)
    on_event = emitter(request.name)
    # One name for all rounds, so that their charges add up.
    entry = open_account(site, request.scheme, request.name.partition(" round ")[0], share.train)
    private = Private(site, on_event, entry.charge)
    now, train = params_of(request.arrays, network), _require_images(share)
    _require_start(request, network, now)
    settings = replace(settings, seed=site.mixed(settings.seed, request.name))
    if settings.private is not None:
        steps = settings.recipe.steps_for(len(train))
        params = private.round(settings.private, network, now, train, seed=settings.seed, steps=steps)
    else:
        seed, device = spawn(settings.seed, site.name), device_for(site.gpus)
        params = train_locally(settings, network, now, train, seed=seed, device=device, on_step=_reporting(on_event))
    entry.leaves(params)
    examples = disclosed_count(len(train), site.policy.share_counts)
    return RoundReply(dict(zip(network.names, params, strict=True)), time.perf_counter() - start, examples)


def _require_start(request: RoundRequest, network: Network, now: Params) -> None:
    """Refuse a first round that starts from other weights than the study's: some are made to isolate an image."""
    if request.start is None:
        return
    own = network.init(generator(request.start, "init"))
    if not all(torch.equal(one, other) for one, other in zip(own, now, strict=True)):
        raise PolicyError("The first round does not start from the weights that the study starts from (rule start).")


def train_locally(
    request: RoundSettings,
    network: Network,
    start: Params,
    images: ImageSet,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Params:
    """Return the parameters after one site's local epochs, or its private steps, on the CPU.

    Private noise follows from ``seed``, the site's own in this round, as simulations and shadows need; for a site's own
    noise see `Private`. ``start`` are the round's global parameters.
    """
    if request.private is not None:
        params = fit_privately(
            network,
            images,
            request.private,
            sigma=request.private.mechanism().sigma,
            source=source_for("seeded", seed, "dpsgd"),
            start=start,
            steps=request.recipe.steps,
            device=device,
        )
    else:
        params = fit(
            network,
            images.pixels().to(device),
            images.targets().to(device),
            request.recipe,
            seed=seed,
            mirror=images.mirror,
            start=start,
            proximal=request.mu,
            on_step=on_step,
        )
    return tuple(p.cpu() for p in params)


def answer_local_training(request: LocalTrainRequest, site: SiteContext) -> LocalTrainReply:
    """Train networks to the end, on the site's own images and the others' Releases.

    Raises:
        PolicyError: the site's policy forbids it.
        DataError: the site has nothing to train on.
    """
    on_event = emitter(request.name)
    request = replace(request, seeds=tuple(site.mixed(seed, request.name) for seed in request.seeds))
    share = _share(site, request)
    entry = open_account(site, request.scheme, request.name, share.train, each_apart=True)
    private = Private(site, on_event, entry.charge)
    reply = train_to_end(request, share, site.store, private, gpus=site.gpus, on_event=on_event)
    reply = replace(reply, examples=disclosed_count(reply.examples, site.policy.share_counts))
    entry.leaves(tuple(reply.params.values()))
    on_event(Event("done", seconds=reply.seconds))
    return reply


def _share(site: SiteContext, request: RoundSettings | LocalTrainRequest) -> Share:
    """Return the images for networks that leave the site; raise PolicyError if its policy forbids them."""
    private = request.private is not None
    require_bounded(site, partition=request.partition, private=private)
    check_weights(
        site.policy,
        scheme=request.scheme,
        private=private,
        settings=MethodSettings(model=request.model, width=request.width),
    )
    return site.whole(request.partition) if private else site.share(request.partition)


def train_to_end(
    request: LocalTrainRequest, share: Share, store: Store, private: Private, *, gpus: float, on_event: OnEvent
) -> LocalTrainReply:
    """Train networks on a site's images and the others' Releases, by a recipe chosen on its validation images.

    The result is stored, and taken from the store if it is there. ``private`` trains if the request is private.

    Raises:
        DataError: the site has nothing to train on.
    """
    train = _require_images(share)
    network = build_network(request.model, request.width, share)
    detail = {
        "seeds": request.seeds,
        "model": request.model,
        "width": request.width,
        "recipe": [request.grid.base.detail(), request.grid.lr, request.grid.max_steps, request.pilots],
        "train": train.fingerprint(),
        "val": share.val.fingerprint(),
        "releases": [key_of({"release": data.hex()}) for data in request.releases],
        "share": request.share,
        "device": str(device_for(gpus)),
        "threads": torch.get_num_threads(),
        "version": VERSION,
        **({} if request.private is None else private.detail(request.private)),
    }
    key = key_of(detail)
    with store.making("alone", key):  # another point of a sweep may request the same
        stored = store.get("alone", key)
        if stored is None:
            reply = _train_networks(request, network, train, share, private, gpus=gpus, on_event=on_event)
            store.put("alone", key, dict(reply.params), {"recipe": reply.recipe.detail(), "seconds": reply.seconds})
            return reply
    tensors, note = stored
    return LocalTrainReply(tensors, float(note["seconds"]), len(train), Recipe(**note["recipe"]))


def _train_networks(
    request: LocalTrainRequest,
    network: Network,
    train: ImageSet,
    share: Share,
    private: Private,
    *,
    gpus: float,
    on_event: OnEvent,
) -> LocalTrainReply:
    """Train networks as `train_to_end` does, without the store."""
    start = time.perf_counter()
    if request.private is not None:
        recipe = request.private.recipe()
        params = stack([private.network(request.private, network, train, seed=seed) for seed in request.seeds])
    else:
        images, labels, soft = _join_releases(train, request)
        recipe, params = _choose_and_train(
            request, network, images, labels, share, soft=soft, gpus=gpus, on_event=on_event
        )
    named = dict(zip(network.names, params, strict=True))
    return LocalTrainReply(named, time.perf_counter() - start, len(train), recipe)


def _choose_and_train(
    request: LocalTrainRequest,
    network: Network,
    images: Tensor,
    labels: Tensor,
    share: Share,
    *,
    soft: bool,
    gpus: float,
    on_event: OnEvent,
) -> tuple[Recipe, Params]:
    """Return the chosen recipe and the networks' stacked parameters; pilots are not trained twice."""
    device, mirror, val = device_for(gpus), share.train.mirror, share.val
    x, y, v = images.to(device), labels.to(device), val.pixels()
    done: dict[tuple[Recipe, int], Params] = {}

    def trained(recipe: Recipe, seed: int) -> Params:
        if (recipe, seed) not in done:
            report = _reporting(on_event)
            params = fit(network, x, y, recipe, seed=seed, mirror=mirror, soft=soft, on_step=report)
            done[recipe, seed] = tuple(p.cpu() for p in params)
        return done[recipe, seed]

    def quality(recipe: Recipe) -> float:
        if not len(val):
            return float("nan")
        scores = [predict(network, trained(recipe, seed), v) for seed in request.seeds[: request.pilots]]
        aucs = [tally(val.labels, probabilities(s, multilabel=val.multilabel).numpy()).auc for s in scores]
        return sum(aucs) / len(aucs)

    recipe = settle(request.grid, lambda candidates: [quality(candidate) for candidate in candidates])
    return recipe, stack([trained(recipe, seed) for seed in request.seeds])


def _join_releases(train: ImageSet, request: LocalTrainRequest) -> tuple[Tensor, Tensor, bool]:
    """Return the site's images joined with the others', which are repeated to reach the request's share.

    Returns:
        images, labels, and whether these are soft, as they are for all images if another site's are.
    """
    images, labels = train.pixels(), train.targets()
    sent = [each for data in request.releases for each in Release.from_bytes(data).sets.items()]
    others = [unpack(packed, ipc).shown() for ipc, packed in sent]
    if not others:
        return images, labels, False
    soft = any(each.soft is not None for each in others)

    def certain(classes: Tensor) -> Tensor:
        return one_hot(classes, train.n_classes).float() if soft else classes

    x = torch.cat([each.images for each in others])
    y = torch.cat([certain(each.labels) if each.soft is None else each.soft for each in others])
    wanted = max(len(x), round(len(images) * request.share / (1 - request.share)))
    again = torch.arange(wanted) % len(x)
    return torch.cat([images, x[again]]), torch.cat([certain(labels), y[again]]), soft


def _require_images(share: Share) -> ImageSet:
    if not len(share.train):
        raise DataError("The site has no images to train on.", expected="at least one", found=0)
    return share.train


def _reporting(on_event: OnEvent) -> Callable[[int, int], None]:
    start = time.perf_counter()

    def on_step(step: int, steps: int) -> None:
        on_event(Event("training", step=step, steps=steps, seconds=time.perf_counter() - start))

    return on_step
