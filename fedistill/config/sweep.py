"""Sweeps: many simulations in one file, one for every combination of listed values.

``[sweep]`` lists the values of a setting by its dotted key. The last key changes fastest.

Points differ in what is swept and in nothing else: their jobs draw from the same seeds, and what ``precision = "auto"``
stands for is resolved once, for the first of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from fedistill.config.simulation import Simulation
from fedistill.data import parse_source
from fedistill.errors import PlanError

MOST = 200
"""Points of one sweep. All of them run at once: more than this is a mistake more often than a plan."""

OF_THE_RUN = ("name", "deadline_s", "silence_s")
"""Settings that the points of a run have in common."""

TAKEN = frozenset({"federation", "seed", "seeds", "networks", "ipc", "recipe", "scheme", "epsilon", "purpose"})
"""Settings whose names are columns of the tables already."""


@dataclass(frozen=True)
class Point:
    """A combination of swept values, and its simulation.

    Args:
        values: the swept settings' values, by their dotted keys.
        simulation: with these values.
    """

    values: Mapping[str, Any]
    simulation: Simulation

    @property
    def label(self) -> str:
        """Return the point in words; empty if nothing is swept."""
        return label_of(self.values)


@dataclass(frozen=True)
class Plan:
    """The simulations of one file: one, or one for each point of its sweep.

    Args:
        points: in the order of the tables.
        sweep: the values of each swept setting; empty where nothing is swept.
        track: the folder that a run is copied to for each program, by its name; see `fedistill.config.track`.
    """

    points: tuple[Point, ...]
    sweep: Mapping[str, list[Any]]
    track: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, simulation: Simulation) -> "Plan":
        """Return the plan of a single simulation."""
        return cls((Point({}, simulation),), {})

    @property
    def name(self) -> str:
        """Return the simulation's name."""
        return self.points[0].simulation.name

    @property
    def first(self) -> Simulation:
        """Return the first point's simulation, often the only one."""
        return self.points[0].simulation

    def folder_of(self, number: int) -> str:
        """Return the name of a point's folder: its number, from 1, and its label; empty if nothing is swept.

        >>> from fedistill.config.sweep import Plan, Point
        >>> plan = Plan((Point({"federation.partition": {"by": "iid"}, "width": 16}, None),), {"width": [16]})
        >>> plan.folder_of(0)
        '1-iid-width=16'
        """
        if not self.sweep:
            return ""
        words = re.sub(r"[^\w.=+-]+", "-", self.points[number].label).strip("-. ")
        return f"{number + 1}-{words}"[:80].rstrip("-. ")

    def columns(self) -> list[dict[str, Any]]:
        """Return each point's cells by column: numbers and words as they are, tables in words.

        >>> Plan((Point({"ipc": [1, 10]}, None), Point({"ipc": [1]}, None)), {"ipc": [[1, 10], [1]]}).columns()
        [{'sweep.ipc': '1,10'}, {'sweep.ipc': '1'}]
        """
        plain = {key for key, values in self.sweep.items() if all(isinstance(v, str | int | float) for v in values)}
        return [
            {column_of(key): value if key in plain else word(value) for key, value in point.values.items()}
            for point in self.points
        ]


def column_of(key: str) -> str:
    """Return the column of a swept setting: its key, with a prefix if the tables have a column of that name.

    >>> column_of("scheme.dc.lr_img"), column_of("seed")
    ('scheme.dc.lr_img', 'sweep.seed')
    """
    return f"sweep.{key}" if key in TAKEN else key


