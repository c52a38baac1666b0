"""networks.json: the networks behind every row of results.csv, by their names in the store, and what they take in.

`fedistill train` writes a network into a file of its own from it, without training anything again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fedistill.config import Federation, Plan
from fedistill.core.store import Store
from fedistill.data import ImageSet, parse_source
from fedistill.data.sources.npz import SUFFIX, read_text
from fedistill.errors import RunFolderError
from fedistill.importing.preprocessing import ARRAY
from fedistill.schemes.base import Networks
from fedistill.schemes.server.condition import Condition
from fedistill.schemes.server.trainer import Trainer
from fedistill.study.folder.run_folder import RunFolder

NAME = "networks"
FORMAT = 1


@dataclass(frozen=True)
class NetworkRow:
    """A network of a condition.

    Args:
        partition, scheme, ipc, rounds, seed, recipe, model, site, left_out: of the condition, as in results.csv.
        network: its number, as in results.csv.
        keys: of its members in the store; most have one, an ensemble several, whose predictions are averaged.
    """

    partition: int
    scheme: str
    ipc: int | None
    rounds: int | None
    seed: int
    recipe: str
    model: str
    site: str
    left_out: str
    network: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class PointNetworks:
    """The networks of one point, and the images that they take.

    Args:
        point: label of a sweep's point; else empty.
        width: of the networks.
        channels, size: of their input.
        class_names: of their output.
        multilabel: whether each label has a probability of its own.
        source, licence: of the data.
        preprocessing: record of `fedistill import` in the data set, as text; None where there is none.
        rows: the networks.
    """

    point: str
    width: int
    channels: int
    size: int
    class_names: tuple[str, ...]
    multilabel: bool
    source: str
    licence: str
    preprocessing: str | None
    rows: tuple[NetworkRow, ...] = field(default=())


def keep_networks(condition: Condition, groups: Networks, trainer: Trainer, store: Store) -> list[NetworkRow]:
    """Return the rows of a condition's networks; those that sites trained are put into the store."""
    rows = []
    names = trainer.network(condition.model).names
    about = {each.name: getattr(condition, each.name) for each in fields(Condition)}
    for number, group in enumerate(groups):
        for member in group:
            if not store.path("network", member.key).exists():
                tensors = dict(zip(names, member.params, strict=True))
                store.put("network", member.key, tensors, {"seconds": member.seconds})
        rows.append(NetworkRow(**about, network=number, keys=tuple(member.key for member in group)))
    return rows


def preprocessing_of(federation: Federation) -> str | None:
    """Return the record of how a federation's images were imported, where all its files have one and the same."""
    records = set()
    for name in federation.datasets():
        path = parse_source(name).path
        records.add(None if path is None or path.suffix != SUFFIX else read_text(path, ARRAY))
    return records.pop() if len(records) == 1 else None


def write_networks(
    folder: RunFolder,
    plan: Plan,
    tests: Sequence[ImageSet],
    preprocessing: Sequence[str | None],
    rows: Sequence[Sequence[NetworkRow]],
) -> None:
    """Write networks.json, with a part for each point of the plan."""
    points = []
    for point, test, record, of in zip(plan.points, tests, preprocessing, rows, strict=True):
        about = PointNetworks(
            point.label if plan.sweep else "",
            point.simulation.width,
            test.channels,
            test.size,
            test.class_names,
            test.multilabel,
            test.source,
            test.licence,
            record,
            tuple(of),
        )
        points.append(asdict(about))
    folder.json(NAME, {"format": FORMAT, "points": points})


def read_networks(folder: Path) -> list[PointNetworks]:
    """Return what networks.json of a run folder says.

    Raises:
        RunFolderError: there is none, as in runs of an older version and unfinished ones; or it was changed.
    """
    path = folder / f"{NAME}.json"
    mend = "run the simulation again in this folder: it computes nothing twice"
    if not path.is_file():
        raise RunFolderError(
            f"{folder} says nothing of its networks.", expected=f"a folder with {path.name}", mend=mend
        )
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if read["format"] != FORMAT:
            raise ValueError(f"format {read['format']}")
        points = []
        for each in read["points"]:
            rows = tuple(NetworkRow(**{**row, "keys": tuple(map(str, row["keys"]))}) for row in each.pop("rows"))
            points.append(PointNetworks(**{**each, "class_names": tuple(each["class_names"]), "rows": rows}))
        return points
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RunFolderError(f"{path} is not as the run wrote it.", found=str(error)[:200], mend=mend) from error
