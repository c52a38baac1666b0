"""``[track]``: to which programs' files a run is copied. No part of a simulation: it decides nothing that is computed.

A file's folders start from the file's own, as all its paths do; those of ``--set`` and ``--track`` from where they were
typed. ``$NAME/`` at the beginning stays as it is until a run opens the folder: the hospitals that read a study's file
have no such variable, and nothing is copied there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fedistill.core.settings import Frozen, checked
from fedistill.errors import PlanError, SettingError, nearest

Folder = Annotated[str, Field(min_length=1)]


class Track(Frozen):
    """The programs whose files can be written, and the folder of each."""

    tensorboard: Folder | None = None
    mlflow: Folder | None = None
    wandb: Folder | None = None


PROGRAMS = tuple(Track.model_fields)


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
    places = checked(Track, table, f"{source}: track", error=PlanError).model_dump(exclude_none=True)
    return {
        name: place if place.startswith("$") else str(folder / Path(place).expanduser())
        for name, place in places.items()
    }


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
