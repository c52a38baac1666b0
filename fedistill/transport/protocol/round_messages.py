"""Messages of rounds of federated averaging, as Flower's own strategies have them (``arrays``, ``config``)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor

from fedistill.config.jobs import MOST_WIDTH
from fedistill.core.ranges import AS_TABLE, QUIET, Count
from fedistill.core.settings import checked
from fedistill.errors import ReleaseError
from fedistill.models import Network
from fedistill.training.dpsgd import DPSGD
from fedistill.training.recipe import Recipe
from fedistill.transport.protocol.codec import (
    Examples,
    Seconds,
    arrays_of,
    from_record,
    from_text,
    head,
    params_of,
    to_text,
)

ROUND = "train"
"""Flower's own type of message for a round of training."""

EXAMPLES = "num-examples"
"""Where Flower's strategies look for a reply's weight."""

Counted = Annotated[Examples, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]


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
