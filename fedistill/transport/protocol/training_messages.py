"""Messages of schemes that share weights: requests to train at a site, and the networks that come back.

A round of federated averaging is the message of Flower's own strategies (``arrays``, ``config``), with FeDistill's
settings in ``config``. Training alone is a message of our own, for no strategy has it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor

from fedistill.config.jobs import MOST_WIDTH
from fedistill.core.settings import AS_TABLE, AS_TUPLE, QUIET, Count, checked, detail
from fedistill.errors import ReleaseError, SettingError
from fedistill.models import Network, Params
from fedistill.training.dpsgd import DPSGD
from fedistill.training.recipe import Recipe
from fedistill.training.search import Grid
from fedistill.transport.protocol.codec import (
    Examples,
    Seconds,
    arrays_of,
    from_record,
    from_text,
    head,
    tensors_of,
    to_text,
)

ROUND = "train"
"""Flower's own type of message for a round of training."""

ALONE = "train.alone"

Counted = Annotated[Examples, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]
EXAMPLES = "num-examples"
"""Where Flower's strategies look for a reply's weight."""


@dataclass(frozen=True)
class RoundSettings:
    """A site's work in one round of federated averaging.

    Args:
        scheme, model, width, partition: what for, and on which share of the data.
        local_epochs: passes over its own images; 0 where `private` counts in steps.
        batch, lr, augment: of its SGD; the step size does not fall.
        seed: order of images and augmentation come from it, by the site's name.
        mu: weight of FedProx's proximal term; 0 for none.
        private: train by DP-SGD, whose budget is for all rounds; steps: of it in this round.
    """

    scheme: str
    model: str
    width: Width
    partition: NonNegativeInt
    local_epochs: NonNegativeInt
    batch: Count
    lr: NonNegativeFloat
    augment: bool
    seed: NonNegativeInt
    mu: NonNegativeFloat = 0.0
    private: Annotated[Annotated[DPSGD, AS_TABLE] | None, QUIET] = None
    steps: Annotated[Count | None, QUIET] = None

    @property
    def recipe(self) -> Recipe:
        """Return the recipe of this round's training."""
        if self.private is not None:
            return self.private.recipe(self.steps)
        return Recipe(
            "round", self.lr, steps=None, epochs=self.local_epochs, batch=self.batch, augment=self.augment, fall=1.0
        )

    def config(self) -> ConfigRecord:
        """Return the record that a strategy takes; the strategy adds ``mu`` itself."""
        return ConfigRecord({"round": to_text(self, without=("mu",))})

    @classmethod
    def of(cls, content: RecordDict) -> "RoundSettings":
        """Return the request in a strategy's message.

        Raises:
            SettingError: a value in it cannot be.
        """
        about = from_text(content, "round", "The round", record="config")
        return from_record(cls, about, "the round", mu=content.config_records["config"].get("proximal-mu", 0.0))


@dataclass(frozen=True, eq=False)
class RoundRequest:
    """A round's request as a site receives it.

    Args:
        name: of the job, for people; settings: what to do; arrays: the global network's parameters, not yet checked.
        start: seed of the weights that a first round starts from, where the site knows it and looks that it does.
    """

    name: str
    settings: RoundSettings
    arrays: ArrayRecord
    start: int | None = None

    @classmethod
    def of(cls, content: RecordDict) -> "RoundRequest":
        """Return the request in a strategy's message."""
        name = str(content.config_records["job"]["name"])
        return cls(name, RoundSettings.of(content), content.array_records["arrays"])

    @property
    def scheme(self) -> str:
        """Return the name of the scheme."""
        return self.settings.scheme


@dataclass(frozen=True)
class LocalTrainRequest:
    """A request to train networks at a site, on its own images and perhaps the others' Releases.

    Args:
        name: for people and progress.
        scheme, model, width, partition: what for, and on which share of the data.
        grid: recipes to choose among on its own validation images, with ``pilots`` networks each.
        seeds: of the networks, one each.
        releases: the others' Release files, of one budget each.
        share: of the images trained on that are the others'; 0 for as they are.
        private: train by DP-SGD, with nothing chosen by validation images; the grid is its one point.
    """

    name: str
    site: str
    scheme: str
    model: str
    width: Width
    partition: NonNegativeInt
    grid: Annotated[Grid, AS_TABLE]
    pilots: Count
    seeds: Annotated[tuple[NonNegativeInt, ...], AS_TUPLE]
    releases: tuple[bytes, ...] = field(default=(), repr=False)
    share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    private: Annotated[Annotated[DPSGD, AS_TABLE] | None, QUIET] = None


@dataclass(frozen=True, eq=False)
class RoundReply:
    """A site's network after its part of a round.

    Args:
        params: by name.
        seconds: of the training.
        examples: real images it was trained on, as the site discloses their number.
    """

    params: Mapping[str, Tensor]
    seconds: Seconds
    examples: Counted


@dataclass(frozen=True, eq=False)
class LocalTrainReply(RoundReply):
    """A site's networks, stacked with a leading axis in ``params``.

    Args:
        recipe: what the site chose.
    """

    recipe: Annotated[Recipe, AS_TABLE]


