"""Messages to train networks at a site to their end: no strategy of Flower's has them, so they are our own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from flwr.app import ConfigRecord, RecordDict
from pydantic import Field, NonNegativeInt

from fedistill.core.ranges import AS_TABLE, AS_TUPLE, QUIET, Count, detail
from fedistill.errors import ReleaseError, SettingError
from fedistill.models import Network
from fedistill.training.dpsgd import DPSGD
from fedistill.training.recipe import Recipe
from fedistill.training.search import Grid
from fedistill.transport.protocol.codec import arrays_of, from_record, from_text, head, params_of, to_text
from fedistill.transport.protocol.round_messages import RoundReply, Width

ALONE = "train.alone"


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
class LocalTrainReply(RoundReply):
    """A site's networks, stacked with a leading axis in ``params``.

    Args:
        recipe: what the site chose.
    """

    recipe: Annotated[Recipe, AS_TABLE]


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
