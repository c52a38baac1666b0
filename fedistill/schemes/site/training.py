"""A site that trains networks: one round of federated averaging, or alone to the end.

Its own validation images choose the recipe of training alone; what it sends is the networks, where its policy allows.
Private training (`site_private`) looks at none of them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from fedistill.config import Share
from fedistill.core.events import Event, OnEvent
from fedistill.core.seeds import spawn
from fedistill.core.store import Store, key_of
from fedistill.data import ImageSet
from fedistill.errors import DataError
from fedistill.models import Network, Params
from fedistill.privacy.policy.disclosure import told
from fedistill.privacy.policy.floors import Told
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
from fedistill.transport.protocol.training_messages import Alone, Learned, Round, RoundRequest, params_of
from fedistill.transport.site.context import SiteContext
from fedistill.transport.site.deployed_rules import require_bounded
from fedistill.transport.site.ledger import account
from fedistill.transport.site.scoring import network_for


@dataclass(frozen=True, eq=False)
class RoundReply:
    """A site's network after its part of a round.

    Args:
        params: by name; examples: real images it was trained on, as far as the site tells; seconds: it took.
    """

    params: Mapping[str, Tensor]
    examples: int
    seconds: float


def answer_round(request: RoundRequest, site: SiteContext) -> RoundReply:
    """Train the round's global network on the site's own images, by local epochs or by private steps.

    Raises:
        PolicyError: the site's policy forbids it. ReleaseError: the network's parameters cannot be used.
        DataError: the site has nothing to train on.
    """
    start, settings = time.perf_counter(), request.settings
    share = _share(site, settings)
    network = network_for(settings.model, settings.width, share)
    on_event = emitter(request.name)
    # All rounds' charges add up under one name.
    entry = account(site, request.scheme, request.name.partition(" round ")[0], share.train)
    private = Private(site, on_event, entry.charge)
    now, train = params_of(request.arrays, network), _some(share)
    if settings.private is not None:
        steps = settings.recipe.steps_for(len(train))
        params = private.round(settings.private, network, now, train, seed=settings.seed, steps=steps)
    else:
        seed, device = spawn(settings.seed, site.name), device_for(site.gpus)
        params = train_locally(settings, network, now, train, seed=seed, device=device, on_step=_reporting(on_event))
    entry.leaves(params)
    examples = told(len(train), site.policy.share_counts)
    return RoundReply(dict(zip(network.names, params, strict=True)), examples, time.perf_counter() - start)


def train_locally(
    request: Round,
    network: Network,
    start: Params,
    images: ImageSet,
    *,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Params:
    """Return the parameters after one site's local epochs, or its private steps, on the processor.

    Private noise follows from the seed here: for simulations and shadows. A site's own is `Private`.

    Args:
        start: the round's global parameters; seed: the site's own in this round.
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


def answer_alone(request: Alone, site: SiteContext) -> Learned:
    """Train networks to the end, on the site's own images and what others released.

    Raises:
        PolicyError: the site's policy forbids it. DataError: the site has nothing to train on.
    """
    on_event = emitter(request.name)
    share = _share(site, request)
    entry = account(site, request.scheme, request.name, share.train, each_apart=True)
    private = Private(site, on_event, entry.charge)
    learned = train_alone(request, share, site.store, private, gpus=site.gpus, on_event=on_event)
    learned = replace(learned, examples=told(learned.examples, site.policy.share_counts))
    entry.leaves(tuple(learned.params.values()))
    on_event(Event("done", seconds=learned.seconds))
    return learned


def _share(site: SiteContext, request: Round | Alone) -> Share:
    """Return what networks that leave the site are trained on, where its policy lets them."""
    private = request.private is not None
    require_bounded(site, partition=request.partition, private=private)
    check_weights(
        site.policy, scheme=request.scheme, private=private, told=Told(model=request.model, width=request.width)
    )
    return site.whole(request.partition) if private else site.share(request.partition)


def train_alone(
    request: Alone, share: Share, store: Store, private: Private, *, gpus: float, on_event: OnEvent
) -> Learned:
    """Networks trained on this site's images and what others released, by the recipe its own validation images choose.

    Found in the site's store where it was done before.

    Args:
        private: trains where the request is private.

    Raises:
        DataError: the site has nothing to train on.
    """
    train = _some(share)
    network = network_for(request.model, request.width, share)
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
    with store.making("alone", key):  # another point of a sweep may ask the same
        found = store.get("alone", key)
        if found is None:
            learned = _learned(request, network, train, share, private, gpus=gpus, on_event=on_event)
            made = {"recipe": asdict(learned.recipe), "seconds": learned.seconds}
            store.put("alone", key, dict(learned.params), made)
            return learned
    tensors, note = found
    return Learned(tensors, Recipe(**note["recipe"]), float(note["seconds"]), len(train))


def _learned(
    request: Alone,
    network: Network,
    train: ImageSet,
    share: Share,
    private: Private,
    *,
    gpus: float,
    on_event: OnEvent,
) -> Learned:
    """`train_alone` where nothing is found."""
    start = time.perf_counter()
    if request.private is not None:
        recipe = request.private.recipe()
        params = stack([private.network(request.private, network, train, seed=seed) for seed in request.seeds])
    else:
        images, labels = _joined(train.pixels(), train.targets(), request)
        recipe, params = _trained(request, network, images, labels, share, gpus=gpus, on_event=on_event)
    named = dict(zip(network.names, params, strict=True))
    return Learned(named, recipe, time.perf_counter() - start, len(train))


def _trained(
    request: Alone, network: Network, images: Tensor, labels: Tensor, share: Share, *, gpus: float, on_event: OnEvent
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
        scores = [predict(network, trained(recipe, seed), v) for seed in request.seeds[: request.pilots]]
        aucs = [tally(val.labels, probabilities(s, multilabel=val.multilabel).numpy()).auc for s in scores]
        return sum(aucs) / len(aucs)

    recipe = settle(request.grid, lambda candidates: [quality(candidate) for candidate in candidates])
    return recipe, stack([trained(recipe, seed) for seed in request.seeds])


def _joined(images: Tensor, labels: Tensor, request: Alone) -> tuple[Tensor, Tensor]:
    """Own images and the others', these repeated to their share."""
    others = [unpack(packed, ipc) for data in request.releases for ipc, packed in Release.from_bytes(data).sets.items()]
    if not others:
        return images, labels
    x, y = torch.cat([each.images for each in others]), torch.cat([each.labels for each in others])
    wanted = max(len(x), round(len(images) * request.share / (1 - request.share)))
    again = torch.arange(wanted) % len(x)
    return torch.cat([images, x[again]]), torch.cat([labels, y[again]])


def _some(share: Share) -> ImageSet:
    if not len(share.train):
        raise DataError("The site has no images to train on.", expected="at least one", found=0)
    return share.train


def _reporting(on_event: OnEvent) -> Callable[[int, int], None]:
    start = time.perf_counter()

    def on_step(step: int, steps: int) -> None:
        on_event(Event("training", step=step, steps=steps, seconds=time.perf_counter() - start))

    return on_step