def params_of(arrays: ArrayRecord, network: Network, *, networks: int | None = None, finite: bool = True) -> Params:
    """Convert a record to the parameters of a network; check them against its shapes, for sites are not trusted.

    Args:
        arrays: the record.
        network: whose shapes the parameters must have.
        networks: how many there are, each tensor with a leading axis; None for one without.
        finite: whether NaN and infinities are refused.

    Raises:
        ReleaseError: another name, shape or type, or numbers that are not finite.
    """
    wanted = network.init(torch.Generator().manual_seed(0))
    if set(arrays) != set(network.names):
        raise ReleaseError("These are not the network's parameters.", expected=network.names, found=sorted(arrays))
    params, tensors = [], tensors_of(arrays)
    for name, like in zip(network.names, wanted, strict=True):
        value = tensors[name]
        shape = like.shape if networks is None else (networks, *like.shape)
        if value.shape != shape or value.dtype != like.dtype:
            raise ReleaseError(
                f"Invalid {name}.", expected=(like.dtype, tuple(shape)), found=(value.dtype, tuple(value.shape))
            )
        if finite and not torch.isfinite(value).all():
            raise ReleaseError(f"{name} holds NaN or infinity.", expected="finite numbers")
        params.append(value)
    return tuple(params)


def pack_round_reply(params: Mapping[str, Tensor], *, site: str, examples: int, seconds: float) -> RecordDict:
    """Pack a site's reply in a round, as Flower's strategies take it."""
    return RecordDict(
        {
            "arrays": arrays_of(params),
            "metrics": MetricRecord({EXAMPLES: examples, "seconds": seconds}),
            "who": ConfigRecord({"site": site}),
        }
    )


def check_round_reply(content: RecordDict, *, site: str, network: Network) -> float:
    """Check a site's reply in a round; return the seconds the site took.

    Raises:
        ReleaseError: what is wrong with the reply.
    """
    try:
        who, metrics = str(content.config_records["who"]["site"]), content.metric_records["metrics"]
        examples, seconds = metrics[EXAMPLES], metrics["seconds"]
        arrays = content.array_records["arrays"]
    except KeyError as error:
        raise ReleaseError("The reply of a round cannot be read.", found=f"no {error}") from error
    if who != site:
        raise ReleaseError("The reply is another site's.", expected=site, found=who)
    figures: dict[str, Any] = {"params": {}, "seconds": seconds, "examples": examples}
    reply = checked(RoundReply, figures, "The reply", error=ReleaseError)
    params_of(arrays, network)
    return reply.seconds


def addressed(messages: Iterable[Message], names: Mapping[int, str]) -> list[Message]:
    """Return a strategy's messages in the order of the sites, each with a job's name and content of its own.

    Args:
        messages: the strategy's.
        names: of the jobs, by node id.
    """
    copies = []
    for message in sorted(messages, key=lambda m: list(names).index(m.metadata.dst_node_id)):
        node = message.metadata.dst_node_id
        content = RecordDict({**message.content, **head(names[node])})
        copies.append(Message(content, node, message.metadata.message_type))
    return copies


def pack_alone(request: LocalTrainRequest) -> RecordDict:
    """Pack a request to train alone."""
    text = to_text(request, without=("name", "grid", "releases"), **detail(request.grid))
    about = {"request": ConfigRecord({"alone": text})}
    return RecordDict({**head(request.name), **about, **releases_record(request.releases)})


def releases_record(releases: Sequence[bytes]) -> dict[str, ConfigRecord]:
    """Return the record of other sites' Releases, by its name; empty without any."""
    files: dict[str, Any] = {f"release-{i:05}": data for i, data in enumerate(releases)}
    return {"releases": ConfigRecord(files)} if files else {}


def releases_in(record: Mapping[str, Any] | None) -> tuple[bytes, ...]:
    """Return the Release files of a record that somebody else sent; none where there is none.

    Raises:
        ReleaseError: it holds anything else.
    """
    files = [(record or {})[name] for name in sorted(record or {})]
    if not all(isinstance(data, bytes) for data in files):
        raise ReleaseError("These are no Releases.", expected="bytes")
    return tuple(files)


def unpack_alone(content: RecordDict) -> LocalTrainRequest:
    """Return the request.

    Raises:
        SettingError: a value in it cannot be.
    """
    about = from_text(content, "alone", "The request")
    grid = {name: about.pop(name) for name in ("base", "lr", "max_steps")}
    releases = releases_in(content.config_records.get("releases"))
    name = content.config_records["job"]["name"]
    return from_record(LocalTrainRequest, about, "the request", name=name, grid=grid, releases=releases)


def pack_learned(site: str, learned: LocalTrainReply) -> RecordDict:
    """Pack a site's reply."""
    about = to_text(learned, without=("params",))
    return RecordDict({"learned": ConfigRecord({"site": site, "about": about}), "networks": arrays_of(learned.params)})


def unpack_learned(content: RecordDict, request: LocalTrainRequest, network: Network) -> LocalTrainReply:
    """Return a site's reply, checked.

    Raises:
        ReleaseError: what is wrong with it.
    """
    try:
        about = from_text(content, "about", "The reply", record="learned")
        site, arrays = content.config_records["learned"]["site"], content.array_records["networks"]
        learned = from_record(LocalTrainReply, about, "the reply", params={})
    except (KeyError, SettingError) as error:
        raise ReleaseError("The networks' reply cannot be read.", found=f"{type(error).__name__}: {error}") from error
    if site != request.site:
        raise ReleaseError("The reply is another site's.", expected=request.site, found=site)
    lr = learned.recipe.lr
    if lr not in request.grid.lr:
        raise ReleaseError("The reply's step size was not asked for.", expected=request.grid.lr, found=lr)
    params = params_of(arrays, network, networks=len(request.seeds))
    return replace(learned, params=dict(zip(network.names, params, strict=True)))


def one_network(learned: LocalTrainReply, site: str) -> RecordDict:
    """Return the reply that would carry one of the networks: what sharing one takes."""
    return pack_learned(site, replace(learned, params={name: value[:1] for name, value in learned.params.items()}))
