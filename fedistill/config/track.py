"""``[track]``: to which programs' files a run is copied. No part of a simulation: it decides nothing that is computed.

A file's folders start from the file's own, as all its paths do; those of ``--set`` and ``--track`` from where they were
typed. ``$NAME/`` at the beginning stays as it is until a run opens the folder: the hospitals that read a study's file
have no such variable, and nothing is copied there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedistill.errors import PlanError, SettingError, nearest

PROGRAMS = ("tensorboard", "mlflow", "wandb")
"""The programs whose files can be written."""


def settled_track(table: Any, *, source: str, folder: Path) -> dict[str, str]:
    """Return a ``[track]`` table with whole paths.

    Args:
        table: folders by the names of programs, as the TOML has them.
        source: the file, which errors name.
        folder: that relative paths start from.

    Raises:
        PlanError: it is no table of folders, or names a program that is not known.

    >>> settled_track({"tensorboard": "logs"}, source="x.toml", folder=Path("/studies"))
    {'tensorboard': '/studies/logs'}
    """
    if not isinstance(table, Mapping):
        raise PlanError(f"{source}: track is no table.", expected='[track] with lines PROGRAM = "DIR"', found=table)
    settled = {}
    for name, place in table.items():
        if name not in PROGRAMS:
            raise PlanError(f"{source}: [track] names no tracker {name!r}.", mend=nearest(name, PROGRAMS))
        if not isinstance(place, str) or not place:
            raise PlanError(f"{source}: track.{name} names no folder.", expected=f'{name} = "DIR"', found=repr(place))
        settled[name] = place if place.startswith("$") else str(folder / Path(place).expanduser())
    return settled


def track_words(words: Sequence[str]) -> dict[str, str]:
    """Return the folders that words such as ``tensorboard=logs`` name, by program.

    Raises:
        SettingError: a word is of another form, names a program that is not known, or one a second time.

    >>> track_words(["tensorboard=logs"])
    {'tensorboard': 'logs'}
    """
    track: dict[str, str] = {}
    for word in words:
        name, _, folder = word.partition("=")
        if name not in PROGRAMS:
            raise SettingError(f"There is no tracker {name!r}.", mend=nearest(name, PROGRAMS))
        if not folder:
            raise SettingError("This says nowhere to track to.", expected=f"{name}=DIR", found=word)
        if name in track:
            raise SettingError(f"--track names {name} twice.", expected="one folder for each program", found=word)
        track[name] = folder
    return track