def listed(table: Any, *, source: str) -> dict[str, list[Any]]:
    """Return a ``[sweep]`` table's values by dotted key; nested tables extend the key.

    Raises:
        PlanError: it is no table of lists.

    >>> listed({"width": [16, 32], "scheme": {"dc": {"lr_img": [1.0]}}}, source="x.toml")
    {'width': [16, 32], 'scheme.dc.lr_img': [1.0]}
    """
    values_by_key: dict[str, list[Any]] = {}

    def walk(table: Mapping[str, Any], before: str) -> None:
        for name, value in table.items():
            if isinstance(value, Mapping):
                walk(value, f"{before}{name}.")
            elif not isinstance(value, list) or not value:
                raise PlanError(
                    f"{source}: the sweep over {before + name!r} has no values.",
                    expected="a list of one or more, such as [16, 32]",
                    found=repr(value),
                )
            else:
                values_by_key[before + name] = value

    if not isinstance(table, Mapping):
        raise PlanError(f"{source}: sweep is no table.", expected='[sweep] with lines "KEY" = [values]', found=table)
    walk(table, "")
    return values_by_key


def combinations(sweep: Mapping[str, list[Any]], *, source: str) -> list[dict[str, Any]]:
    """Return the values of every point.

    Raises:
        PlanError: a setting that cannot be swept, a value given twice, or too many points.
    """
    keys = list(sweep)
    for number, key in enumerate(keys):
        if key in OF_THE_RUN or key.split(".")[0] in ("sweep", *OF_THE_RUN):
            raise PlanError(f"{source}: {key!r} cannot be swept: it belongs to the run as a whole.")
        words = [word(value) for value in sweep[key]]
        twice = [each for each in dict.fromkeys(words) if words.count(each) > 1]
        if twice:
            raise PlanError(f"{source}: the sweep over {key!r} names a value twice.", found=twice[0])
        lost = [before for before in keys[:number] if before.startswith(f"{key}.")]
        if lost:
            raise PlanError(
                f"{source}: the sweep over {key!r} would undo the one over {lost[0]!r}.",
                mend=f"write the line of {key!r} first",
            )
    number = prod(map(len, sweep.values()))
    if number > MOST:
        lengths = " x ".join(str(len(values)) for values in sweep.values())
        raise PlanError(
            f"{source}: the sweep has too many points.",
            expected=f"at most {MOST}",
            found=f"{lengths} = {number:,}" if len(sweep) > 1 else str(number),
            mend="sweep over fewer values, or divide it between several files",
        )
    return [dict(zip(keys, values, strict=True)) for values in product(*sweep.values())]


def label_of(values: Mapping[str, Any]) -> str:
    """Return a point in words.

    >>> label_of({"federation.partition": {"by": "dirichlet", "alpha": 0.1}, "scheme.dc.lr_img": 10.0})
    'dirichlet alpha=0.1, lr_img=10'
    >>> label_of({"federation.dataset": "/data/ours.npz", "width": 32})
    'dataset=ours, width=32'
    """
    tails = [key.rpartition(".")[2] for key in values]
    named = []
    for tail, (key, value) in zip(tails, values.items(), strict=True):
        name = tail if tails.count(tail) == 1 else key
        if tail == "dataset" and isinstance(value, str):
            value = _without_folder(value)
        named.append(word(value) if _speaks_for_itself(value) else f"{name}={word(value)}")
    return ", ".join(named)


def word(value: Any) -> str:
    """Return a value in few words.

    >>> word({"by": "pathological", "classes": 2}), word([1, 10]), word(10.0), word(True)
    ('pathological classes=2', '1,10', '10', 'true')
    """
    if isinstance(value, Mapping):
        if "name" in value:
            return str(value["name"])
        rest = [f"{key}={word(each)}" for key, each in value.items() if key != "by"]
        return " ".join([str(value["by"]), *rest] if "by" in value else rest)
    if isinstance(value, list | tuple):
        return ",".join(map(word, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)


def _speaks_for_itself(value: Any) -> bool:
    return isinstance(value, Mapping) and ("by" in value or "name" in value)


def _without_folder(dataset: str) -> str:
    """Return a file's name alone: its whole path would leave no room in a point's name. Other sets' as they are."""
    source = parse_source(dataset)
    return dataset if source.path is None else source.short
