"""Messages of schemes that share weights: requests to train at a site, and the networks that come back.

A round of federated averaging is the message of Flower's own strategies (``arrays``, ``config``), with FeDistill's
settings in ``config``. Training alone is a message of our own, for no strategy has it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from fedistill.errors import ReleaseError
from fedistill.models import Network, Params
from fedistill.training.dpsgd import DPSGD
from fedistill.training.recipe import Recipe
from fedistill.training.search import Grid
from fedistill.transport.protocol.claims import require_counts

ROUND = "train"
"""Flower's own type of message for a round of training."""

ALONE = "train.alone"
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
    width: int
    partition: int
    local_epochs: int
    batch: int
    lr: float
    augment: bool
    seed: int
    mu: float = 0.0
    private: DPSGD | None = None
    steps: int | None = None

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
        return ConfigRecord({"round": json.dumps({k: v for k, v in self.detail().items() if k != "mu"})})

    def detail(self) -> dict[str, Any]:
        """Return all settings as plain values."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def of(cls, content: RecordDict) -> "RoundSettings":
        """Return the request in a strategy's message."""
        config = content.config_records["config"]
        about = json.loads(str(config["round"]))
        private = _private(about.pop("private", None))
        return cls(**about, private=private, mu=float(str(config.get("proximal-mu", 0.0))))


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
    width: int
    partition: int
    grid: Grid
    pilots: int
    seeds: tuple[int, ...]
    releases: tuple[bytes, ...] = field(default=(), repr=False)
    share: float = 0.0
    private: DPSGD | None = None


@dataclass(frozen=True, eq=False)
class LocalTrainReply:
    """A site's networks.

    Args:
        params: by name, each stacked with a leading axis over the networks.
        recipe: what the site chose.
        seconds: of all of it.
        examples: real images it trained on.
    """

    params: Mapping[str, Tensor]
    recipe: Recipe
    seconds: float
    examples: int


def arrays_of(params: Mapping[str, Tensor]) -> ArrayRecord:
    """Convert parameters by name to the record that Flower's strategies take."""
    return ArrayRecord({name: Array(value.detach().cpu().numpy()) for name, value in params.items()})


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
    params = []
    for name, like in zip(network.names, wanted, strict=True):
        # A copy: what arrives in a message may be read-only memory, which PyTorch warns of.
        value = torch.from_numpy(arrays[name].numpy().copy())
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
    _require_counts(seconds, examples)
    assert isinstance(seconds, int | float)  # as has just been looked at
    params_of(arrays, network)
    return float(seconds)


def _require_counts(seconds: object, examples: object) -> None:
    try:
        require_counts(seconds, examples)
    except ValueError as error:
        raise ReleaseError("Invalid counts in the reply.", found=error) from error
    if not examples:
        raise ReleaseError("Invalid counts in the reply.", expected="1 image or more", found=examples)


def addressed(messages: Iterable[Message], names: Mapping[int, str]) -> list[Message]:
    """Return a strategy's messages in the order of the sites, each with a job's name and content of its own.

    Args:
        messages: the strategy's.
        names: of the jobs, by node id.
    """
    copies = []
    for message in sorted(messages, key=lambda m: list(names).index(m.metadata.dst_node_id)):
        node = message.metadata.dst_node_id
        content = RecordDict({**message.content, "job": ConfigRecord({"name": names[node]})})
        copies.append(Message(content, node, message.metadata.message_type))
    return copies


def pack_alone(request: LocalTrainRequest) -> RecordDict:
    """Pack a request to train alone."""
    about = {
        **{
            name: getattr(request, name)
            for name in ("site", "scheme", "model", "width", "partition", "pilots", "share")
        },
        "seeds": list(request.seeds),
        "base": request.grid.base.detail(),
        "lr": list(request.grid.lr),
        "max_steps": request.grid.max_steps,
        **({} if request.private is None else {"private": asdict(request.private)}),
    }
    records = {"job": ConfigRecord({"name": request.name}), "request": ConfigRecord({"alone": json.dumps(about)})}
    return RecordDict({**records, **releases_record(request.releases)})


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
    """Return the request."""
    about = json.loads(str(content.config_records["request"]["alone"]))
    grid = Grid(Recipe(**about.pop("base")), tuple(about.pop("lr")), about.pop("max_steps"))
    releases = releases_in(content.config_records.get("releases"))
    seeds = tuple(about.pop("seeds"))
    name = str(content.config_records["job"]["name"])
    private = _private(about.pop("private", None))
    return LocalTrainRequest(name, grid=grid, seeds=seeds, releases=releases, private=private, **about)


def _private(about: Mapping[str, Any] | None) -> DPSGD | None:
    return None if about is None else DPSGD(**about)


def pack_learned(site: str, learned: LocalTrainReply) -> RecordDict:
    """Pack a site's reply."""
    about = {"recipe": learned.recipe.detail(), "seconds": learned.seconds, "examples": learned.examples}
    return RecordDict(
        {"learned": ConfigRecord({"site": site, "about": json.dumps(about)}), "networks": arrays_of(learned.params)}
    )


def unpack_learned(content: RecordDict, request: LocalTrainRequest, network: Network) -> LocalTrainReply:
    """Return a site's reply, checked.

    Raises:
        ReleaseError: what is wrong with it.
    """
    try:
        head, arrays = content.config_records["learned"], content.array_records["networks"]
        about = json.loads(str(head["about"]))
        recipe, seconds, examples = Recipe(**about["recipe"]), float(about["seconds"]), int(about["examples"])
    except (KeyError, TypeError, ValueError) as error:
        raise ReleaseError("The networks' reply cannot be read.", found=f"{type(error).__name__}: {error}") from error
    if head["site"] != request.site:
        raise ReleaseError("The reply is another site's.", expected=request.site, found=head["site"])
    if recipe.lr not in request.grid.lr:
        raise ReleaseError("The reply's step size was not asked for.", expected=request.grid.lr, found=recipe.lr)
    _require_counts(seconds, examples)
    params = params_of(arrays, network, networks=len(request.seeds))
    return LocalTrainReply(dict(zip(network.names, params, strict=True)), recipe, seconds, examples)


def one_network(learned: LocalTrainReply, site: str) -> RecordDict:
    """Return the reply that would carry one of the networks: what sharing one takes."""
    first: Sequence[tuple[str, Tensor]] = [(name, value[:1]) for name, value in learned.params.items()]
    return pack_learned(site, LocalTrainReply(dict(first), learned.recipe, learned.seconds, learned.examples))
